"""The history of an order is a hash chain."""

import sqlalchemy as sa

from tillmesh.runtime.migrations import chain_history

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the hashes."""
    chain_history("order_history", "orders", "order_id", sa.CheckConstraint("amount_minor >= 0"))
