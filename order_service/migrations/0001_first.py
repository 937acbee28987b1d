"""The first schema. Until release 0.2.0 it is edited in place, together with tables.py."""

from order_service.tables import METADATA
from tillmesh.storage.migrations import make_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Makes the tables."""
    make_tables(METADATA)
