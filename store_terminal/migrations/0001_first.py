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
    _create_checkouts()
    _create_journal()
    op.create_table(
        "catalogue",
        sa.Column("sku", sa.String, primary_key=True),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("price_minor", sa.BigInteger, nullable=False),
    )


def _create_checkouts() -> None:
    op.create_table(
        "checkouts",
        sa.Column("checkout_id", sa.String, primary_key=True),
        sa.Column("store_id", sa.String, nullable=False),
        sa.Column("payer_id", sa.String, nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("last_line_number", sa.Integer, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("order_version", sa.BigInteger, nullable=False),
        sa.Column("unanswered", sa.String, nullable=False),
        sa.Column("payment_id", sa.String, nullable=False),
        sa.Column("payment_reason", sa.String, nullable=False),
        sa.Column("payment_deadline_at_ms", sa.BigInteger, nullable=False),
        sa.Column("payment_canceling", sa.Boolean, nullable=False),
        sa.Column("paid_by", sa.String, nullable=False),
        sa.Column("paid_at_ms", sa.BigInteger, nullable=False),
        sa.Column("refunded_minor", sa.BigInteger, nullable=False),
        sa.Column("event_count", sa.BigInteger, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('BASKET', 'PENDING', 'PAYING', 'PAID', 'CANCELED')", name="state_is_known"),
        sa.CheckConstraint("(paid_by <> '') = (state = 'PAID')", name="payment_iff_paid"),
        sa.CheckConstraint(
            "state <> 'PAYING' OR (payment_id <> '' AND unanswered = payment_id)", name="paying_is_unanswered"
        ),
        sa.CheckConstraint("state NOT IN ('PAID', 'CANCELED') OR unanswered = ''", name="final_is_answered"),
        sa.CheckConstraint("state <> 'BASKET' OR order_version = 0", name="basket_has_no_order"),
        sa.CheckConstraint("refunded_minor = 0 OR state = 'PAID'", name="only_paid_is_refunded"),
    )
    op.create_index("checkouts_newest", "checkouts", ["created_at_ms", "checkout_id"])
    op.create_index("checkouts_of_payer", "checkouts", ["payer_id", "created_at_ms", "checkout_id"])
    op.create_table(
        "checkout_history",
        sa.Column("checkout_id", sa.String, sa.ForeignKey("checkouts.checkout_id"), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("from_state", sa.String),
        sa.Column("to_state", sa.String, nullable=False),
        sa.Column("order_version", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
    append_only("checkout_history")


def _create_journal() -> None:
    kinds = "'CREATE_ORDER', 'UPDATE_ORDER', 'CANCEL_ORDER', 'PAY', 'REFUND'"
    op.create_table(
        "journal",
        sa.Column("request_id", sa.String, primary_key=True),
        sa.Column("checkout_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("request", sa.LargeBinary, nullable=False),
        sa.Column("line_numbers", sa.Text, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("refusal", sa.LargeBinary, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint(f"kind IN ({kinds})", name="kind_is_known"),
        sa.CheckConstraint("state IN ('PENDING', 'DONE', 'REFUSED')", name="state_is_known"),
    )
    unanswered, busy = sa.text("state = 'PENDING'"), sa.text("state = 'PENDING' AND kind != 'REFUND'")
    op.create_index(
        "journal_unanswered", "journal", ["created_at_ms"], sqlite_where=unanswered, postgresql_where=unanswered
    )
    op.create_index(
        "one_unanswered_a_checkout", "journal", ["checkout_id"], unique=True, sqlite_where=busy, postgresql_where=busy
    )
    op.create_table(
        "till_refunds",
        sa.Column("refund_id", sa.String, sa.ForeignKey("journal.request_id"), primary_key=True),
        sa.Column("checkout_id", sa.String, nullable=False),
        sa.Column("payer_id", sa.String, nullable=False),
        sa.Column("items", sa.Text, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, sa.CheckConstraint("amount_minor > 0")),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("till_refunds_newest", "till_refunds", ["created_at_ms", "refund_id"])
    op.create_index("till_refunds_of_checkout", "till_refunds", ["checkout_id", "created_at_ms", "refund_id"])
    op.create_index("till_refunds_of_payer", "till_refunds", ["payer_id", "created_at_ms", "refund_id"])
