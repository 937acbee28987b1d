"""The order in which rows are read on from one to the next, so that none is missed: (xact_id, the row's own id).

PostgreSQL takes ids from a sequence: a transaction may commit a lower id after another one has committed a higher one,
and a reader who goes on after the highest id would miss it. Transactions have ids as well, and of these the database
knows the smallest one that is still under way. A row below this bound is settled: every row before it is there, or
never will be. A row above it is there, but not yet in its place: it is settled once all older transactions have ended.

SQLite's one writer commits in the order of ids. So there each row counts as a transaction of its own, `xact_id` is its
id, and every row is settled.

Transaction ids are those of a PostgreSQL cluster. After a dump is restored into another cluster, rows may have ids
that are still to come there. `ahead_by` finds that out, and `restamp` lets the database count on after its rows: new
rows get the cluster's ids plus an offset. No row changes.
"""

from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Column,
    ColumnElement,
    Computed,
    Connection,
    Engine,
    MetaData,
    Table,
    column,
    event,
    func,
    select,
    table,
    text,
)
from sqlalchemy.ext.compiler import compiles

from tillmesh.storage.statements import Transaction

COLUMN = "xact_id"
_OFFSET = "CREATE OR REPLACE FUNCTION xact_id_offset() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT {}::bigint'"
_NEXT = "(pg_snapshot_xmax(pg_current_snapshot())::text::bigint + xact_id_offset())"
_STAMPED = text(
    f"SELECT table_name FROM information_schema.columns WHERE column_name = '{COLUMN}'"
    " AND table_schema = current_schema()"
)


class _XactId(Computed):
    """The id of the transaction that writes a row."""


class _Bound(ColumnElement[int]):
    """The smallest id of a transaction under way, as this transaction sees it."""

    type = BigInteger()
    inherit_cache = True


class _Next(ColumnElement[int]):
    """The id of the next transaction, likewise."""

    type = BigInteger()
    inherit_cache = True


@compiles(_XactId, "postgresql")
def _own(*_: Any, **__: Any) -> str:
    return "DEFAULT pg_current_xact_id()::text::bigint + xact_id_offset()"


@compiles(_Bound, "postgresql")
def _oldest(*_: Any, **__: Any) -> str:
    return "(pg_snapshot_xmin(pg_current_snapshot())::text::bigint + xact_id_offset())"


@compiles(_Bound, "sqlite")
def _none(*_: Any, **__: Any) -> str:
    return str(2**63 - 1)


@compiles(_Next, "postgresql")
def _next(*_: Any, **__: Any) -> str:
    return _NEXT


compiles(_Next, "sqlite")(_none)
_OPEN = select(_Bound().label("bound"), _Next().label("next"))


def oldest_open(transaction: Transaction) -> int | None:
    """The id of the oldest transaction that holds rows back; None where none is older than this one."""
    row = transaction.execute(_OPEN).one()
    return row["bound"] if row["bound"] < row["next"] else None


def xact_id_column(row_id: str) -> Column[int]:
    """The column of a table whose rows are read in order; the database fills it in. `row_id` is its integer key."""
    return Column(COLUMN, BigInteger, _XactId(row_id, persisted=False), nullable=False)


def is_settled(rows: Table) -> ColumnElement[bool]:
    """The condition that no row can appear before this one any more."""
    return rows.c[COLUMN] < _Bound()


def make_offset(metadata: MetaData) -> None:
    """Makes the offset together with the tables; it is 0 in the cluster in which they are made."""
    offset = DDL(_OFFSET.format(0))  # type: ignore[no-untyped-call]
    event.listen(metadata, "before_create", offset.execute_if(dialect="postgresql"))


def refuse_ahead(engine: Engine) -> None:
    """ValueError for a database whose rows have ids of transactions that are still to come in this cluster."""
    with engine.connect() as connection:
        if ahead_by(connection):
            raise ValueError(
                f"the database {engine.url} was restored from another cluster, and its rows are stamped ahead of this"
                " cluster's transactions: stop what uses it and run tillmesh db restamp"
            )


def restamp(connection: Connection) -> int:
    """Lets new rows follow those that are there; returns by how much they were ahead. Nobody may use the database."""
    ahead = ahead_by(connection)
    if ahead:
        before = connection.execute(text("SELECT xact_id_offset()")).scalar_one()
        connection.exec_driver_sql(_OFFSET.format(before + ahead))
    return ahead


def ahead_by(connection: Connection) -> int:
    """How far the newest row is ahead of the next transaction; 0 where it is not."""
    if connection.dialect.name != "postgresql":
        return 0
    ahead = 0
    for name in connection.execute(_STAMPED).scalars().all():
        newest = select(func.max(column(COLUMN, BigInteger))).select_from(table(name)).scalar_subquery()
        found = connection.execute(select(newest - text(_NEXT) + 1)).scalar_one()
        ahead = max(ahead, found or 0)
    return ahead
