"""The tables of the ledger, and what the database itself refuses whatever the code does."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    String,
    Table,
    UniqueConstraint,
)

from thirdparty_server.ledger.model import BALANCE_MAX, AccountKind, Phase, Purpose
from thirdparty_server.schema import METADATA
from tillmesh.runtime.money import MINOR_UNITS_MAX
from tillmesh.storage.database import append_only, one_of
from tillmesh.storage.row_order import xact_id_column


def _integer(column: str) -> CheckConstraint:
    """Refuses what SQLite would make a float of: a sum beyond 64 bits. The column may be NULL where it says so."""
    check = CheckConstraint(f"typeof({column}) IN ('integer', 'null')", name=f"{column}_is_an_integer")
    return check.ddl_if(dialect="sqlite")


accounts = Table(
    "accounts",
    METADATA,
    Column("account_id", String, primary_key=True),
    Column("kind", String, one_of("kind", AccountKind), nullable=False),
    Column("currency", String, nullable=False),
    Column("credit_limit_minor", BigInteger, CheckConstraint(f"credit_limit_minor BETWEEN 0 AND {MINOR_UNITS_MAX}")),
    Column(
        "posted_minor",
        BigInteger,
        CheckConstraint(f"posted_minor BETWEEN -{MINOR_UNITS_MAX} AND {BALANCE_MAX}"),
        nullable=False,
    ),
    Column("held_minor", BigInteger, CheckConstraint(f"held_minor BETWEEN 0 AND {BALANCE_MAX}"), nullable=False),
    *(_integer(column) for column in ("credit_limit_minor", "posted_minor", "held_minor")),
    UniqueConstraint("account_id", "currency"),
    CheckConstraint("posted_minor - held_minor >= -credit_limit_minor", name="within_limit"),
    CheckConstraint(
        "credit_limit_minor IS NOT NULL OR (posted_minor = 0 AND held_minor = 0)", name="only_guarded_keep_balance"
    ),
)
# One debit, one credit, one currency, one amount above zero: an unbalanced
# transfer cannot be written down.
transfers = Table(
    "transfers",
    METADATA,
    # SQLite counts up by itself only in a column that is called INTEGER.
    Column("transfer_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    xact_id_column("transfer_id"),
    Column("phase", String, one_of("phase", Phase), nullable=False),
    Column("debit_account_id", String, nullable=False),
    Column("credit_account_id", String, nullable=False),
    Column("currency", String, nullable=False),
    Column(
        "amount_minor", BigInteger, CheckConstraint(f"amount_minor BETWEEN 1 AND {MINOR_UNITS_MAX}"), nullable=False
    ),
    _integer("amount_minor"),
    Column("hold_id", BigInteger, unique=True),
    Column("ends_phase", String, Computed("CASE WHEN hold_id IS NOT NULL THEN 'HOLD' END", persisted=True)),
    Column("purpose", String, one_of("purpose", Purpose), nullable=False),
    Column("reference", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    CheckConstraint("debit_account_id <> credit_account_id", name="two_accounts"),
    CheckConstraint("(hold_id IS NOT NULL) = (phase IN ('POST', 'VOID'))", name="post_and_void_end_a_hold"),
    UniqueConstraint("purpose", "reference", "phase", name="once"),
    ForeignKeyConstraint(["debit_account_id", "currency"], ["accounts.account_id", "accounts.currency"]),
    ForeignKeyConstraint(["credit_account_id", "currency"], ["accounts.account_id", "accounts.currency"]),
    # What ends a hold is that hold to the penny, between the same two accounts.
    UniqueConstraint("transfer_id", "phase", "debit_account_id", "credit_account_id", "currency", "amount_minor"),
    ForeignKeyConstraint(
        ["hold_id", "ends_phase", "debit_account_id", "credit_account_id", "currency", "amount_minor"],
        [
            "transfers.transfer_id",
            "transfers.phase",
            "transfers.debit_account_id",
            "transfers.credit_account_id",
            "transfers.currency",
            "transfers.amount_minor",
        ],
    ),
)
_order = transfers.c.xact_id, transfers.c.transfer_id
Index("transfers_in_order", *_order)
Index("transfers_of_debit", transfers.c.debit_account_id, *_order)
Index("transfers_of_credit", transfers.c.credit_account_id, *_order)
append_only(transfers)
# How far the transfers are added up, and the balances compared with them. One row, once there is a transfer. It and
# the next two tables only save adding up again: all three emptied together, they are made anew.
ledger_progress = Table(
    "ledger_progress",
    METADATA,
    Column("id", Integer, CheckConstraint("id = 1", name="one_row"), primary_key=True, autoincrement=False),
    Column("through_xact_id", BigInteger, nullable=False),
    Column("through_transfer_id", BigInteger, nullable=False),
    Column("through_at_ms", BigInteger, nullable=False),
    Column("compared_account_id", String, nullable=False),
    Column("began_transfer_id", BigInteger, nullable=False),
    Column("began_at_ms", BigInteger, nullable=False),
    Column("verified_at_ms", BigInteger, nullable=False),
)
# What the transfers of an account come to, up to and including the one that the progress names.
account_sums = Table(
    "account_sums",
    METADATA,
    Column("account_id", String, ForeignKey("accounts.account_id"), primary_key=True),
    Column("posted_minor", BigInteger, nullable=False),
    Column("held_minor", BigInteger, nullable=False),
    *(_integer(column) for column in ("posted_minor", "held_minor")),
)
# The same for all accounts of a currency and kind.
currency_sums = Table(
    "currency_sums",
    METADATA,
    Column("currency", String, primary_key=True),
    Column("kind", String, one_of("kind", AccountKind), primary_key=True),
    Column("posted_minor", BigInteger, nullable=False),
    Column("held_minor", BigInteger, nullable=False),
    *(_integer(column) for column in ("posted_minor", "held_minor")),
)
# Accounts whose kept balance was found to be another than that of their transfers, and by how much.
differing_accounts = Table(
    "differing_accounts",
    METADATA,
    Column("account_id", String, ForeignKey("accounts.account_id"), primary_key=True),
    Column("posted_minor", BigInteger, nullable=False),
    Column("held_minor", BigInteger, nullable=False),
)
