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
    _create_ledger()
    op.create_table(
        "identities",
        sa.Column("identity_id", sa.String, primary_key=True),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("account_id", sa.String, sa.ForeignKey("accounts.account_id"), nullable=False, unique=True),
        sa.Column("instant_limit_minor", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    _create_payments()
    op.create_table(
        "refunds",
        sa.Column("refund_id", sa.String, primary_key=True),
        sa.Column("payment_id", sa.String, nullable=False),
        sa.Column("store_id", sa.String, nullable=False),
        sa.Column("payer_id", sa.String, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, sa.CheckConstraint("amount_minor > 0"), nullable=False),
        sa.Column("note", sa.String, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("refunds_newest", "refunds", ["created_at_ms", "refund_id"])
    op.create_index("refunds_of_payment", "refunds", ["payment_id", "created_at_ms", "refund_id"])
    op.create_index("refunds_of_payer", "refunds", ["payer_id", "created_at_ms", "refund_id"])
    op.create_index("refunds_of_store", "refunds", ["store_id", "created_at_ms", "refund_id"])
    for table in ("transfers", "payment_history", "refunds"):
        append_only(table)


def _create_ledger() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("credit_limit_minor", sa.BigInteger),
        sa.Column("posted_minor", sa.BigInteger, nullable=False),
        sa.Column("held_minor", sa.BigInteger, sa.CheckConstraint("held_minor >= 0"), nullable=False),
        sa.CheckConstraint("kind IN ('WALLET', 'STORE_SALES', 'STORE_RETURNS', 'EXTERNAL')", name="kind_is_known"),
        sa.UniqueConstraint("account_id", "currency"),
        sa.CheckConstraint("posted_minor - held_minor >= -credit_limit_minor", name="within_limit"),
        sa.CheckConstraint(
            "credit_limit_minor IS NOT NULL OR (posted_minor = 0 AND held_minor = 0)", name="only_guarded_keep_balance"
        ),
    )
    op.create_table(
        "transfers",
        sa.Column("transfer_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("phase", sa.String, nullable=False),
        sa.Column("debit_account_id", sa.String, nullable=False),
        sa.Column("credit_account_id", sa.String, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, sa.CheckConstraint("amount_minor > 0"), nullable=False),
        sa.Column("hold_id", sa.BigInteger, unique=True),
        sa.Column(
            "ends_phase", sa.String, sa.Computed("CASE WHEN hold_id IS NOT NULL THEN 'HOLD' END", persisted=True)
        ),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("reference", sa.String, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("phase IN ('SINGLE', 'HOLD', 'POST', 'VOID')", name="phase_is_known"),
        sa.CheckConstraint("purpose IN ('DEPOSIT', 'PAYMENT', 'REFUND', 'RETURN')", name="purpose_is_known"),
        sa.CheckConstraint("debit_account_id <> credit_account_id", name="two_accounts"),
        sa.CheckConstraint("(hold_id IS NOT NULL) = (phase IN ('POST', 'VOID'))", name="post_and_void_end_a_hold"),
        sa.UniqueConstraint("purpose", "reference", "phase", name="once"),
        sa.ForeignKeyConstraint(["debit_account_id", "currency"], ["accounts.account_id", "accounts.currency"]),
        sa.ForeignKeyConstraint(["credit_account_id", "currency"], ["accounts.account_id", "accounts.currency"]),
        sa.UniqueConstraint(
            "transfer_id", "phase", "debit_account_id", "credit_account_id", "currency", "amount_minor"
        ),
        sa.ForeignKeyConstraint(
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
    op.create_index("transfers_of_debit", "transfers", ["debit_account_id", "transfer_id"])
    op.create_index("transfers_of_credit", "transfers", ["credit_account_id", "transfer_id"])


def _create_payments() -> None:
    states = "'PENDING', 'AWAITING_PAYER', 'AUTHORIZED', 'RELEASING', 'CAPTURED', 'VOIDED'"
    op.create_table(
        "payments",
        sa.Column("payment_id", sa.String, primary_key=True),
        sa.Column("order_id", sa.String, nullable=False),
        sa.Column("order_version", sa.BigInteger, nullable=False),
        sa.Column("payer_id", sa.String, nullable=False),
        sa.Column("store_id", sa.String, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, sa.CheckConstraint("amount_minor > 0"), nullable=False),
        sa.Column("confirm", sa.Boolean, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("hold_id", sa.BigInteger, sa.ForeignKey("transfers.transfer_id"), unique=True),
        sa.Column("confirm_deadline_ms", sa.BigInteger, nullable=False),
        sa.Column("refunded_minor", sa.BigInteger, nullable=False),
        sa.Column("event_count", sa.BigInteger, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("updated_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint(f"state IN ({states})", name="state_is_known"),
        sa.CheckConstraint("refunded_minor BETWEEN 0 AND amount_minor", name="refunds_within_amount"),
        sa.CheckConstraint("refunded_minor = 0 OR state = 'CAPTURED'", name="only_captured_is_refunded"),
        sa.CheckConstraint("hold_id IS NOT NULL OR state NOT IN ('AUTHORIZED', 'CAPTURED')", name="money_was_held"),
    )
    captured, unfinished = sa.text("state = 'CAPTURED'"), sa.text("(state NOT IN ('CAPTURED', 'VOIDED'))")
    op.create_index(
        "one_capture_an_order", "payments", ["order_id"], unique=True, sqlite_where=captured, postgresql_where=captured
    )
    op.create_index(
        "payments_unfinished", "payments", ["updated_at_ms"], sqlite_where=unfinished, postgresql_where=unfinished
    )
    op.create_index("payments_newest", "payments", ["created_at_ms", "payment_id"])
    op.create_index("payments_of_order", "payments", ["order_id", "created_at_ms", "payment_id"])
    op.create_index("payments_of_payer", "payments", ["payer_id", "created_at_ms", "payment_id"])
    op.create_index("payments_of_store", "payments", ["store_id", "created_at_ms", "payment_id"])
    op.create_table(
        "payment_history",
        sa.Column("payment_id", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("from_state", sa.String),
        sa.Column("to_state", sa.String, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("refund_id", sa.String, nullable=False),
        sa.Column("currency", sa.String, nullable=False),
        sa.Column("amount_minor", sa.BigInteger, nullable=False),
        sa.Column("trace_id", sa.String, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
    )
