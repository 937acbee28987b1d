import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from sqlalchemy import Column, LargeBinary, String, Table, insert, select
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from tests.processes import DEADLINE_S
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage import batches
from tillmesh.storage.batches import BATCH_MAX, WAITING_MAX, Queue
from tillmesh.storage.database import Database, append_only, open_database, open_engine, parse_url, require_one_row
from tillmesh.storage.schema import versioned
from tillmesh.storage.sqlite import SqliteDatabase
from tillmesh.storage.statements import Transaction

METADATA = versioned("0001")
NOTES = Table("notes", METADATA, Column("name", String, primary_key=True), Column("body", LargeBinary))
DIARY = Table("diary", METADATA, Column("day", String, primary_key=True))
append_only(DIARY)
Operation = Callable[[Transaction], None]


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url, METADATA)
    yield database
    await database.close()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'notes.db'}"


@pytest.fixture
async def sqlite_database(sqlite_url: str) -> AsyncIterator[Database]:
    database = open_database(sqlite_url, METADATA)
    yield database
    await database.close()


def note(name: str, body: bytes = b"") -> Operation:
    def write(transaction: Transaction) -> None:
        transaction.execute(insert(NOTES), {"name": name, "body": body})

    return write


def note_and_fail(name: str) -> Operation:
    def write(transaction: Transaction) -> None:
        note(name)(transaction)
        raise ZeroDivisionError(name)

    return write


def names_on_disk(database_url: str) -> list[str]:
    """What another process sees."""
    with open_engine(parse_url(database_url)).connect() as connection:
        return list(connection.execute(select(NOTES.c.name).order_by(NOTES.c.name)).scalars())


async def test_what_was_answered_is_on_disk(database: Database, database_url: str) -> None:
    await database.run(note("a"))
    assert names_on_disk(database_url) == ["a"]


