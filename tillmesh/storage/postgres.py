"""PostgreSQL: a few threads with a connection each; what waits together shares a transaction.

Several processes may use one database. Invariants rest on unique indexes and on the row counts of conditional
updates; REPEATABLE READ only lets an operation see one moment. What loses against another transaction is run
again, each operation by itself. Operations that take turns see the newest rows instead, and wait for them: they have
transactions of their own, at READ COMMITTED.
"""

import asyncio
import os
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import psycopg
import sqlalchemy
import structlog
from psycopg import IsolationLevel
from sqlalchemy import URL, Engine, MetaData
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.metrics import COMMIT, OPERATIONS_A_COMMIT
from tillmesh.storage.batches import Queue, Waiting, deliver, run_together
from tillmesh.storage.postgres_news import CHANNEL, hear_others
from tillmesh.storage.row_order import refuse_ahead
from tillmesh.storage.schema import OLDEST, prepare, read_seal, using
from tillmesh.storage.statements import Statements, Transaction

Outcome = TypeVar("Outcome")
Arguments = ParamSpec("Arguments")
log = structlog.get_logger()

CONNECTIONS = 4
"""One a thread, which keeps it: there is nobody to lend them to, so there is no pool (psycopg_pool)."""
ATTEMPTS_MAX = 10
PAUSE_MAX_S = 0.2
CONNECT_TIMEOUT_S = 2
WATCH_EVERY_S = 1.0
TRANSACTION_MAX_S = 20.0
"""A transaction that takes longer has lost its server, although nothing says so: its connection is cut."""
# A server that vanishes is noticed within 10 s, also by a connection that only waits. A URL may say otherwise.
KEEPALIVES = {
    "keepalives": "1",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
}
# A transaction that hangs would keep its rows locked, and with them an order. Operations that share a transaction
# lock rows in any order, so two transactions may wait for each other: it is better to give up soon and run them alone.
SESSION_LIMITS = """
    SET statement_timeout = '10s'; SET idle_in_transaction_session_timeout = '10s'; SET lock_timeout = '100ms';
    SELECT set_config('transaction_timeout', '60s', false) WHERE current_setting('server_version_num')::int >= 170000
"""
# In a queue for a row that many want some transactions are ahead; who runs alone waits in a circle with nobody.
LOCK_TIMEOUT_IN_TURN = "SET LOCAL lock_timeout = '500ms'"
LOCK_TIMEOUT_ALONE = "SET LOCAL lock_timeout = '2s'"
REQUIRED_SETTINGS = {
    "fsync": ("on",),
    "synchronous_commit": ("local", "on", "remote_write", "remote_apply"),
    "transaction_read_only": ("off",),
    "server_encoding": ("UTF8",),
}
UNIQUE_VIOLATION = "23505"  # somebody else inserted the row since this transaction looked for it
SERIALIZATION_FAILURE = "40001"
LOCK_TIMEOUT = "55P03"
CONFLICTS = (SERIALIZATION_FAILURE, LOCK_TIMEOUT, "40P01")
"""The database does its work, and somebody else had the row."""
KNOWN_STATES = ("22", "23", "40", "42", "55P03", "57014")
"""The beginnings of SQLSTATEs after which a session is as good as before; after any other it is closed.

Such as 25006: the server became a standby, and another connection may find the primary.
"""
STATEMENT_TIMEOUT = "57014"  # it would take as long again


class SessionLost(Exception):
    """The connection is gone, and with it what the transaction did."""


