"""PostgreSQL that freezes, vanishes or is replaced: nothing hangs, and it goes on by itself."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy
from psycopg import sql

from tests.namespaces import PORT, network
from tests.postgres import OWNER, Cluster, running_cluster
from tests.processes import DEADLINE_S
from tests.runtime.counters import METADATA, count_up
from tillmesh.runtime.errors import Refusal
from tillmesh.storage import postgres
from tillmesh.storage.database import Database, open_database
from tillmesh.storage.statements import Transaction

FOR_EVER_S = 1e9
SOON = "keepalives_idle=1&keepalives_interval=1&keepalives_count=1&tcp_user_timeout=1000"
"""A server that vanishes is noticed sooner than otherwise, or the tests would take longer."""


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture
def one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session that freezes is the one that is used next."""
    monkeypatch.setattr(postgres, "CONNECTIONS", 1)
    monkeypatch.setattr(postgres, "WATCH_EVERY_S", 0.05)


class Freezing:
    """A link to PostgreSQL that can freeze: it goes on taking what is sent, so the kernel acknowledges it."""

    def __init__(self, url: str, folder: Path) -> None:
        self._far = f"{sqlalchemy.make_url(url).query['host']}/.s.PGSQL.5432"
        self._near = folder / ".s.PGSQL.5432"
        self._writers: list[asyncio.StreamWriter] = []
        self._joints: list[asyncio.Task[None]] = []
        self.url = url.partition("?")[0] + f"?host={folder}"
        self.freezes_at: bytes | None = None
        """What freezes a connection that sends or gets it; with nothing in it, whatever it sends or gets."""
        self.frozen = asyncio.Event()

    async def open(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._accept, self._near)

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await self.all_closed()

    async def all_closed(self) -> None:
        """Returns once there is no connection."""
        await asyncio.gather(*self._joints)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._joints.append(asyncio.create_task(self._join(reader, writer)))

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._far)
        pair = [writer, far_writer]
        self._writers += pair
        frozen = asyncio.Event()
        await asyncio.gather(self._pump(reader, far_writer, frozen), self._pump(far_reader, writer, frozen))
        for one in pair:
            one.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, frozen: asyncio.Event) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                if self.freezes_at is not None and self.freezes_at in data:
                    frozen.set()
                    self.frozen.set()
                if not frozen.is_set():
                    sink.write(data)
            sink.transport.abort()


@pytest.fixture
async def freezing(url: str) -> AsyncIterator[Freezing]:
    folder = Path(tempfile.mkdtemp())  # the path of a socket has a limit
    link = Freezing(url, folder)
    server = await link.open()
    yield link
    server.close()
    await link.close()
    shutil.rmtree(folder)


async def stuck_in(freezing: Freezing, database: Database, at: bytes) -> "asyncio.Future[int]":
    """An operation whose connection froze at that; what is frozen stays so, and new connections work."""
    freezing.freezes_at = at
    stuck = asyncio.ensure_future(database.run(count_up))
    await asyncio.wait_for(freezing.frozen.wait(), DEADLINE_S)
    freezing.freezes_at = None
    return stuck


@pytest.mark.usefixtures("one_session")
async def test_a_server_that_takes_everything_and_answers_nothing_is_given_up(
    freezing: Freezing, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = await asyncio.to_thread(open_database, freezing.url, METADATA)
    assert await database.run(count_up) == 1
    monkeypatch.setattr(postgres, "TRANSACTION_MAX_S", 2.0)
    stuck = await stuck_in(freezing, database, b"")
    assert await asyncio.wait_for(stuck, DEADLINE_S) == 2
    assert await database.run(count_up) == 3
    await database.close()


@pytest.mark.usefixtures("one_session")
@pytest.mark.parametrize("at", [b"", b"SET statement_timeout"], ids=["while connecting", "once connected"])
async def test_a_server_that_freezes_before_the_session_is_set_up_is_given_up(
    freezing: Freezing, monkeypatch: pytest.MonkeyPatch, at: bytes
) -> None:
    database = await asyncio.to_thread(open_database, freezing.url, METADATA)
    await freezing.all_closed()
    monkeypatch.setattr(postgres, "TRANSACTION_MAX_S", 2.0)
    stuck = await stuck_in(freezing, database, at)
    with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
        await asyncio.wait_for(stuck, DEADLINE_S)
    assert await database.run(count_up) == 1
    await database.close()


async def answered(database: Database) -> int:
    """What it counts once it answers: a network that is back takes a moment."""
    while True:
        with suppress(Refusal):
            return await database.run(count_up)


@pytest.mark.process
@pytest.mark.usefixtures("one_session")
@pytest.mark.parametrize("waits", [False, True], ids=["sending", "waiting"])
async def test_a_link_that_goes_down_ends_its_connections(
    url: str, monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    """Without the watch: of what is sent nothing is acknowledged, and who waits is asked whether it is still there."""
    monkeypatch.setattr(postgres, "TRANSACTION_MAX_S", FOR_EVER_S)
    parsed = sqlalchemy.make_url(url)
    with network(f"{parsed.query['host']}/.s.PGSQL.{PORT}") as far:
        database = await asyncio.to_thread(
            open_database, f"postgresql://{OWNER}@{far.address}:{PORT}/{parsed.database}?{SOON}", METADATA
        )
        assert await database.run(count_up) == 1
        stuck: asyncio.Future[int]
        if waits:
            asleep, loop = asyncio.Event(), asyncio.get_running_loop()

            def sleep(transaction: Transaction) -> int:
                loop.call_soon_threadsafe(asleep.set)
                transaction.exec_driver_sql("SELECT pg_sleep(9)")
                return 0

            stuck = asyncio.ensure_future(database.run(sleep))
            await asleep.wait()
            await asyncio.to_thread(far.down)
        else:
            await asyncio.to_thread(far.down)
            stuck = asyncio.ensure_future(database.run(count_up))
        with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
            await asyncio.wait_for(stuck, DEADLINE_S)
        await asyncio.to_thread(far.up)
        assert await asyncio.wait_for(answered(database), DEADLINE_S) == 2
        await database.close()


@pytest.mark.process
async def test_a_standby_that_is_promoted_is_used_and_has_what_was_acknowledged() -> None:
    with running_cluster() as primary, running_cluster(primary) as standby:
        primary.sql(sql.SQL("ALTER SYSTEM SET synchronous_standby_names = '*'"), sql.SQL("SELECT pg_reload_conf()"))
        both = primary.url("postgres").replace("?host=", f"?host={standby.folder}&host=")
        database = open_database(f"{both}&target_session_attrs=read-write", METADATA)
        assert [await database.run(count_up) for _ in range(3)] == [1, 2, 3]
        await asyncio.to_thread(primary.crash)
        with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
            await database.run(count_up)
        await asyncio.to_thread(standby.sql, sql.SQL("SELECT pg_promote()"))
        assert await database.run(count_up) == 4
        await database.close()
