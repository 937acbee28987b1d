"""A checkout knows the name of who showed a pay code."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the name; nobody showed a code until now."""
    op.add_column("checkouts", sa.Column("payer_display_name", sa.String))
    op.execute("UPDATE checkouts SET payer_display_name = ''")
    with op.batch_alter_table("checkouts") as batch:
        batch.alter_column("payer_display_name", nullable=False)
