"""What only PostgreSQL does: many writers, connections that break, a server that is away, another's settings."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from importlib import import_module

import psycopg
import pytest
import sqlalchemy
from psycopg import sql
from sqlalchemy import bindparam, insert, update
from sqlalchemy.exc import IntegrityError

from tests.postgres import STRANGER, Cluster, running_cluster
from tests.processes import DEADLINE_S, wait_until
from tests.runtime.counters import COUNTERS, DIARY, FIND, METADATA, count_up
from tillmesh.runtime.errors import Refusal
from tillmesh.storage import postgres
from tillmesh.storage.batches import takes_turns
from tillmesh.storage.database import Database, open_database
from tillmesh.storage.schema import VERSION_TABLE
from tillmesh.storage.statements import Transaction

MANY = 20
ADD_ONE = update(COUNTERS).where(COUNTERS.c.name == bindparam("key")).values(count=COUNTERS.c.count + 1)
WAITS_FOR_A_ROW = sql.SQL(
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
DISCONNECT = sql.SQL(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def database_of(url: str) -> str:
    """Its name."""
    return sqlalchemy.make_url(url).database or ""


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
async def databases(url: str) -> AsyncIterator[tuple[Database, Database]]:
    """The same database, as two processes have it open."""
    first, second = open_database(url, METADATA), open_database(url, METADATA)
    yield first, second
    await asyncio.gather(first.close(), second.close())


async def test_what_loses_a_race_is_run_again_and_counts_once(databases: tuple[Database, Database]) -> None:
    counts = await asyncio.gather(*(database.run(count_up) for database in databases * MANY))
    assert sorted(counts) == list(range(1, 2 * MANY + 1))


async def test_a_row_that_somebody_keeps_locked_keeps_nobody_else_waiting(
    databases: tuple[Database, Database], url: str
) -> None:
    first, _ = databases
    for name in "ab":
        await first.run(partial(count_up, name=name))
    with psycopg.connect(url) as holder:
        holder.execute("SELECT count FROM counters WHERE name = 'a' FOR UPDATE")
        outcomes = await asyncio.wait_for(
            asyncio.gather(*(first.run(partial(count_up, name=name)) for name in "ab"), return_exceptions=True),
            timeout=DEADLINE_S,
        )
        holder.rollback()
    assert [getattr(outcome, "reason", outcome) for outcome in outcomes] == ["CONCURRENT_CHANGE", 2]
    assert await first.run(count_up) == 2


async def test_who_takes_turns_waits_for_a_row_that_changes_and_runs_once(
    databases: tuple[Database, Database], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "LOCK_TIMEOUT_IN_TURN", "SET LOCAL lock_timeout = '9s'")
    first, _ = databases
    await first.run(count_up)
    seen: list[int] = []

    @takes_turns(1)
    def add_one(transaction: Transaction) -> None:
        before = transaction.execute(FIND, {"key": "a"}).scalar_one()
        transaction.execute(ADD_ONE, {"key": "a"})
        seen.extend([before, transaction.execute(FIND, {"key": "a"}).scalar_one()])

    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as watcher:
        holder.execute("UPDATE counters SET count = count + 1")
        waiting = asyncio.ensure_future(first.run(add_one))
        await asyncio.to_thread(wait_until, lambda: bool(watcher.execute(WAITS_FOR_A_ROW).fetchall()))
        others = [asyncio.ensure_future(first.run(takes_turns(1)(lambda _transaction: None))) for _ in range(MANY)]
        await first.run(partial(count_up, name="b"))  # however many take turns, they keep one thread
        assert not any(other.done() for other in others)
        holder.commit()
        await asyncio.gather(waiting, *others)
    assert seen == [1, 3]


async def test_who_takes_turns_in_a_transaction_takes_rows_in_one_order(
    databases: tuple[Database, Database],
) -> None:
    order: list[str] = []

    def noting(name: str) -> Callable[[Transaction], None]:
        return lambda _transaction: order.append(name)

    second_row, first_row = takes_turns(2)(noting("second row")), takes_turns(1)(noting("first row"))
    await asyncio.gather(*(databases[0].run(one) for one in (second_row, first_row, second_row, first_row)))
    assert order == ["first row"] * 2 + ["second row"] * 2


class Cutter:
    """Ends all connections to a database, once."""

    def __init__(self, postgres: Cluster, url: str) -> None:
        self._postgres, self._name, self._done = postgres, database_of(url), False

    def cut(self) -> None:
        if not self._done:
            self._done = True
            self._postgres.sql(DISCONNECT, database=self._name)


@pytest.fixture
def cutter(postgres: Cluster, url: str) -> Cutter:
    return Cutter(postgres, url)


async def test_a_connection_that_breaks_amidst_an_operation_is_replaced(
    databases: tuple[Database, Database], cutter: Cutter
) -> None:
    def counted(transaction: Transaction) -> int:
        count_up(transaction)
        cutter.cut()
        return count_up(transaction)

    assert await databases[0].run(counted) == 2
    assert await databases[1].run(count_up) == 3


async def test_nobody_is_told_of_a_commit_that_may_not_have_happened(
    databases: tuple[Database, Database], cutter: Cutter
) -> None:
    def counted(transaction: Transaction) -> int:
        count = count_up(transaction)
        cutter.cut()
        return count

    with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
        await databases[0].run(counted)
    assert await databases[1].run(counted) == 1


async def test_a_row_that_is_there_is_no_race(databases: tuple[Database, Database]) -> None:
    def add(transaction: Transaction) -> None:
        transaction.execute(insert(DIARY), {"day": "monday"})

    await databases[0].run(add)
    with pytest.raises(IntegrityError, match="diary_pkey"):
        await databases[1].run(add)


@pytest.mark.parametrize("statement", ["TRUNCATE diary", "TRUNCATE diary CASCADE"])
async def test_an_append_only_table_is_never_emptied(databases: tuple[Database, Database], statement: str) -> None:
    with pytest.raises(IntegrityError, match="diary is append-only"):
        await databases[0].run(lambda transaction: transaction.exec_driver_sql(statement))


@pytest.mark.process
async def test_while_the_server_is_away_nothing_is_acknowledged_and_then_all_goes_on() -> None:
    with running_cluster() as postgres, postgres.database() as url:
        database = open_database(url, METADATA)
        assert await database.run(count_up) == 1
        await asyncio.to_thread(postgres.crash)
        outcomes = await asyncio.gather(*(database.run(count_up) for _ in range(MANY)), return_exceptions=True)
        assert {outcome.reason for outcome in outcomes if isinstance(outcome, Refusal)} == {"STORAGE_UNAVAILABLE"}
        assert all(isinstance(outcome, Refusal) for outcome in outcomes)
        await asyncio.to_thread(postgres.start)
        assert await database.run(count_up) == 2
        await database.close()


@pytest.mark.parametrize("setting", ["synchronous_commit = off", "default_transaction_read_only = on"])
def test_a_database_that_can_not_keep_its_promise_is_not_used(postgres: Cluster, url: str, setting: str) -> None:
    name = sql.Identifier(database_of(url))
    postgres.sql(sql.SQL("ALTER DATABASE {} SET ").format(name) + sql.SQL(setting))
    try:
        with pytest.raises(ValueError, match=f"cannot use the database .*{setting.removeprefix('default_')}"):
            open_database(url, METADATA)
    finally:
        postgres.sql(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))


@pytest.mark.parametrize(
    ("url_of", "says"),
    [
        (lambda _: "postgresql://till:secret@127.0.0.1:1/orders", 'connection to server at "127.0.0.1", port 1 failed'),
        (lambda there: there.url("postgres", f"{STRANGER}:secret"), "password authentication failed"),
        (lambda there: there.url("nowhere", "postgres:secret"), 'database "nowhere" does not exist'),
    ],
    ids=["unreachable", "wrong password", "no such database"],
)
def test_what_can_not_be_opened_is_said_in_a_line_without_the_password(
    postgres: Cluster, url_of: Callable[[Cluster], str], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        open_database(url_of(postgres), METADATA)
    assert str(raised.value).startswith("cannot open the database postgresql://")
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


async def test_of_several_hosts_the_one_that_answers_is_used(postgres: Cluster, url: str) -> None:
    several = url.replace("?host=", "?host=/nowhere&host=") + "&target_session_attrs=read-write"
    database = open_database(several, METADATA)
    assert await database.run(count_up) == 1
    await database.close()


async def test_a_session_that_became_read_only_is_replaced(databases: tuple[Database, Database], url: str) -> None:
    first, _ = databases
    database_name = sql.Identifier(database_of(url))
    runs = 0

    def count_runs(transaction: Transaction) -> int:
        nonlocal runs
        runs += 1
        return count_up(transaction)

    with psycopg.connect(url, autocommit=True) as owner:
        owner.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database_name))
        assert await first.run(lambda transaction: transaction.execute(FIND, {"key": "a"}).first()) is None
        with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
            await first.run(count_runs)
        assert runs == 2  # a new connection writes nothing either: what else waits is not to wait for ten of them
        owner.execute("SET default_transaction_read_only = off")
        owner.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database_name))
    assert await first.run(count_up) == 1


async def test_a_server_whose_version_the_schema_has_left_does_not_come_back(
    databases: tuple[Database, Database], postgres: Cluster, cutter: Cutter, url: str
) -> None:
    first, _ = databases
    assert await first.run(count_up) == 1
    postgres.sql(sql.SQL("UPDATE oldest_version SET version_num = '0002'"), database=database_of(url))
    assert await first.run(count_up) == 2, "who is there was asked before the schema changed"
    cutter.cut()
    with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
        await first.run(count_up)
    postgres.sql(sql.SQL("UPDATE oldest_version SET version_num = '0001'"), database=database_of(url))
    assert await first.run(count_up) == 3


async def test_a_statement_that_takes_too_long_is_not_tried_again(databases: tuple[Database, Database]) -> None:
    first, runs = databases[0], 0

    def slow(transaction: Transaction) -> None:
        nonlocal runs
        runs += 1
        transaction.exec_driver_sql("SET LOCAL statement_timeout = 1")
        transaction.exec_driver_sql("SELECT pg_sleep(60)")

    outcomes = await asyncio.gather(first.run(count_up), first.run(slow), return_exceptions=True)
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], Refusal)
    assert outcomes[1].reason == "STORAGE_UNAVAILABLE"
    assert runs == 1


@pytest.mark.parametrize("service", ["order_service", "thirdparty_server", "store_terminal"])
async def test_every_text_compares_by_its_bytes(url: str, service: str) -> None:
    await open_database(url, import_module(f"{service}.tables").METADATA).close()
    query = "SELECT table_name, column_name, collation_name FROM information_schema.columns"
    texts = " WHERE table_schema = 'public' AND data_type IN ('text', 'character varying')"
    with psycopg.connect(url) as connection:
        rows = connection.execute(query + texts).fetchall()
    assert rows
    assert [row for row in rows if row[2] != "C" and row[0] != VERSION_TABLE] == []
