"""The history of a payment is a hash chain; replicas claim the payments that they drive."""

import sqlalchemy as sa

from tillmesh.runtime.migrations import add_claims, chain_history

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the hashes and the claims."""
    add_claims("payments")
    chain_history("payment_history", "payments", "payment_id", sa.CheckConstraint("amount_minor > 0"))
