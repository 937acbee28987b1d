"""The table of stores."""

from sqlalchemy import BigInteger, CheckConstraint, Column, String, Table

from thirdparty_server.schema import METADATA
from thirdparty_server.stores.model import StoreState
from tillmesh.storage.database import one_of

# A store without a row is paid as well, but gives nothing back without a sale.
stores = Table(
    "stores",
    METADATA,
    Column("store_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("address_lines", String, nullable=False),
    Column("tax_number", String, nullable=False),
    Column("time_zone", String, nullable=False),
    Column("currency", String, nullable=False),
    Column("unreferenced_refund_limit_minor", BigInteger, CheckConstraint("unreferenced_refund_limit_minor >= 0")),
    Column("state", String, one_of("state", StoreState), nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)
