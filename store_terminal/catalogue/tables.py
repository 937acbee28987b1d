"""The tables of the catalogue.

Every article stands in a generation. Readers see two of them, which one row names: the base, and over it the overlay,
whose articles take the place of those with their sku until they are merged into the base. An import in parts fills a
generation that nobody sees, so that what shows it all at once is a change of that one row.
"""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Integer, LargeBinary, String, Table, Text

from store_terminal.catalogue.model import ImportState
from store_terminal.schema import METADATA
from tillmesh.lines import Kind as LineKind
from tillmesh.lines import Unit
from tillmesh.storage.database import one_of

catalogue = Table(
    "catalogue",
    METADATA,
    Column("catalogue_id", Integer, CheckConstraint("catalogue_id = 1", name="one_row"), primary_key=True),
    Column("base", BigInteger, nullable=False),
    Column("overlay", BigInteger, nullable=False),
    Column("staged", BigInteger, nullable=False),
    Column("last_generation", BigInteger, nullable=False),
    Column("checking", Boolean, nullable=False),
    Column("item_count", BigInteger, nullable=False),
)
items = Table(
    "catalogue_items",
    METADATA,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("sku", String, primary_key=True),
    Column("gtins", String, nullable=False),
    Column("title", String, nullable=False),
    Column("kind", String, one_of("kind", LineKind), nullable=False),
    Column("unit", String, one_of("unit", Unit), nullable=False),
    Column("currency", String, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("price_quantity", BigInteger, nullable=False),
    Column("price_periods", Text, nullable=False),
    Column("tax_code", String, nullable=False),
    Column("tax_rate_ppm", Integer, nullable=False),
    Column("minimum_age_years", Integer, nullable=False),
    Column("deposit_sku", String, nullable=False),
    sqlite_with_rowid=False,
)
_has_deposit = items.c.deposit_sku != ""
Index(
    "catalogue_items_of_deposit",
    items.c.generation,
    items.c.deposit_sku,
    sqlite_where=_has_deposit,
    postgresql_where=_has_deposit,
)
gtins = Table(
    "catalogue_gtins",
    METADATA,
    Column("generation", BigInteger, primary_key=True, autoincrement=False),
    Column("gtin", String, primary_key=True),
    Column("sku", String, nullable=False),
    sqlite_with_rowid=False,
)
imports = Table(
    "catalogue_imports",
    METADATA,
    Column("import_id", String, primary_key=True),
    Column("generation", BigInteger, nullable=False, unique=True),
    Column("replace_all", Boolean, nullable=False),
    Column("state", String, one_of("state", ImportState), nullable=False),
    Column("part_count", Integer, nullable=False),
    Column("part_hash", LargeBinary, nullable=False),
    Column("item_count", BigInteger, nullable=False),
    Column("added_count", BigInteger, nullable=False),
    Column("checked_count", BigInteger, nullable=False),
    Column("checked_sku", String, nullable=False),
    Column("violations", Text, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
)
