"""The first schema that has a version."""

import sqlalchemy as sa
from alembic import op

from tillmesh.runtime.migrations import append_only

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("content_hash", sa.LargeBinary, nullable=False),
        sa.Column("refused", sa.Boolean, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "orders",
        sa.Column("order_id", sa.String, primary_key=True),
        sa.Column("store_id", sa.String, nullable=False),
        sa.Column("payer_id", sa.String, nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, sa.CheckConstraint("amount_minor >= 0"), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("payment_id", sa.String, nullable=False),
        sa.Column("lease_ms", sa.BigInteger, nullable=False),
        sa.Column("lease_expires_at_ms", sa.BigInteger, nullable=False),
        sa.Column("event_count", sa.BigInteger, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('OPEN', 'LOCKED', 'PAID', 'CANCELED')", name="state_is_known"),
        sa.CheckConstraint("(payment_id <> '') = (state IN ('LOCKED', 'PAID'))", name="holder_iff_locked_or_paid"),
    )
    op.create_index("orders_newest", "orders", ["created_at_ms", "order_id"])
    op.create_index("orders_of_payer", "orders", ["payer_id", "created_at_ms", "order_id"])
    op.create_index("orders_of_store", "orders", ["store_id", "created_at_ms", "order_id"])
    locked = sa.text("state = 'LOCKED'")
    op.create_index("orders_locked", "orders", ["lease_expires_at_ms"], sqlite_where=locked, postgresql_where=locked)

    op.create_table(
        "order_payments",
        sa.Column("payment_id", sa.String, primary_key=True),
        sa.Column("order_id", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("asking_store_id", sa.String),
        sa.Column("payer_id", sa.String),
        sa.Column("order_version", sa.BigInteger),
        sa.Column("currency", sa.String),
        sa.Column("amount_minor", sa.BigInteger),
        sa.Column("store_id", sa.String, nullable=False),
        sa.CheckConstraint("state IN ('HELD', 'PAID', 'RELEASED', 'REFUSED')", name="state_is_known"),
    )
    holds = sa.text("state IN ('HELD', 'PAID')")
    op.create_index(
        "one_holder_an_order",
        "order_payments",
        ["order_id"],
        unique=True,
        sqlite_where=holds,
        postgresql_where=holds,
    )

    op.create_table(
        "order_history",
        sa.Column("order_id", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("from_state", sa.String),
        sa.Column("to_state", sa.String, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("payment_id", sa.String, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    append_only("order_history")
