"""One way to use a database: hand `run` a function that is one transaction.

Functions are synchronous and never await, so no call leaves the process inside
a transaction. Those that wait together share one commit, as a commit to disk
costs more than the statements in it; each still fails alone, in a savepoint.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy
import structlog
from sqlalchemy import DDL, CheckConstraint, Connection, CursorResult, Engine, MetaData, Table, event
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError
from sqlalchemy.pool import StaticPool

from tillmesh.runtime.errors import CommonReason

Result = TypeVar("Result")
log = structlog.get_logger()

# synchronous 2 is FULL; without recursive_triggers INSERT OR REPLACE gets round an append-only table.
REQUIRED_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1}


@dataclass
class _Waiting:
    operation: Callable[[Connection], Any]
    context: Context
    future: "asyncio.Future[Any]"


class Database:
    """A SQLite database of which this process is the only writer."""

    def __init__(self, url: str, metadata: MetaData) -> None:
        try:
            self._engine = _open_engine(url)
            _assert_undamaged(self._engine, url)
            metadata.create_all(self._engine)
        except DatabaseError as error:
            raise ValueError(f"can not open the database {url!r}: {error.orig}") from error
        self._connection = self._engine.connect()
        self._waiting: list[_Waiting] = []

    async def run(self, operation: Callable[[Connection], Result]) -> Result:
        """Runs `operation` as one transaction; returns once it is on disk.

        An exception of the operation rolls back the operation alone and is raised here.
        """
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._flush)
        waiting = _Waiting(operation, copy_context(), loop.create_future())
        self._waiting.append(waiting)
        result: Result = await waiting.future
        return result

    async def close(self) -> None:
        """Closes the database; what was acknowledged is on disk already."""
        self._connection.close()
        self._engine.dispose()

    def _flush(self) -> None:
        batch, self._waiting = self._waiting, []
        try:
            with self._connection.begin():
                outcomes = [self._outcome(waiting, alone=len(batch) == 1) for waiting in batch]
        except DBAPIError as error:
            # A full or failing disk: SQLite may have rolled back more than one savepoint,
            # so nothing of the batch counts and nothing of it is acknowledged.
            log.error("transaction_failed", error=str(error.orig), operations=len(batch))
            outcomes = [CommonReason.STORAGE_UNAVAILABLE()] * len(batch)
        except _Alone as alone:
            outcomes = [alone.error]
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if waiting.future.done():
                continue  # the caller was cancelled; its transaction counts all the same
            if isinstance(outcome, BaseException):
                waiting.future.set_exception(outcome)
            else:
                waiting.future.set_result(outcome)

    def _outcome(self, waiting: _Waiting, *, alone: bool) -> Any:
        try:
            if alone:
                return waiting.context.run(waiting.operation, self._connection)
            with self._connection.begin_nested():
                return waiting.context.run(waiting.operation, self._connection)
        except Exception as error:
            if isinstance(error, DBAPIError) and not isinstance(error, IntegrityError):
                raise
            if alone:  # there is no savepoint: the transaction itself rolls back
                raise _Alone(error) from error
            return error


def one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    """A CHECK that allows the values of an enum only."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_is_known")


def append_only(table: Table) -> None:
    """Lets the database refuse every UPDATE and DELETE of a table."""
    for verb in ("UPDATE", "DELETE"):
        trigger = DDL(  # type: ignore[no-untyped-call]
            f"CREATE TRIGGER {table.name}_no_{verb.lower()} BEFORE {verb} ON {table.name} "
            f"BEGIN SELECT RAISE(ABORT, '{table.name} is append-only'); END"
        )
        event.listen(table, "after_create", trigger.execute_if(dialect="sqlite"))


def require_one_row(result: CursorResult[Any]) -> None:
    """Makes an UPDATE a compare-and-set: CONCURRENT_CHANGE unless it hit exactly one row."""
    if result.rowcount != 1:
        raise CommonReason.CONCURRENT_CHANGE()


class _Alone(Exception):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _open_engine(url: str) -> Engine:
    if not url.startswith("sqlite:"):
        raise ValueError(f"database_url must start with sqlite:///, was {url!r}")
    parsed = sqlalchemy.make_url(url)
    in_memory = parsed.database in (None, "", ":memory:")
    engine = sqlalchemy.create_engine(
        parsed,
        poolclass=StaticPool,
        # The driver must not open transactions of its own: `_begin` does.
        connect_args={"isolation_level": None, "check_same_thread": False},
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", _begin)
    if not in_memory:
        _assert_pragmas(engine)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    for pragma, value in REQUIRED_PRAGMAS.items():
        connection.execute(f"PRAGMA {pragma} = {value}").fetchall()
    connection.execute("PRAGMA busy_timeout = 5000").fetchall()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _assert_pragmas(engine: Engine) -> None:
    """A power loss must lose nothing: no test can see a wrong PRAGMA, so the start does."""
    with engine.connect() as connection:
        for pragma, wanted in REQUIRED_PRAGMAS.items():
            actual = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
            if actual != wanted:
                raise RuntimeError(f"SQLite runs with {pragma} = {actual!r}, {wanted!r} is needed")


def _assert_undamaged(engine: Engine, url: str) -> None:
    """Better no server than one that finds out in the middle of a payment; 100 MB take about 0.1 s."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        said = " ".join(found.split())
        raise ValueError(f"can not open the database {url!r}: it is damaged ({said}); restore it from a backup")
