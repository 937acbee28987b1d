"""The table of the lanes' stickers. What is presented stands in no table: its secret is derived from its request."""

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table

from store_terminal.schema import METADATA

lane_stickers = Table(
    "lane_stickers",
    METADATA,
    Column("lane", String, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)
