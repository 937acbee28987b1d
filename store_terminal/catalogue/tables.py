"""The table of the catalogue."""

from sqlalchemy import BigInteger, Column, Integer, String, Table

from store_terminal.schema import METADATA
from tillmesh.lines import Kind as LineKind
from tillmesh.lines import Unit
from tillmesh.storage.database import one_of

catalogue = Table(
    "catalogue",
    METADATA,
    Column("sku", String, primary_key=True),
    Column("gtin", String, nullable=False),
    Column("title", String, nullable=False),
    Column("kind", String, one_of("kind", LineKind), nullable=False),
    Column("unit", String, one_of("unit", Unit), nullable=False),
    Column("currency", String, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("price_quantity", BigInteger, nullable=False),
    Column("tax_code", String, nullable=False),
    Column("tax_rate_ppm", Integer, nullable=False),
)
