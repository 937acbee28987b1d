"""One way to use a database: hand `run` a function that is one transaction.

Functions are synchronous and never await, so no call leaves the process inside a transaction. A function
may be run more than once, each time in a transaction of its own of which only the last one counts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy
from sqlalchemy import DDL, URL, CheckConstraint, Engine, MetaData, Table, event, literal, select
from sqlalchemy.exc import ArgumentError

from tillmesh.runtime.errors import CommonReason
from tillmesh.storage import postgres, sqlite
from tillmesh.storage.postgres import PostgresDatabase
from tillmesh.storage.seal import Seal
from tillmesh.storage.sqlite import SqliteDatabase
from tillmesh.storage.statements import Result, Transaction

_ANSWER = select(literal(1))
Outcome = TypeVar("Outcome")
Arguments = ParamSpec("Arguments")


class Database(Protocol):
    """The database of one server."""

    replica: str
    """The name of this process among those that use the database; empty where it is the only one."""
    seal: Seal
    """Seals the positions that callers are shown."""
    changed: asyncio.Event
    """Set once a transaction that wrote is on disk, by whichever process."""
    untold: bool
    """True if this process wrote something that other processes were not told of."""

    def run(
        self,
        operation: Callable[Concatenate[Transaction, Arguments], Outcome],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Awaitable[Outcome]:
        """Runs `operation` as one transaction; returns once it is on disk.

        An exception of the operation rolls back the operation alone and is raised here. Raises
        STORAGE_UNAVAILABLE where the database cannot say that the transaction is on disk.
        """

    def tell_others(self, transaction: Transaction) -> None:
        """Lets other processes know, with a transaction, that this one wrote something."""

    async def hear_others(self) -> None:
        """Hears of what other processes wrote, until it is cancelled."""

    async def close(self) -> None:
        """Closes the database; what was acknowledged is on disk already."""


def open_database(url: str, metadata: MetaData) -> Database:
    """Opens sqlite:///FILE or postgresql://...; ValueError says why it cannot be used."""
    parsed = parse_url(url)
    return SqliteDatabase(parsed, metadata) if is_sqlite(parsed) else PostgresDatabase(parsed, metadata)


def open_engine(url: URL) -> Engine:
    """SQLAlchemy's way to a database, for what is no operation."""
    return sqlite.open_engine(url) if is_sqlite(url) else postgres.open_engine(url)


def parse_url(url: str) -> URL:
    """The URL of a database that a server can use; ValueError for any other."""
    try:
        parsed = sqlalchemy.make_url(url)
    except (ArgumentError, ValueError):
        shown = url if "@" not in url else "one that cannot be read"  # it may have a password in it
        raise ValueError(f"the database URL must start with sqlite:/// or postgresql://, was {shown}") from None
    if parsed.drivername not in ("sqlite", "postgresql"):
        raise ValueError(f"the database URL must start with sqlite:/// or postgresql://, was {parsed}")
    return parsed


def is_sqlite(url: URL) -> bool:
    """True for a file, of which one process is the only writer."""
    return url.drivername == "sqlite"


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """A CHECK that allows the values of an enum only."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_is_known")


def answer(transaction: Transaction) -> int:
    """Proves that a database answers."""
    return int(transaction.execute(_ANSWER).scalar_one())


def append_only(table: Table, *, prunable: str = "") -> None:
    """Lets the database refuse every UPDATE and DELETE of a table, but a DELETE of a row that is `prunable`.

    That is a condition in SQL on the row, OLD.
    """
    for verb, but in (("UPDATE", ""), ("DELETE", prunable)):
        _on_create(
            table,
            "sqlite",
            f"CREATE TRIGGER {table.name}_no_{verb.lower()} BEFORE {verb} ON {table.name} "
            f"{f'WHEN NOT ({but}) ' if but else ''}"
            f"BEGIN SELECT RAISE(ABORT, '{table.name} is append-only'); END",
        )
    refuse = f"RAISE integrity_constraint_violation USING MESSAGE = '{table.name} is append-only'; END"
    verbs = "UPDATE OR TRUNCATE" if prunable else "UPDATE OR DELETE OR TRUNCATE"
    _on_create(
        table,
        "postgresql",
        f"CREATE FUNCTION {table.name}_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {refuse} $$",
        f"CREATE TRIGGER {table.name}_no_change BEFORE {verbs} ON {table.name} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table.name}_refuse_change()",
    )
    if prunable:
        _on_create(
            table,
            "postgresql",
            f"CREATE FUNCTION {table.name}_refuse_delete() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN IF {prunable} THEN RETURN OLD; END IF; {refuse} $$",
            f"CREATE TRIGGER {table.name}_no_delete BEFORE DELETE ON {table.name} "
            f"FOR EACH ROW EXECUTE FUNCTION {table.name}_refuse_delete()",
        )


def _on_create(table: Table, dialect: str, *statements: str) -> None:
    for statement in statements:
        event.listen(table, "after_create", DDL(statement).execute_if(dialect=dialect))  # type: ignore[no-untyped-call]


def require_one_row(result: Result) -> None:
    """Makes an UPDATE a compare-and-set: CONCURRENT_CHANGE unless it hit exactly one row."""
    if result.rowcount != 1:
        raise CommonReason.CONCURRENT_CHANGE()
