"""SQLite: one writer, which runs what is waiting, a few dozen at most, and commits once.

A commit to disk takes longer than the statements in it. So operations run at once, and while a thread commits
them the next ones wait, to share a commit. Each still fails alone.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy
import structlog
from sqlalchemy import URL, Engine, MetaData, event
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.metrics import COMMIT, OPERATIONS_A_COMMIT
from tillmesh.storage.batches import Queue, Waiting, deliver, run_together
from tillmesh.storage.schema import prepare, read_seal
from tillmesh.storage.soundness import assert_readable
from tillmesh.storage.statements import Statements, Transaction

Outcome = TypeVar("Outcome")
Arguments = ParamSpec("Arguments")
PRIMARY_CODE = 0xFF  # of an error code, without its details
SQLITE_ERROR = 1  # a statement is wrong; any other OperationalError is about the disk or the file
log = structlog.get_logger()

# synchronous 2 is FULL; without recursive_triggers INSERT OR REPLACE gets round an append-only table.
REQUIRED_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "recursive_triggers": 1}
# 64 MB of pages in memory: keys are random, so a million orders need more than SQLite's 2 MB. A page that is
# written often goes from the log to the file once in 4,000 pages instead of once in 1,000.
FREE_PRAGMAS = {"busy_timeout": 5000, "cache_size": -65536, "wal_autocheckpoint": 4000}


class SqliteDatabase:
    """A SQLite database of which this process is the only writer."""

    replica = ""
    untold = False

    def __init__(self, url: URL, metadata: MetaData) -> None:
        try:
            self._engine = open_engine(url)
            prepare(self._engine, metadata)
            self.seal = read_seal(self._engine)
            assert_readable(self._engine)
        except DatabaseError as error:
            raise ValueError(f"cannot open the database {url}: {_said(error)}") from error
        driver: Any = self._engine.raw_connection().driver_connection
        self._driver: sqlite3.Connection = driver
        self._transaction = Transaction(self._driver.cursor(), Statements(self._engine.dialect))
        self._queue = Queue(self._flush)
        self._committing = False
        self.changed = asyncio.Event()
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="commit")

    def run(
        self,
        operation: Callable[Concatenate[Transaction, Arguments], Outcome],
        /,
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Awaitable[Outcome]:
        """Runs `operation` as one transaction; returns once it is on disk."""
        return self._queue.add(operation, *args, **kwargs)

    def tell_others(self, transaction: Transaction) -> None:
        """No other process has the file."""

    async def hear_others(self) -> None:
        """No other process has the file."""

    async def close(self) -> None:
        """Closes the database once nothing waits; what was acknowledged is on disk already."""
        await self._queue.drain()
        await asyncio.to_thread(self._committer.shutdown)
        self._driver.close()
        self._engine.dispose()

    def _flush(self) -> None:
        """Runs what waits and begins to commit it, unless a commit is under way."""
        if self._committing or not (batch := self._queue.take()):
            return
        writes_before = self._transaction.writes
        try:
            self._transaction.command("BEGIN IMMEDIATE")
            outcomes = run_together(batch, self._transaction, self._start_again)
            if self._transaction.writes == writes_before:
                self._transaction.command("COMMIT")  # nothing goes to disk
        except DBAPIError as error:
            self._fail(batch, error)
            return
        if self._transaction.writes == writes_before:
            self._end(batch, outcomes)
        else:
            self._committing = True
            OPERATIONS_A_COMMIT.observe(len(batch))
            self._commit_aside(lambda error: self._committed(batch, outcomes, error))

    def _start_again(self, error: Exception) -> None:
        """Begins another transaction without the operation that raised this, unless it is the disk that fails."""
        if isinstance(error, OperationalError) and getattr(error.orig, "sqlite_errorcode", None) != SQLITE_ERROR:
            raise error
        self._transaction.command("ROLLBACK")
        self._transaction.command("BEGIN IMMEDIATE")

    def _commit_aside(self, then: Callable[[Exception | None], None]) -> None:
        """Commits in a thread; calls `then` with what went wrong, if anything did."""
        loop = asyncio.get_running_loop()
        self._committer.submit(lambda: loop.call_soon_threadsafe(then, self._commit()))

    def _commit(self) -> Exception | None:
        """In a thread, where nobody would see an error."""
        try:
            with COMMIT.time():
                self._transaction.command("COMMIT")
        except Exception as error:
            return error
        return None

    def _committed(self, batch: Sequence[Waiting], outcomes: Sequence[Any], error: Exception | None) -> None:
        self._committing = False
        if error:
            self._fail(batch, error)
        else:
            self.changed.set()
            self._end(batch, outcomes)

    def _fail(self, batch: Sequence[Waiting], error: Exception) -> None:
        """Rolls back and refuses the whole transaction: a full or failing disk fails no single operation."""
        again = self._rolled_back()
        self._end(batch, [CommonReason.STORAGE_UNAVAILABLE()] * len(batch))
        log.error("transaction_failed", error=str(getattr(error, "orig", error)), operations=len(batch))
        if again:
            log.error("rollback_failed", error=str(again))

    def _rolled_back(self) -> sqlite3.Error | None:
        """The error of a rollback that failed: the next transaction cannot begin then, and tries this again."""
        try:
            self._driver.rollback()
        except sqlite3.Error as error:
            return error
        return None

    def _end(self, batch: Sequence[Waiting], outcomes: Sequence[Any]) -> None:
        deliver(batch, outcomes)
        self._queue.go_on()


def open_engine(url: URL) -> Engine:
    """SQLAlchemy's way to the database, for what is no operation."""
    in_memory = url.database in (None, "", ":memory:")
    engine = sqlalchemy.create_engine(
        url,
        poolclass=StaticPool,
        # The driver must not open transactions of its own: `_flush` does.
        connect_args={"isolation_level": None, "check_same_thread": False},
    )
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    if not in_memory:
        _assert_pragmas(engine)
    return engine


def _set_pragmas(connection: Any, _record: object) -> None:
    for pragma, value in REQUIRED_PRAGMAS.items():
        connection.execute(f"PRAGMA {pragma} = {value}").fetchall()
    for pragma, value in FREE_PRAGMAS.items():
        connection.execute(f"PRAGMA {pragma} = {value}").fetchall()


def _assert_pragmas(engine: Engine) -> None:
    """A power loss must lose nothing: no test can see a wrong PRAGMA, so the start does."""
    with engine.connect() as connection:
        for pragma, wanted in REQUIRED_PRAGMAS.items():
            actual = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one()
            if actual != wanted:
                raise RuntimeError(f"SQLite runs with {pragma} = {actual!r}, {wanted!r} is needed")


def _said(error: DatabaseError) -> str:
    """Why a database cannot be opened."""
    damaged = getattr(error.orig, "sqlite_errorcode", 0) & PRIMARY_CODE == sqlite3.SQLITE_CORRUPT
    return f"it is damaged ({error.orig}); restore it from a backup" if damaged else str(error.orig)
