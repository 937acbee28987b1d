"""The tables of payments, and what the database itself refuses whatever the code does."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Table,
    and_,
    false,
    literal_column,
    true,
)

from thirdparty_server.errors import UNABLE_TO_PAY
from thirdparty_server.payments.lifecycle import FINAL, PaymentState
from thirdparty_server.schema import METADATA
from tillmesh.storage.claims import claim_columns
from tillmesh.storage.columns import origin_columns, payer_columns
from tillmesh.storage.database import one_of
from tillmesh.storage.history_table import history_table
from tillmesh.storage.pruned import index_unpruned, pruned_table, pruned_through

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
    pruned_through(),
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
    payments.c.reason.in_([literal_column(f"'{reason}'") for reason in UNABLE_TO_PAY]),
)
Index("one_capture_an_order", payments.c.order_id, unique=True, sqlite_where=_captured, postgresql_where=_captured)
Index(
    "payments_unfinished",
    payments.c.updated_at_ms,
    payments.c.payment_id,
    sqlite_where=UNFINISHED,
    postgresql_where=UNFINISHED,
)
UNPRUNED = index_unpruned(payments, FINAL)
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
# `by_code` is the same in all of its rows: it makes SQLite prefer this index to that of all payments of a store.
Index(
    "payments_guessed",
    payments.c.by_code,
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
_awaiting = payments.c.state == PaymentState.AWAITING_PAYER
Index("payments_awaiting_payer", payments.c.confirm_deadline_ms, sqlite_where=_awaiting, postgresql_where=_awaiting)

payment_history = history_table(
    "payment_history",
    METADATA,
    Column("payment_id", String, nullable=False),
    Column("store_id", String, nullable=False),
    Column("identity_id", String),
    Column("epoch", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
    Column("refund_id", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("pin_tries_left", BigInteger),
    feeds_by=("store_id", "identity_id"),
)
pruned = pruned_table(METADATA)