async def test_operations_that_wait_together_share_one_commit(
    sqlite_database: Database, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[str] = []
    run = Transaction.command

    def count(transaction: Transaction, text: str) -> None:
        commits.extend([text] if text == "COMMIT" else [])
        run(transaction, text)

    monkeypatch.setattr(Transaction, "command", count)
    await asyncio.gather(*(sqlite_database.run(note(name)) for name in "abcdefgh"))
    assert len(commits) == 1
    assert names_on_disk(sqlite_url) == list("abcdefgh")


def queue_of(operations: int) -> Queue:
    """A queue of a database that begins nothing, in which so many operations of one call wait."""
    queue = Queue(lambda: None)
    for _ in range(operations):
        copy_context().run(queue.add, note("a"))
    return queue


async def test_a_call_that_would_wait_too_long_is_refused_before_anything_of_it_is_done() -> None:
    queue = queue_of(WAITING_MAX)
    with pytest.raises(Refusal, match="STORAGE_OVERLOADED") as raised:
        copy_context().run(queue.add, note("b"))
    assert raised.value.code is StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.retry_after_ms == 500
    assert len(queue) == WAITING_MAX


async def test_a_call_that_has_begun_goes_on_however_many_wait() -> None:
    queue, call = queue_of(WAITING_MAX - 1), copy_context()
    call.run(queue.add, note("b"))
    call.run(queue.add, note("c"))
    assert len(queue) == WAITING_MAX + 1


async def test_what_comes_while_others_have_to_wait_begins_at_once() -> None:
    """Others may wait for a turn of their own; a thread that is idle is not theirs."""
    begun: list[int] = []
    queue = Queue(lambda: begun.append(len(queue)))
    for _ in range(2):
        queue.add(lambda _transaction: None)
        await asyncio.sleep(0)
    assert begun == [1, 2]


def crowded_queue(begun: list[int], has_begun: asyncio.Event) -> Queue:
    """A queue in which eight operations usually share a transaction."""

    def begin() -> None:
        begun.append(len(queue.take()))
        has_begun.set()

    queue = Queue(begin)
    queue._usual = 8.0
    return queue


async def test_a_transaction_begins_when_as_many_wait_as_usually_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PAUSE_S", 3600.0)
    monkeypatch.setattr(batches, "PAUSE_S_MAX", 3600.0)
    begun: list[int] = []
    queue = crowded_queue(begun, asyncio.Event())
    for _ in range(7):
        queue.add(lambda _transaction: None)
    await asyncio.sleep(0)
    assert begun == []
    queue.add(lambda _transaction: None)
    await asyncio.sleep(0)
    assert begun == [8]


async def test_a_transaction_that_is_due_begins_although_more_comes_in_each_round() -> None:
    begun: list[int] = []
    queue, loop = Queue(lambda: begun.append(len(queue.take()))), asyncio.get_running_loop()

    def add(rounds_left: int) -> None:
        if rounds_left:
            loop.call_soon(add, rounds_left - 1)  # before what the queue schedules
        queue.add(lambda _transaction: None)

    add(20)
    for _ in range(3):
        await asyncio.sleep(0)
    assert begun[0] == 2


async def test_fewer_than_usual_wait_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PAUSE_S", 3600.0)
    begun: list[int] = []
    has_begun = asyncio.Event()
    queue = crowded_queue(begun, has_begun)
    queue.add(lambda _transaction: None)
    await asyncio.wait_for(has_begun.wait(), DEADLINE_S)
    assert begun == [1]
    assert queue._usual < 8  # so the next one waits less, and in the end not at all


async def test_what_nobody_waits_for_any_more_is_not_done(database: Database, database_url: str) -> None:
    staying = [asyncio.ensure_future(database.run(note(name))) for name in "ab"]
    leaving = asyncio.ensure_future(database.run(note("c")))
    leaving.cancel()
    await asyncio.gather(*staying)
    assert names_on_disk(database_url) == ["a", "b"]


async def test_more_than_one_transaction_takes_are_all_done(database: Database, database_url: str) -> None:
    names = [f"{number:03}" for number in range(3 * BATCH_MAX + 1)]
    await asyncio.wait_for(asyncio.gather(*(database.run(note(name)) for name in names)), timeout=DEADLINE_S)
    assert names_on_disk(database_url) == names


class Failing:
    """The driver of a disk that fails, and does not even roll back."""

    def __init__(self, driver: sqlite3.Connection) -> None:
        self._driver = driver
        self.fails = True

    def rollback(self) -> None:
        """Fails once."""
        if self.fails:
            self.fails = False
            raise sqlite3.OperationalError("disk I/O error")
        self._driver.rollback()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


async def test_callers_are_answered_although_nothing_can_be_rolled_back(
    sqlite_database: Database, sqlite_url: str
) -> None:
    def fail(_transaction: Transaction) -> None:
        raise OperationalError("INSERT", None, sqlite3.OperationalError("disk I/O error"))

    assert isinstance(sqlite_database, SqliteDatabase)
    driver = Failing(sqlite_database._driver)
    sqlite_database._driver = driver  # type: ignore[assignment]
    outcomes = await asyncio.gather(sqlite_database.run(note("a")), sqlite_database.run(fail), return_exceptions=True)
    assert [getattr(outcome, "reason", None) for outcome in outcomes] == ["STORAGE_UNAVAILABLE"] * 2
    assert not driver.fails
    with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
        await sqlite_database.run(note("b"))
    await sqlite_database.run(note("c"))
    assert names_on_disk(sqlite_url) == ["c"]


async def test_what_waits_is_done_before_the_database_closes(database_url: str) -> None:
    database = open_database(database_url, METADATA)
    waiting = asyncio.gather(*(database.run(note(name)) for name in "abc"))
    await asyncio.sleep(0)
    await database.close()
    await waiting
    assert names_on_disk(database_url) == list("abc")


@pytest.mark.parametrize("spoilers", [1, 3])
async def test_what_is_refused_after_it_wrote_costs_the_others_one_more_run_each(
    database: Database, database_url: str, spoilers: int
) -> None:
    runs: Counter[str] = Counter()

    def counted(name: str) -> Operation:
        def write(transaction: Transaction) -> None:
            runs[name] += 1
            note(name)(transaction)

        return write

    operations = [counted("a"), *(note_and_fail(f"spoiler-{number}") for number in range(spoilers)), counted("b")]
    outcomes = await asyncio.gather(*map(database.run, operations), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), *[ZeroDivisionError] * spoilers, type(None)]
    assert names_on_disk(database_url) == ["a", "b"]
    assert runs == {"a": 1 + spoilers, "b": 1}


async def test_a_statement_that_fails_fails_its_own_operation_alone(database: Database, database_url: str) -> None:
    def wrong(transaction: Transaction) -> None:
        transaction.exec_driver_sql("SELECT no_such_column FROM notes")

    outcomes = await asyncio.gather(
        database.run(note("a")), database.run(wrong), database.run(note("b")), return_exceptions=True
    )
    assert [isinstance(outcome, DBAPIError) for outcome in outcomes] == [False, True, False]
    assert names_on_disk(database_url) == ["a", "b"]


async def test_operations_that_share_a_commit_still_fail_alone(database: Database, database_url: str) -> None:
    outcomes = await asyncio.gather(
        database.run(note("a")),
        database.run(note_and_fail("b")),
        database.run(note("a")),
        database.run(note("c")),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), ZeroDivisionError, IntegrityError, type(None)]
    assert names_on_disk(database_url) == ["a", "c"]


async def test_an_exception_rolls_back_its_own_transaction(database: Database, database_url: str) -> None:
    with pytest.raises(ZeroDivisionError):
        await database.run(note_and_fail("a"))
    await database.run(note("b"))
    assert names_on_disk(database_url) == ["b"]


