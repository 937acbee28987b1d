"""The tables, and what the database itself refuses whatever the code does."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    and_,
    false,
    literal_column,
    true,
)

from thirdparty_server.errors import IDENTITY_NOT_FOUND, WALLET_NOT_FOUND
from thirdparty_server.lifecycle import FINAL, PaymentState
from thirdparty_server.model import PIN_TRIES, AccountKind, Phase, Purpose, StoreState
from tillmesh.paycode import HANDLE_DIGITS
from tillmesh.storage.claims import claim_columns
from tillmesh.storage.columns import origin_columns, payer_columns
from tillmesh.storage.database import append_only, one_of
from tillmesh.storage.requests import RequestLog
from tillmesh.storage.schema import versioned

METADATA = versioned("0001")
REQUESTS = RequestLog(METADATA)


accounts = Table(
    "accounts",
    METADATA,
    Column("account_id", String, primary_key=True),
    Column("kind", String, one_of("kind", AccountKind), nullable=False),
    Column("currency", String, nullable=False),
    Column("credit_limit_minor", BigInteger),
    Column("posted_minor", BigInteger, nullable=False),
    Column("held_minor", BigInteger, CheckConstraint("held_minor >= 0"), nullable=False),
    UniqueConstraint("account_id", "currency"),
    CheckConstraint("posted_minor - held_minor >= -credit_limit_minor", name="within_limit"),
    CheckConstraint(
        "credit_limit_minor IS NOT NULL OR (posted_minor = 0 AND held_minor = 0)", name="only_guarded_keep_balance"
    ),
)
_summed = accounts.c.credit_limit_minor.is_(None)
Index("accounts_summed", accounts.c.account_id, sqlite_where=_summed, postgresql_where=_summed)

# One debit, one credit, one currency, one amount above zero: an unbalanced
# transfer cannot be written down.
transfers = Table(
    "transfers",
    METADATA,
    # SQLite counts up by itself only in a column that is called INTEGER.
    Column("transfer_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("phase", String, one_of("phase", Phase), nullable=False),
    Column("debit_account_id", String, nullable=False),
    Column("credit_account_id", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor > 0"), nullable=False),
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
Index("transfers_of_debit", transfers.c.debit_account_id, transfers.c.transfer_id)
Index("transfers_of_credit", transfers.c.credit_account_id, transfers.c.transfer_id)
append_only(transfers)

# What the transfers of an account without a limit come to, up to and including one of them. It only saves
# adding them up again: a row that is deleted is made anew.
account_sums = Table(
    "account_sums",
    METADATA,
    Column("account_id", String, ForeignKey("accounts.account_id"), primary_key=True),
    Column("through_transfer_id", BigInteger, ForeignKey("transfers.transfer_id"), nullable=False),
    Column("posted_minor", BigInteger, nullable=False),
)

identities = Table(
    "identities",
    METADATA,
    Column("identity_id", String, primary_key=True),
    Column("display_name", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("pin_hash", String),
    Column("pin_failures", BigInteger, CheckConstraint(f"pin_failures BETWEEN 0 AND {PIN_TRIES}"), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)

# Without a threshold its payer is asked for each payment.
wallets = Table(
    "wallets",
    METADATA,
    Column("identity_id", String, ForeignKey("identities.identity_id"), primary_key=True),
    Column("currency", String, primary_key=True),
    Column("account_id", String, nullable=False, unique=True),
    Column("threshold_minor", BigInteger, CheckConstraint("threshold_minor >= 0")),
    Column("unconfirmed_per_day_max", BigInteger, CheckConstraint("unconfirmed_per_day_max >= 0")),
    Column("unconfirmed_day", BigInteger, nullable=False),
    Column("unconfirmed_count", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(["account_id", "currency"], ["accounts.account_id", "accounts.currency"]),
)

# A store without a row is paid as well, but gives nothing back without a sale.
stores = Table(
    "stores",
    METADATA,
    Column("store_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("address_lines", String, nullable=False),
    Column("tax_number", String, nullable=False),
    Column("time_zone", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("unreferenced_refund_limit_minor", BigInteger, CheckConstraint("unreferenced_refund_limit_minor >= 0")),
    Column("state", String, one_of("state", StoreState), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)

# A payer's own terminal: whose it is, who is signed in on it, and which pay codes of it still count.
phones = Table(
    "phones",
    METADATA,
    Column("phone_uri", String, primary_key=True),
    Column("identity_id", String, ForeignKey("identities.identity_id"), nullable=False),
    Column("handle", String, CheckConstraint(f"length(handle) = {HANDLE_DIGITS}"), nullable=False, unique=True),
    Column("key_id", String, nullable=False, unique=True),
    Column("last_step", BigInteger, nullable=False),
    Column("code_failures", BigInteger, CheckConstraint("code_failures >= 0"), nullable=False),
    Column("code_locked_until_ms", BigInteger, nullable=False),
    Column("token_hash", LargeBinary),
    Column("token_expires_at_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("(token_hash IS NULL) = (token_expires_at_ms IS NULL)", name="a_session_ends"),
)
Index("phones_of_identity", phones.c.identity_id, phones.c.phone_uri)


# Payer kind and value are what the order says; an attempt by somebody unknown is remembered as well, without identity.
payments = Table(
    "payments",
    METADATA,
    Column("payment_id", String, primary_key=True),
    Column("order_id", String, nullable=False),
    Column("order_version", BigInteger, nullable=False),
    *payer_columns(),
    Column("by_code", Boolean, nullable=False),
    Column("identity_id", String, ForeignKey("identities.identity_id")),
    Column("payer_display_name", String, nullable=False),
    Column("store_id", String, nullable=False),
    *origin_columns(),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor > 0"), nullable=False),
    Column("confirm", Boolean, nullable=False),
    Column("state", String, one_of("state", PaymentState), nullable=False),
    Column("reason", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("hold_id", BigInteger, ForeignKey("transfers.transfer_id"), unique=True),
    Column("confirm_deadline_ms", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    Column("event_count", BigInteger, nullable=False),
    Column("history_hash", LargeBinary, nullable=False),
    Column("trace_id", String, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    *claim_columns(),
    CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refunds_within_amount"),
    CheckConstraint("refunded_minor = 0 OR state = 'CAPTURED'", name="only_captured_is_refunded"),
    CheckConstraint("identity_id IS NOT NULL OR state IN ('PENDING', 'VOIDING', 'VOIDED')", name="who_pays_is_known"),
    CheckConstraint("hold_id IS NOT NULL OR state NOT IN ('AUTHORIZED', 'CAPTURED')", name="money_was_held"),
)
BY_CODE = payments.c.by_code.is_(true())
GRANTED = payments.c.epoch > literal_column("0")
_captured = payments.c.state == PaymentState.CAPTURED
# Literal, also in queries: SQLite uses an index with such a condition only if a query has it in the same words.
UNFINISHED = payments.c.state.not_in([literal_column(f"'{state}'") for state in sorted(FINAL)])
# Of somebody who cannot pay, named by a store terminal without a code. A phone names its payer, and asks for no yes.
GUESSED = and_(
    payments.c.by_code.is_(false()),
    payments.c.confirm.is_(true()),
    payments.c.reason.in_([literal_column(f"'{reason}'") for reason in (IDENTITY_NOT_FOUND, WALLET_NOT_FOUND)]),
)
Index("one_capture_an_order", payments.c.order_id, unique=True, sqlite_where=_captured, postgresql_where=_captured)
Index("payments_unfinished", payments.c.updated_at_ms, sqlite_where=UNFINISHED, postgresql_where=UNFINISHED)
Index("payments_newest", payments.c.created_at_ms, payments.c.payment_id)
Index("payments_of_order", payments.c.order_id, payments.c.created_at_ms, payments.c.payment_id)
Index(
    "payments_by_code",
    payments.c.order_id,
    payments.c.payer_kind,
    payments.c.payer_value,
    payments.c.created_at_ms,
    payments.c.payment_id,
    sqlite_where=BY_CODE,
    postgresql_where=BY_CODE,
)
Index("payments_granted", payments.c.order_id, payments.c.epoch, sqlite_where=GRANTED, postgresql_where=GRANTED)
Index(
    "payments_guessed",
    payments.c.store_id,
    payments.c.created_at_ms,
    sqlite_where=GUESSED,
    postgresql_where=GUESSED,
)
Index(
    "payments_of_payer",
    payments.c.payer_kind,
    payments.c.payer_value,
    payments.c.created_at_ms,
    payments.c.payment_id,
)
Index("payments_of_identity", payments.c.identity_id, payments.c.created_at_ms, payments.c.payment_id)
Index("payments_of_store", payments.c.store_id, payments.c.created_at_ms, payments.c.payment_id)

payment_history = Table(
    "payment_history",
    METADATA,
    Column("payment_id", String, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("event", String, nullable=False),
    Column("from_state", String),
    Column("to_state", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
    Column("refund_id", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("actor", String, nullable=False),
    Column("trace_id", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("chain_hash", LargeBinary, nullable=False),
)
append_only(payment_history)

# `by_code` is true where a pay code alone named who receives.
refunds = Table(
    "refunds",
    METADATA,
    Column("refund_id", String, primary_key=True),
    Column("payment_id", String, nullable=False),
    Column("store_id", String, nullable=False),
    *payer_columns(),
    Column("by_code", Boolean, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0"), nullable=False),
    Column("taxes", String, nullable=False),
    Column("note", String, nullable=False),
    *origin_columns(),
    Column("actor", String, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)
append_only(refunds)
Index("refunds_newest", refunds.c.created_at_ms, refunds.c.refund_id)
Index("refunds_of_payment", refunds.c.payment_id, refunds.c.created_at_ms, refunds.c.refund_id)
Index("refunds_of_payer", refunds.c.payer_kind, refunds.c.payer_value, refunds.c.created_at_ms, refunds.c.refund_id)
Index("refunds_of_store", refunds.c.store_id, refunds.c.created_at_ms, refunds.c.refund_id)

# What of each line of a paid order was given back by which refund.
refund_lines = Table(
    "refund_lines",
    METADATA,
    Column("refund_id", String, ForeignKey("refunds.refund_id"), primary_key=True),
    Column("line_number", BigInteger, CheckConstraint("line_number > 0"), primary_key=True),
    Column("payment_id", String, ForeignKey("payments.payment_id"), nullable=False),
    Column("quantity", BigInteger, CheckConstraint("quantity > 0"), nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0"), nullable=False),
)
append_only(refund_lines)
Index("refund_lines_of_payment", refund_lines.c.payment_id, refund_lines.c.line_number)
