"""The history of a checkout is a hash chain; replicas claim the requests that they drive."""

from tillmesh.runtime.migrations import add_claims, chain_history

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds the hashes and the claims."""
    add_claims("journal")
    chain_history("checkout_history", "checkouts", "checkout_id")
