"""What was pruned: which rows of a history are gone, who removed them, and the hash that the rest of it follows.

An entry is written before the rows go, in the same transaction: the database deletes no row of a history that none
covers. The entries are a chain of hashes themselves.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    and_,
    literal_column,
)

from tillmesh.storage.database import append_only, one_of


class Pruned(StrEnum):
    """What an entry is about."""

    EVENTS = "EVENTS"
    """The record is there, with the rest of its history."""
    RECORD = "RECORD"
    """The record is gone as well."""


def pruned_table(metadata: MetaData, *covers: Column[Any]) -> Table:
    """The table of one database; `covers` are columns for what the rows said that nothing else proves."""
    table = Table(
        "pruned",
        metadata,
        Column("number", BigInteger, primary_key=True, autoincrement=False),
        Column("record_id", String, nullable=False),
        Column("what", String, one_of("what", Pruned), nullable=False),
        # The rows up to this one are gone; `head` is its hash, in hex.
        Column("through_number", BigInteger, nullable=False),
        Column("head", String, nullable=False),
        # The place of that row in the order of all rows.
        Column("through_xact_id", BigInteger, nullable=False),
        Column("through_row_id", BigInteger, nullable=False),
        *covers,
        Column("actor", String, nullable=False),
        Column("at_ms", BigInteger, nullable=False),
        Column("chain_hash", LargeBinary, nullable=False),
        UniqueConstraint("record_id", "through_number"),
    )
    Index("pruned_through", table.c.through_xact_id, table.c.through_row_id)
    append_only(table)
    return table


def append_only_but_pruned(history: Table, key: str) -> None:
    """Lets the database refuse to change a history, and to delete what no entry says is pruned."""
    append_only(history, prunable=covered_by_entry(f"record_id = OLD.{key} AND through_number >= OLD.number"))


def covered_by_entry(condition: str) -> str:
    """In SQL: there is such an entry."""
    return f"EXISTS (SELECT 1 FROM pruned WHERE {condition})"


def pruned_through() -> Column[int]:
    """The column of a record that says which rows of its history are gone: those up to this number."""
    return Column("pruned_through", BigInteger, nullable=False, server_default="0")


def index_unpruned(records: Table, final: Iterable[StrEnum]) -> ColumnElement[bool]:
    """Adds the index of final records with a history to prune: all but its last row; returns what holds of them."""
    columns = records.c
    # Literal, also in queries: SQLite uses an index with such a condition only if a query has it in the same words.
    unpruned = and_(
        columns.state.in_([literal_column(f"'{state}'") for state in sorted(final)]),
        columns.pruned_through < columns.event_count - literal_column("1"),
    )
    (key,) = records.primary_key
    name = f"{records.name}_unpruned"
    Index(name, columns.updated_at_ms, key, sqlite_where=unpruned, postgresql_where=unpruned)
    return unpruned