class PostgresDatabase:
    """A PostgreSQL database, which other processes may use as well."""

    def __init__(self, url: URL, metadata: MetaData) -> None:
        self.replica = new_request_id()
        self._version: str = metadata.info["version"]
        self._engine = open_engine(url)
        try:
            _assert_keeps_promises(self._engine)
            prepare(self._engine, metadata)
            refuse_ahead(self._engine)
            self.seal = read_seal(self._engine)
        except DBAPIError as error:
            raise ValueError(f"cannot open the database {url}: {_line(error)}") from error
        self._statements = Statements(self._engine.dialect)
        self._threads = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="database")
        self._idle = CONNECTIONS
        self.changed = asyncio.Event()
        self.untold = False
        self._in_turn = False
        self._queue = Queue(self._flush)
        self._sessions = threading.local()
        self._open: set[psycopg.Connection[Any]] = set()
        self._busy: dict[psycopg.Connection[Any], float] = {}
        """Connections that wait for an answer to something, and since when."""
        self._watching: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop  # the one that `run` is called in

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
        """Lets other processes know, with a transaction, that this one wrote something."""
        self.untold = False
        transaction.command(f"NOTIFY {CHANNEL}, '{self.replica}'")

    async def hear_others(self) -> None:
        """Hears of what other processes wrote, until it is cancelled."""
        url = self._engine.url
        await hear_others(url, _connection_options(url), self.replica, self.changed.set)

    async def close(self) -> None:
        """Closes the database once nothing waits; what was acknowledged is on disk already."""
        await self._queue.drain()
        await asyncio.to_thread(self._threads.shutdown)
        if self._watching:
            self._watching.cancel()
        for session in self._open:
            session.close()
        self._engine.dispose()

    def _flush(self) -> None:
        """Gives what waits to the idle threads."""
        self._loop = asyncio.get_running_loop()
        while self._idle and (batch := self._take()):
            self._idle -= 1
            self._threads.submit(self._run_batch, batch)
            self._watching = self._watching or self._loop.call_later(WATCH_EVERY_S, self._watch)

    def _take(self) -> Sequence[Waiting]:
        """What shares the next transaction.

        Those that take turns have one at a time: more would wait for the same rows with fewer operations each, and
        keep the other threads.
        """
        if not self._in_turn and (batch := self._queue.take(lambda waiting: waiting.place is not None)):
            self._in_turn = True
            return sorted(batch, key=_place)
        return self._queue.take(lambda waiting: waiting.place is None)

    def _watch(self) -> None:
        """Cuts connections on which a transaction takes too long: their threads wait for an answer that never comes."""
        now_s = time.monotonic()
        for session, since_s in list(self._busy.items()):
            if now_s - since_s > TRANSACTION_MAX_S:
                _cut(session)
                log.error("connection_cut", seconds=round(now_s - since_s, 1))
        busy = self._idle < CONNECTIONS
        self._watching = asyncio.get_running_loop().call_later(WATCH_EVERY_S, self._watch) if busy else None

    def _run_batch(self, batch: Sequence[Waiting]) -> None:
        """In a thread, where nobody would see an error."""
        in_turn = batch[0].place is not None
        try:
            outcomes = self._transact(batch, LOCK_TIMEOUT_IN_TURN if in_turn else "")
        except Exception as error:
            outcomes = [error] * len(batch)
        if in_turn:
            self._loop.call_soon_threadsafe(self._turn_ended)
        lost = [index for index, outcome in enumerate(outcomes) if _may_try_again(outcome)]
        settled = [index for index in range(len(batch)) if index not in lost]
        self._tell([batch[index] for index in settled], [outcomes[index] for index in settled])
        for index in lost:
            self._tell([batch[index]], [self._again(batch[index], outcomes[index])])
        self._loop.call_soon_threadsafe(self._ended)

    def _log(self, say: Callable[..., object], event: str, **fields: object) -> None:
        """Logs in the event loop: here an error would become the outcome of operations."""
        self._loop.call_soon_threadsafe(partial(say, event, **fields))

    def _tell(self, batch: Sequence[Waiting], outcomes: Sequence[Any]) -> None:
        """Gives callers their outcomes; that the database did not do its work is no error of their operations."""
        self._loop.call_soon_threadsafe(deliver, batch, [_said(outcome) for outcome in outcomes])

    def _wrote(self) -> None:
        self.untold = True
        self.changed.set()

    def _turn_ended(self) -> None:
        self._in_turn = False
        self._queue.go_on()

    def _ended(self) -> None:
        self._idle += 1
        self._queue.go_on()

    def _again(self, waiting: Waiting, result: Any) -> Any:
        """Runs alone what lost a race or its connection, until it does not or has had enough attempts.

        Alone it takes rows in one order with all others, so it may wait longer for one; but once.
        """
        for attempt in range(1, ATTEMPTS_MAX):
            if waiting.future.done():
                break  # its caller has left
            self._log(log.info, "transaction_again", error=_one_line(result), attempt=attempt)
            time.sleep(random.uniform(0, min(PAUSE_MAX_S, 0.002 * (2**attempt - 1))))
            try:
                [result] = self._transact([waiting], LOCK_TIMEOUT_ALONE)
            except Exception as error:
                result = error
            # A connection just made is lost as well, or a long wait was for nothing: others wait for this thread.
            in_vain = isinstance(result, SessionLost) or _state(result) == LOCK_TIMEOUT
            if in_vain or not _may_try_again(result):
                return result
        return result

    def _transact(self, batch: Sequence[Waiting], first: str = "") -> list[Any]:
        """One transaction, which begins with a statement if one is given.

        What raises leaves nothing behind, unless it is a commit that nobody knows of.
        """
        try:
            session, transaction = self._session()
            in_turn = batch[0].place is not None
            session.isolation_level = IsolationLevel.READ_COMMITTED if in_turn else IsolationLevel.REPEATABLE_READ
        except psycopg.Error as error:
            self._log(log.error, "database_unreachable", error=_one_line(error))
            return [CommonReason.STORAGE_UNAVAILABLE()] * len(batch)
        OPERATIONS_A_COMMIT.observe(len(batch))
        try:
            with self._watched(session), COMMIT.time():
                if first:
                    session.execute(first)
                writes_before = transaction.writes
                outcomes = run_together(batch, transaction, lambda error: self._start_again(session, error))
                session.commit()
                if transaction.writes != writes_before:
                    self._loop.call_soon_threadsafe(self._wrote)
        except psycopg.Error as error:
            self._roll_back(session)
            if error.sqlstate == SERIALIZATION_FAILURE:
                raise CommonReason.CONCURRENT_CHANGE() from error
            self._log(
                log.error, "commit_unknown", error=str(error)
            )  # it may be on disk: the callers repeat their requests
            return [CommonReason.STORAGE_UNAVAILABLE()] * len(batch)
        except BaseException:
            self._roll_back(session)
            raise
        return outcomes

    def _session(self) -> tuple[psycopg.Connection[Any], Transaction]:
        """The connection of the thread that asks."""
        session: psycopg.Connection[Any] | None = getattr(self._sessions, "session", None)
        if session is None or session.closed:
            fresh: Any = self._engine.raw_connection()  # CONNECT_TIMEOUT_S bounds all that this waits for
            session = cast(psycopg.Connection[Any], fresh.driver_connection)
            fresh.detach()  # or it would close with the wrapper that brought it
            with self._watched(session):
                self._set_up(session)
            self._open = {one for one in self._open if not one.closed} | {session}
            self._sessions.session = session
            self._sessions.transaction = Transaction(session.cursor(), self._statements)
        return session, self._sessions.transaction

    def _set_up(self, session: psycopg.Connection[Any]) -> None:
        """Sets limits, and tells that the schema is in use: it may have changed since the server started."""
        try:
            session.isolation_level = IsolationLevel.READ_COMMITTED
            session.execute(SESSION_LIMITS)
            session.execute(using(self._version))
            [(oldest,)] = session.execute(OLDEST).fetchall()
            session.commit()
            if oldest > self._version:
                raise psycopg.OperationalError(f"the schema is for servers of version {oldest} and newer")
        except psycopg.Error:
            session.close()
            raise

    @contextmanager
    def _watched(self, session: psycopg.Connection[Any]) -> Iterator[None]:
        """Lets the watch cut a connection that is in use for too long."""
        self._busy[session] = time.monotonic()
        try:
            yield
        finally:
            del self._busy[session]

    def _start_again(self, session: psycopg.Connection[Any], error: Exception) -> None:
        """Rolls back what one operation spoiled, unless it is the session that fails."""
        self._roll_back(session)
        if isinstance(error, DBAPIError) and not (_state(error) or "").startswith(KNOWN_STATES):
            session.close()
        if session.closed:  # what was rolled back is run again, each operation by itself on another connection
            raise SessionLost(str(error)) from error

    def _roll_back(self, session: psycopg.Connection[Any]) -> None:
        try:
            session.rollback()
        except psycopg.Error:
            session.close()  # the server ends what a lost connection began


