"""The table of what the terminal knows of its store."""

from sqlalchemy import Column, String, Table

from store_terminal.schema import METADATA

store_records = Table(
    "store_records",
    METADATA,
    Column("store_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("address_lines", String, nullable=False),
    Column("tax_number", String, nullable=False),
    Column("time_zone", String, nullable=False),
)
