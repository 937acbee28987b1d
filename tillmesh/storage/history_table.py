"""The tables of histories: their common columns, and the order in which their rows are read on."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from tillmesh.storage.pruned import append_only_but_pruned
from tillmesh.storage.row_order import COLUMN as XACT_ID
from tillmesh.storage.row_order import xact_id_column

ROW_ID = "row_id"
PLACE = (XACT_ID, ROW_ID)
"""The columns that say where in the order of all rows one stands. The hash of a row does not cover them."""


def history_table(
    name: str, metadata: MetaData, key: Column[Any], *own: Column[Any], feeds_by: tuple[str, ...] = ()
) -> Table:
    """The table of a history: each record's rows by `key` and number, and all rows in the order of their commits.

    `own` are the columns that these records have besides. Readers that want the rows of one value of a column in
    `feeds_by` alone, in that order, find them by an index.
    """
    table = Table(
        name,
        metadata,
        # SQLite counts up by itself only in a column that is called INTEGER.
        Column(ROW_ID, BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
        xact_id_column(ROW_ID),
        key,
        Column("number", BigInteger, nullable=False),
        Column("event", String, nullable=False),
        Column("from_state", String),
        Column("to_state", String, nullable=False),
        *own,
        Column("actor", String, nullable=False),
        Column("trace_id", String, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("chain_hash", LargeBinary, nullable=False),
        UniqueConstraint(key.name, "number"),
        info={"key": key.name},
        sqlite_autoincrement=True,  # the place of a row that was pruned is never taken again
    )
    place = [table.c[column] for column in PLACE]
    Index(f"{name}_in_order", *place)
    for column in feeds_by:
        Index(f"{name}_of_{column.removesuffix('_id')}", table.c[column], *place)
    append_only_but_pruned(table, key.name)
    return table


def key_of(history: Table) -> Column[Any]:
    """The column of a history that names its records."""
    return history.c[history.info["key"]]
