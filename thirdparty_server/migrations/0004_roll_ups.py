"""Sums of accounts without a limit are rolled up; the roll-ups themselves come by and by."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Adds the table, and the index of the accounts that it is about."""
    summed = sa.text("credit_limit_minor IS NULL")
    op.create_index("accounts_summed", "accounts", ["account_id"], sqlite_where=summed, postgresql_where=summed)
    op.create_table(
        "account_sums",
        sa.Column("account_id", sa.String, sa.ForeignKey("accounts.account_id"), primary_key=True),
        sa.Column("through_transfer_id", sa.BigInteger, sa.ForeignKey("transfers.transfer_id"), nullable=False),
        sa.Column("posted_minor", sa.BigInteger, nullable=False),
    )
