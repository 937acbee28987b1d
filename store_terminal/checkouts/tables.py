"""The tables, and what the database itself refuses whatever the code does."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
    literal_column,
)

from store_terminal.checkouts.lifecycle import CHECKOUT, CheckoutState
from store_terminal.schema import METADATA
from tillmesh.storage.columns import origin_columns, payer_columns
from tillmesh.storage.database import one_of
from tillmesh.storage.history_table import history_table
from tillmesh.storage.pruned import index_unpruned, pruned_table, pruned_through

checkouts = Table(
    "checkouts",
    METADATA,
    Column("checkout_id", String, primary_key=True),
    Column("store_id", String, nullable=False),
    *origin_columns(),
    *payer_columns(),
    Column("payer_display_name", String, nullable=False),
    Column("last_line_number", Integer, nullable=False),
    Column("prices_include_tax", Boolean, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0"), nullable=False),
    Column("basket_version", BigInteger, CheckConstraint("basket_version > 0"), nullable=False),
    Column("state", String, one_of("state", CheckoutState), nullable=False),
    Column("order_version", BigInteger, nullable=False),
    Column("unanswered", String, nullable=False),
    Column("payment_id", String, nullable=False),
    Column("payment_reason", String, nullable=False),
    Column("payment_deadline_at_ms", BigInteger, nullable=False),
    Column("payer_until_ms", BigInteger, nullable=False),
    Column("payment_canceling", Boolean, nullable=False),
    Column("cancel_unanswered", Boolean, nullable=False),
    Column("paid_by", String, nullable=False),
    Column("paid_at_ms", BigInteger, nullable=False),
    Column("sold_at_ms", BigInteger, nullable=False),
    Column("refunded_minor", BigInteger, nullable=False),
    Column("order_epoch", BigInteger, nullable=False),
    Column("locked_by", String, nullable=False),
    Column("locked_until_ms", BigInteger, nullable=False),
    Column("confirmed_at_ms", BigInteger, nullable=False),
    Column("parked_at_ms", BigInteger, nullable=False),
    Column("parked_until_ms", BigInteger, nullable=False),
    Column("park_owner", String, nullable=False),
    Column("park_label", String, nullable=False),
    Column("exchanged_refund_id", String, nullable=False),
    Column("void_id", String, nullable=False),
    Column("event_count", BigInteger, nullable=False),
    Column("history_hash", LargeBinary, nullable=False),
    pruned_through(),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    # Last: SQLite reads through a long text to get to what comes after it.
    Column("lines_length", Integer, nullable=False),
    Column("labels_length", Integer, nullable=False),
    Column("labels", Text, nullable=False),
    Column("lines", Text, nullable=False),
    CheckConstraint("paid_by = '' OR state = 'PAID'", name="payment_only_of_paid"),
    CheckConstraint("state <> 'PAID' OR paid_by <> '' OR amount_minor = 0", name="paid_by_a_payment_or_free"),
    CheckConstraint("state <> 'PAYING' OR (payment_id <> '' AND unanswered = payment_id)", name="paying_is_unanswered"),
    CheckConstraint("state NOT IN ('PAID', 'CANCELED') OR unanswered = ''", name="final_is_answered"),
    CheckConstraint("state <> 'BASKET' OR order_version = 0", name="basket_has_no_order"),
    CheckConstraint("refunded_minor = 0 OR state = 'PAID'", name="only_paid_is_refunded"),
    CheckConstraint("locked_by = '' OR state IN ('SUBMITTED', 'PAYING')", name="only_pending_is_locked"),
    CheckConstraint("parked_at_ms = 0 OR state IN ('BASKET', 'SUBMITTED')", name="only_open_is_parked"),
)
UNPRUNED = index_unpruned(checkouts, [state for state in CheckoutState if CHECKOUT.is_final(state)])
Index("checkouts_newest", checkouts.c.created_at_ms, checkouts.c.checkout_id)
Index(
    "checkouts_of_payer",
    checkouts.c.payer_kind,
    checkouts.c.payer_value,
    checkouts.c.created_at_ms,
    checkouts.c.checkout_id,
)
Index("checkouts_of_lane", checkouts.c.lane, checkouts.c.created_at_ms, checkouts.c.checkout_id)
Index("checkouts_of_cashier", checkouts.c.cashier_id, checkouts.c.created_at_ms, checkouts.c.checkout_id)
# Literal, also in queries: SQLite uses an index with such a condition only if a query has it in the same words.
ABANDONED = and_(
    checkouts.c.state == literal_column(f"'{CheckoutState.BASKET}'"), checkouts.c.unanswered == literal_column("''")
)
NAMED = and_(
    checkouts.c.state == literal_column(f"'{CheckoutState.PAID}'"),
    checkouts.c.payer_display_name != literal_column("''"),
)
PENDING = checkouts.c.state.in_(
    [literal_column(f"'{state}'") for state in (CheckoutState.SUBMITTED, CheckoutState.PAYING)]
)
PARKED = checkouts.c.parked_at_ms > literal_column("0")
OVERDUE = and_(
    checkouts.c.parked_until_ms > literal_column("0"),
    checkouts.c.unanswered == literal_column("''"),
    checkouts.c.void_id == literal_column("''"),
)
Index("checkouts_abandoned", checkouts.c.updated_at_ms, sqlite_where=ABANDONED, postgresql_where=ABANDONED)
Index("checkouts_pending", checkouts.c.checkout_id, sqlite_where=PENDING, postgresql_where=PENDING)
Index("checkouts_named", checkouts.c.paid_at_ms, sqlite_where=NAMED, postgresql_where=NAMED)
Index(
    "checkouts_parked",
    checkouts.c.created_at_ms,
    checkouts.c.checkout_id,
    sqlite_where=PARKED,
    postgresql_where=PARKED,
)
Index("checkouts_overdue", checkouts.c.parked_until_ms, sqlite_where=OVERDUE, postgresql_where=OVERDUE)
checkout_history = history_table(
    "checkout_history",
    METADATA,
    Column("checkout_id", String, ForeignKey("checkouts.checkout_id"), nullable=False),
    Column("lane", String, nullable=False),
    Column("order_version", BigInteger, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("reference", String, nullable=False),
    Column("reason", String, nullable=False),
)
pruned = pruned_table(METADATA)
