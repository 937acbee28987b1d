"""The table of the scan rules: one row, once they have been set."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Integer, Table, Text

from store_terminal.schema import METADATA

scan_rules = Table(
    "scan_rules",
    METADATA,
    Column("rules_id", Integer, CheckConstraint("rules_id = 1", name="one_row"), primary_key=True),
    Column("add_to_line", Boolean, nullable=False),
    Column("version", BigInteger, CheckConstraint("version > 0"), nullable=False),
    Column("updated_at_ms", BigInteger, nullable=False),
    Column("rules", Text, nullable=False),
)
