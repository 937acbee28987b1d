"""Payers have PINs, devices and pay codes; a payment knows whose identity it is."""

import sqlalchemy as sa
from alembic import op

from tillmesh.runtime.migrations import add_checks, append_only

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds columns and tables; who an order named was who paid until now."""
    _change_identities()
    _create_devices()
    _change_payments()


def _change_identities() -> None:
    for name in ("instant_count_max", "instant_day", "instant_count", "pin_failures"):
        op.add_column("identities", sa.Column(name, sa.BigInteger))
    op.add_column("identities", sa.Column("pin_hash", sa.String))
    op.execute("UPDATE identities SET instant_day = 0, instant_count = 0, pin_failures = 0")
    checks = sa.CheckConstraint("instant_count_max >= 0"), sa.CheckConstraint("pin_failures BETWEEN 0 AND 5")
    with op.batch_alter_table("identities", table_args=checks) as batch:
        for name in ("instant_day", "instant_count", "pin_failures"):
            batch.alter_column(name, nullable=False)
    add_checks("identities", checks)


def _create_devices() -> None:
    op.create_table(
        "payer_devices",
        sa.Column("device_uri", sa.String, primary_key=True),
        sa.Column("identity_id", sa.String, sa.ForeignKey("identities.identity_id"), nullable=False),
        sa.Column("handle", sa.String, sa.CheckConstraint("length(handle) = 8"), nullable=False, unique=True),
        sa.Column("key_id", sa.String, nullable=False, unique=True),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("code_failures", sa.BigInteger, sa.CheckConstraint("code_failures >= 0"), nullable=False),
        sa.Column("code_locked_until_ms", sa.BigInteger, nullable=False),
        sa.Column("token_hash", sa.LargeBinary),
        sa.Column("token_expires_at_ms", sa.BigInteger),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.CheckConstraint("(token_hash IS NULL) = (token_expires_at_ms IS NULL)", name="a_session_ends"),
    )
    op.create_index("payer_devices_of_identity", "payer_devices", ["identity_id"])
    op.create_table(
        "payer_references",
        sa.Column("payer_reference", sa.String, primary_key=True),
        sa.Column("identity_id", sa.String, sa.ForeignKey("identities.identity_id"), nullable=False),
        sa.Column("store_id", sa.String, nullable=False),
        sa.Column("order_id", sa.String, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    )
    append_only("payer_references")


def _change_payments() -> None:
    op.execute("ALTER TABLE payments ADD COLUMN identity_id VARCHAR REFERENCES identities (identity_id)")
    op.add_column("payments", sa.Column("payer_display_name", sa.String))
    op.execute(
        "UPDATE payments SET payer_display_name = '',"
        " identity_id = (SELECT identity_id FROM identities WHERE identities.identity_id = payments.payer_id)"
    )
    with op.batch_alter_table("payments", table_args=(sa.CheckConstraint("amount_minor > 0"),)) as batch:
        batch.alter_column("payer_display_name", nullable=False)
        batch.create_check_constraint(
            "who_pays_is_known", "identity_id IS NOT NULL OR state IN ('PENDING', 'RELEASING', 'VOIDED')"
        )
    op.create_index("payments_of_identity", "payments", ["identity_id", "created_at_ms", "payment_id"])
