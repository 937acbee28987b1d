"""Whether a database is whole: a little of everything when a server starts, all of it when somebody asks.

A start takes no longer the more there is. What it does not find shows when it is read: that operation fails, and no
other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Engine, Inspector, and_, column, exists, inspect, select, table
from sqlalchemy.engine.interfaces import ReflectedForeignKeyConstraint
from sqlalchemy.exc import DBAPIError

FINDINGS_MAX = 100
"""The most that is told of one part: a broken disk can be a million findings."""
AMCHECK = "SELECT to_regprocedure('bt_index_check(regclass, boolean)') IS NOT NULL"
NO_AMCHECK = "cannot be checked without the extension amcheck: let a superuser run CREATE EXTENSION amcheck in it"
POSTGRES_PARTS = """
SELECT c.oid::regclass::text, c.relkind = 'i' FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam
WHERE c.relnamespace = 'public'::regnamespace AND (c.relkind = 'r' OR (c.relkind = 'i' AND a.amname = 'btree'))
ORDER BY 1
"""
OF_INDEX = "SELECT bt_index_check(%(name)s::regclass, true)"
OF_TABLE = "SELECT concat('block ', blkno, ', row ', offnum, ': ', msg) FROM verify_heapam(%(name)s::regclass)"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a database, which is checked by itself."""

    what: str
    find: Callable[[Connection], Iterator[str]]
    """Yields what is wrong with it, or raises that."""

    def findings(self, connection: Connection) -> list[str]:
        """A line for each thing that is wrong with it; ends the transaction, or it would grow old."""
        try:
            found = list(self.find(connection))
        except DBAPIError as error:
            found = [str(error.orig).splitlines()[0]]
        connection.rollback()
        return [f"{self.what}: {line}" for line in found]


def assert_readable(engine: Engine) -> None:
    """Reads both ends of every table and every index of a SQLite file; SQLite itself compares its size.

    Raises DatabaseError where it is damaged there.
    """
    with engine.connect() as connection:
        for statement in list(_ends(connection)):
            connection.exec_driver_sql(statement).all()


def parts(connection: Connection) -> list[Part]:
    """All parts of a database; ValueError where it cannot be checked."""
    if connection.dialect.name == "sqlite":
        return [Part("pages", _damaged_pages), Part("references", _lost_references)]
    if not connection.exec_driver_sql(AMCHECK).scalar_one():
        raise ValueError(NO_AMCHECK)
    found = connection.exec_driver_sql(POSTGRES_PARTS).all()
    checked = [Part(name, partial(_damaged_index if is_index else _damaged_table, name)) for name, is_index in found]
    return checked + list(_references(inspect(connection)))


def _ends(connection: Connection) -> Iterator[str]:
    """Statements that read one row each."""
    made = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master WHERE type IN ('table', 'index')"
    for kind, name, of_table, definition in connection.exec_driver_sql(made).all():
        by, using = "rowid", ""
        if kind == "index":
            by = connection.exec_driver_sql(f'PRAGMA index_info("{name}")').all()[0][2]
            using = f'INDEXED BY "{name}"' + "".join(definition.partition(" WHERE ")[1:])
        for order in ("ASC", "DESC"):
            yield f'SELECT "{by}" FROM "{of_table}" {using} ORDER BY "{by}" {order} LIMIT 1'


def _damaged_pages(connection: Connection) -> Iterator[str]:
    for found in connection.exec_driver_sql(f"PRAGMA integrity_check({FINDINGS_MAX})").scalars():
        yield from (line for line in found.splitlines() if line != "ok" and not line.startswith("***"))


def _lost_references(connection: Connection) -> Iterator[str]:
    for of_table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(FINDINGS_MAX):
        yield f"row {row} of {of_table} names a row of {parent} that is not there"


def _damaged_index(name: str, connection: Connection) -> Iterator[str]:
    """PostgreSQL raises what it finds."""
    connection.exec_driver_sql(OF_INDEX, {"name": name})
    yield from ()


def _damaged_table(name: str, connection: Connection) -> Iterator[str]:
    yield from connection.exec_driver_sql(OF_TABLE, {"name": name}).scalars().fetchmany(FINDINGS_MAX)


def _references(inspector: Inspector) -> Iterator[Part]:
    for name in inspector.get_table_names():
        for key in inspector.get_foreign_keys(name):
            yield Part(f"references of {name}", partial(_lost, name, key))


def _lost(name: str, key: ReflectedForeignKeyConstraint, connection: Connection) -> Iterator[str]:
    """Rows of a table that name a row of another one that is not there."""
    columns, parent = key["constrained_columns"], key["referred_table"]
    rows = table(name, *map(column, columns))
    named = table(parent, *map(column, key["referred_columns"])).alias("named")
    same = and_(*(named.c[of] == rows.c[by] for by, of in zip(columns, key["referred_columns"], strict=True)))
    is_set = and_(*(rows.c[by].is_not(None) for by in columns))
    lost = select(*rows.c).where(is_set, ~exists().where(same)).limit(FINDINGS_MAX)
    for row in connection.execute(lost):
        yield f"{', '.join(map(str, row))} names a row of {parent} that is not there"
