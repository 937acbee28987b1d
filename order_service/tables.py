"""The tables, and what the database itself refuses whatever the code does."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    literal_column,
)

from order_service.lifecycle import ORDER, OrderState, PaymentState
from tillmesh.storage.columns import origin_columns, payer_columns
from tillmesh.storage.database import append_only, one_of
from tillmesh.storage.history_table import history_table
from tillmesh.storage.pruned import (
    covered_by_entry,
    index_unpruned,
    pruned_table,
    pruned_through,
)
from tillmesh.storage.requests import requests_table
from tillmesh.storage.schema import versioned

METADATA = versioned("0001")
requests_table(METADATA)
# Which version the rows that are gone led to, and what the row said that made it: the lines of that version may stay.
pruned = pruned_table(
    METADATA,
    Column("version", BigInteger, nullable=False),
    Column("content_hash", String, nullable=False),
    Column("content_at_ms", BigInteger, nullable=False),
)

orders = Table(
    "orders",
    METADATA,
    Column("order_id", String, primary_key=True),
    Column("store_id", String, nullable=False),
    *payer_columns(),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0"), nullable=False),
    *origin_columns(),
    Column("version", BigInteger, nullable=False),
    Column("state", String, one_of("state", OrderState), nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("payment_id", String, nullable=False),
    Column("lease_ms", BigInteger, nullable=False),
    Column("lease_expires_at_ms", BigInteger, nullable=False),
    Column("locked_at_ms", BigInteger, Computed("lease_expires_at_ms - lease_ms", persisted=True), nullable=False),
    Column("event_count", BigInteger, nullable=False),
    Column("history_hash", LargeBinary, nullable=False),
    pruned_through(),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("lines_length", Integer, nullable=False),
    Column("labels_length", Integer, nullable=False),
    Column("labels", Text, nullable=False),
    # A PAID order without a payment has amount 0.
    CheckConstraint(
        "(payment_id <> '') = (state = 'LOCKED' OR (state = 'PAID' AND amount_minor > 0))",
        name="holder_iff_locked_or_paid",
    ),
)
UNPRUNED = index_unpruned(orders, [state for state in OrderState if ORDER.is_final(state)])
Index("orders_newest", orders.c.created_at_ms, orders.c.order_id)
# Literal, also in queries: SQLite uses an index with such a condition only if a query has it in the same words.
PENDING_STATES = (OrderState.OPEN, OrderState.LOCKED)
PENDING = orders.c.state.in_([literal_column(f"'{state}'") for state in PENDING_STATES])
_OF_PAYER = (orders.c.payer_kind, orders.c.payer_value, orders.c.created_at_ms, orders.c.order_id)
Index("orders_of_payer", *_OF_PAYER)
Index("orders_pending_of_payer", *_OF_PAYER, sqlite_where=PENDING, postgresql_where=PENDING)
Index("orders_pending_at_store", orders.c.store_id, *_OF_PAYER, sqlite_where=PENDING, postgresql_where=PENDING)
Index("orders_of_store", orders.c.store_id, orders.c.created_at_ms, orders.c.order_id)
_open = orders.c.state == OrderState.OPEN
Index("orders_open", orders.c.updated_at_ms, sqlite_where=_open, postgresql_where=_open)
Index(
    "orders_locked",
    orders.c.lease_expires_at_ms,
    sqlite_where=orders.c.state == OrderState.LOCKED,
    postgresql_where=orders.c.state == OrderState.LOCKED,
)
# Finds what a clock that stepped back has locked in its future; or each sweep would read all locks to find nothing.
Index(
    "orders_locked_at",
    orders.c.locked_at_ms,
    sqlite_where=orders.c.state == OrderState.LOCKED,
    postgresql_where=orders.c.state == OrderState.LOCKED,
)

# The lines of every version, also of the one that an order is at: they stand nowhere else.
order_versions = Table(
    "order_versions",
    METADATA,
    Column("order_id", String, primary_key=True),
    Column("version", BigInteger, primary_key=True),
    Column("lines", Text, nullable=False),
    Column("prices_include_tax", Boolean, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0"), nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)
append_only(
    order_versions,
    prunable=covered_by_entry("record_id = OLD.order_id AND version >= OLD.version")
    + " AND NOT EXISTS (SELECT 1 FROM orders WHERE order_id = OLD.order_id AND version = OLD.version)",
)

# No foreign key to orders: an attempt to pay an unknown order is remembered as well.
order_payments = Table(
    "order_payments",
    METADATA,
    Column("payment_id", String, primary_key=True),
    Column("order_id", String, nullable=False),
    Column("state", String, one_of("state", PaymentState), nullable=False),
    Column("reason", String, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("asking_store_id", String),
    *payer_columns(nullable=True),
    Column("order_version", BigInteger),
    Column("currency", String),
    Column("amount_minor", BigInteger),
    Column("store_id", String, nullable=False),
)
Index(
    "one_holder_an_order",
    order_payments.c.order_id,
    unique=True,
    sqlite_where=order_payments.c.state.in_([PaymentState.GRANTED, PaymentState.PAID]),
    postgresql_where=order_payments.c.state.in_([PaymentState.GRANTED, PaymentState.PAID]),
)

order_history = history_table(
    "order_history",
    METADATA,
    Column("order_id", String, nullable=False),
    Column("store_id", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("payment_id", String, nullable=False),
    # Set where there is a new version: SHA-256 in hex of what the chain covers of it (model.content_hash).
    Column("content_hash", String),
    feeds_by=("store_id",),
)
