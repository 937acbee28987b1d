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
)

from store_terminal.lifecycle import CheckoutState
from store_terminal.model import EntryState, Kind
from tillmesh.lines import Kind as LineKind
from tillmesh.lines import Unit
from tillmesh.storage.claims import claim_columns
from tillmesh.storage.columns import origin_columns, payer_columns
from tillmesh.storage.database import append_only, one_of
from tillmesh.storage.requests import RequestLog
from tillmesh.storage.schema import versioned

METADATA = versioned("0001")
REQUESTS = RequestLog(METADATA)


checkouts = Table(
    "checkouts",
    METADATA,
    Column("checkout_id", String, primary_key=True),
    Column("store_id", String, nullable=False),
    *origin_columns(),
    *payer_columns(),
    Column("payer_display_name", String, nullable=False),
    Column("lines", Text, nullable=False),
    Column("last_line_number", Integer, nullable=False),
    Column("prices_include_tax", Boolean, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0"), nullable=False),
    Column("labels", Text, nullable=False),
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
    Column("refunded_minor", BigInteger, nullable=False),
    Column("confirmed_at_ms", BigInteger, nullable=False),
    Column("event_count", BigInteger, nullable=False),
    Column("history_hash", LargeBinary, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    CheckConstraint("paid_by = '' OR state = 'PAID'", name="payment_only_of_paid"),
    CheckConstraint("state <> 'PAID' OR paid_by <> '' OR amount_minor = 0", name="paid_by_a_payment_or_free"),
    CheckConstraint("state <> 'PAYING' OR (payment_id <> '' AND unanswered = payment_id)", name="paying_is_unanswered"),
    CheckConstraint("state NOT IN ('PAID', 'CANCELED') OR unanswered = ''", name="final_is_answered"),
    CheckConstraint("state <> 'BASKET' OR order_version = 0", name="basket_has_no_order"),
    CheckConstraint("refunded_minor = 0 OR state = 'PAID'", name="only_paid_is_refunded"),
)
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

checkout_history = Table(
    "checkout_history",
    METADATA,
    Column("checkout_id", String, ForeignKey("checkouts.checkout_id"), primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("event", String, nullable=False),
    Column("from_state", String),
    Column("to_state", String, nullable=False),
    Column("order_version", BigInteger, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("reference", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("trace_id", String, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("chain_hash", LargeBinary, nullable=False),
)

append_only(checkout_history)

journal = Table(
    "journal",
    METADATA,
    Column("request_id", String, primary_key=True),
    Column("checkout_id", String, nullable=False),
    Column("kind", String, one_of("kind", Kind), nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("pay_code_shown", Boolean, nullable=False),
    Column("line_numbers", Text, nullable=False),
    Column("state", String, one_of("state", EntryState), nullable=False),
    Column("reason", String, nullable=False),
    Column("refusal", LargeBinary, nullable=False),
    Column("trace_id", String, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    *claim_columns(),
)
_unanswered = journal.c.state == EntryState.PENDING
_busy = and_(_unanswered, journal.c.kind != Kind.REFUND, journal.c.kind != Kind.UNREFERENCED_REFUND)
Index("journal_unanswered", journal.c.created_at_ms, sqlite_where=_unanswered, postgresql_where=_unanswered)
Index("one_unanswered_a_checkout", journal.c.checkout_id, unique=True, sqlite_where=_busy, postgresql_where=_busy)

till_refunds = Table(
    "till_refunds",
    METADATA,
    Column("refund_id", String, ForeignKey("journal.request_id"), primary_key=True),
    Column("checkout_id", String, nullable=False),
    *payer_columns(nullable=True),
    Column("items", Text, nullable=False),
    Column("taxes", Text, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0")),
    Column("note", String, nullable=False),
    *origin_columns(),
    Column("actor", String, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)
Index("till_refunds_newest", till_refunds.c.created_at_ms, till_refunds.c.refund_id)
Index("till_refunds_of_checkout", till_refunds.c.checkout_id, till_refunds.c.created_at_ms, till_refunds.c.refund_id)
Index(
    "till_refunds_of_payer",
    till_refunds.c.payer_kind,
    till_refunds.c.payer_value,
    till_refunds.c.created_at_ms,
    till_refunds.c.refund_id,
)

catalogue = Table(
    "catalogue",
    METADATA,
    Column("sku", String, primary_key=True),
    Column("gtin", String, nullable=False),
    Column("title", String, nullable=False),
    Column("kind", String, one_of("kind", LineKind), nullable=False),
    Column("unit", String, one_of("unit", Unit), nullable=False),
    Column("currency", String, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("price_quantity", BigInteger, nullable=False),
    Column("tax_code", String, nullable=False),
    Column("tax_rate_ppm", Integer, nullable=False),
)