def open_engine(url: URL) -> Engine:
    """SQLAlchemy's way to the database, for what is no operation."""
    return sqlalchemy.create_engine(
        url.set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        hide_parameters=True,
        connect_args=_connection_options(url),
    )


def _connection_options(url: URL) -> dict[str, Any]:
    """What keeps a connection from waiting for ever; what a URL says of it counts."""
    given = {name: value for name, value in url.query.items() if name in KEEPALIVES}
    return {"connect_timeout": CONNECT_TIMEOUT_S, **KEEPALIVES, **given}


def _assert_keeps_promises(engine: Engine) -> None:
    """Refuses settings under which a crash loses acknowledged commits. Tests cannot see that, so the start does."""
    with engine.connect() as connection:
        actual: dict[str, str] = dict(connection.exec_driver_sql("SELECT name, setting FROM pg_settings").all())
    wrong = [f"{name} = {actual[name]}" for name, good in REQUIRED_SETTINGS.items() if actual[name] not in good]
    if wrong:
        raise ValueError(f"cannot use the database {engine.url}, which has {', '.join(wrong)}")


def _may_try_again(error: Any) -> bool:
    """True after a lost race or a lost connection: nothing was committed, and another attempt may do better."""
    if isinstance(error, DBAPIError):
        state = _state(error)
        return state == UNIQUE_VIOLATION or (isinstance(error, OperationalError) and state != STATEMENT_TIMEOUT)
    if isinstance(error, SessionLost):
        return True
    return isinstance(error, Refusal) and error.reason == CommonReason.CONCURRENT_CHANGE.name


def _said(outcome: Any) -> Any:
    """The outcome as its caller gets it."""
    if isinstance(outcome, SessionLost):
        return CommonReason.STORAGE_UNAVAILABLE()
    if isinstance(outcome, OperationalError):
        return CommonReason.CONCURRENT_CHANGE() if _state(outcome) in CONFLICTS else CommonReason.STORAGE_UNAVAILABLE()
    return outcome


def _place(waiting: Waiting) -> int:
    return waiting.place or 0


def _state(error: Any) -> str | None:
    """The SQLSTATE of an error; None where the server did not answer."""
    state: str | None = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state


def _cut(session: psycopg.Connection[Any]) -> None:
    """Ends a connection under the thread that waits for it, which a mere close would not wake."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(session.fileno())) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def _line(error: DBAPIError) -> str:
    return _one_line(error.orig)


def _one_line(error: object) -> str:
    return " ".join(str(error).split())