async def test_a_refusal_inside_a_transaction_reaches_the_caller_as_it_is(
    database: Database, database_url: str
) -> None:
    def refuse(transaction: Transaction) -> None:
        note("a")(transaction)
        raise CommonReason.REQUEST_ID_REUSED(request_id="r-1")

    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await database.run(refuse)
    assert names_on_disk(database_url) == []


async def test_a_caller_that_went_away_does_not_undo_its_transaction(database: Database, database_url: str) -> None:
    loop = asyncio.get_running_loop()

    def write(transaction: Transaction) -> None:
        note("a")(transaction)
        loop.call_soon_threadsafe(gone.cancel)

    gone = asyncio.ensure_future(database.run(write))
    await asyncio.wait({gone})
    await database.run(note("b"))
    assert gone.cancelled()
    assert names_on_disk(database_url) == ["a", "b"]


async def test_each_operation_keeps_the_trace_of_its_own_caller(database: Database) -> None:
    async def call(trace: str) -> str:
        trace_id.set(trace)
        return await database.run(lambda transaction: trace_id.get())

    assert tuple(await asyncio.gather(call("first"), call("second"))) == ("first", "second")


async def test_a_change_that_hits_no_row_is_a_concurrent_change(database: Database) -> None:
    def change(transaction: Transaction) -> None:
        require_one_row(transaction.execute(NOTES.update().where(NOTES.c.name == "gone").values(body=b"x")))

    with pytest.raises(Refusal, match="CONCURRENT_CHANGE"):
        await database.run(change)


async def test_nothing_is_lost_in_a_power_cut_and_keys_are_enforced(sqlite_database: Database, sqlite_url: str) -> None:
    def pragmas(transaction: Transaction) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return {name: transaction.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}

    assert await sqlite_database.run(pragmas) == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_database_that_can_not_keep_its_promise_is_not_opened() -> None:
    with pytest.raises(RuntimeError, match="SQLite runs with journal_mode = 'memory', 'wal' is needed"):
        open_database("sqlite:///file:notes?mode=memory&uri=true", METADATA)


@pytest.mark.parametrize("url", ["mysql://localhost/x"])
def test_another_database_is_refused_by_name(url: str) -> None:
    with pytest.raises(ValueError, match=f"must start with sqlite:/// or postgresql://, was {url}"):
        open_database(url, METADATA)


async def test_a_full_disk_refuses_and_acknowledges_nothing_and_goes_on_once_there_is_room(
    sqlite_database: Database, sqlite_url: str
) -> None:
    def pages_max(count: int) -> Operation:
        def limit(transaction: Transaction) -> None:
            transaction.exec_driver_sql(f"PRAGMA max_page_count = {count}")

        return limit

    await sqlite_database.run(pages_max(40))
    page = b"x" * 4096
    outcomes = await asyncio.gather(
        *(sqlite_database.run(note(f"together-{number:02}", page)) for number in range(BATCH_MAX)),
        return_exceptions=True,
    )
    assert {getattr(outcome, "reason", None) for outcome in outcomes} == {"STORAGE_UNAVAILABLE"}
    assert names_on_disk(sqlite_url) == []

    acknowledged: list[str] = []

    async def fill() -> None:
        for number in range(60):
            await sqlite_database.run(note(f"alone-{number:02}", page))
            acknowledged.append(f"alone-{number:02}")

    with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
        await fill()
    assert acknowledged
    assert names_on_disk(sqlite_url) == acknowledged

    await sqlite_database.run(pages_max(1_000_000))
    await sqlite_database.run(note("later", page))
    assert names_on_disk(sqlite_url) == [*acknowledged, "later"]
    count = await sqlite_database.run(lambda transaction: len(transaction.execute(select(NOTES.c.name)).all()))
    assert count == len(acknowledged) + 1


async def refuses_to_change_the_diary(database: Database, statement: str) -> None:
    await database.run(lambda transaction: transaction.execute(insert(DIARY), {"day": "monday"}))
    with pytest.raises(IntegrityError, match="diary is append-only"):
        await database.run(lambda transaction: transaction.exec_driver_sql(statement))
    assert await database.run(lambda transaction: transaction.execute(select(DIARY)).scalars()) == ["monday"]


@pytest.mark.parametrize("statement", ["UPDATE diary SET day = 'x'", "DELETE FROM diary"])
async def test_an_append_only_table_is_never_rewritten(database: Database, statement: str) -> None:
    await refuses_to_change_the_diary(database, statement)


async def test_an_append_only_table_is_never_rewritten_by_an_insert(sqlite_database: Database) -> None:
    await refuses_to_change_the_diary(sqlite_database, "INSERT OR REPLACE INTO diary VALUES ('monday')")
