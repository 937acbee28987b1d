"""On PostgreSQL transactions commit in another order than that of their rows: a stream sends each row all the same."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from sqlalchemy import BindParameter, bindparam, select, tuple_

from order_service.queries import FEED
from order_service.tables import METADATA, order_history
from tests.clocks import ManualClock
from tests.orders.shop import Shop
from tests.orders.test_watch import looking
from tests.postgres import Cluster
from tests.processes import DEADLINE_S
from tests.watching import Reader
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.rpc.streams import OLDEST
from tillmesh.storage.postgres import SESSION_LIMITS
from tillmesh.storage.postgres_news import CHANNEL
from tillmesh.storage.row_order import is_settled

Connection = psycopg.Connection[tuple[Any, ...]]
INSERT = """
    INSERT INTO order_history (order_id, number, event, to_state, store_id, version, epoch, currency, amount_minor,
      payment_id, content_hash, actor, trace_id, at_ms, chain_hash)
    VALUES (%s, 1, 'CREATED', 'OPEN', 'store-1', 1, 0, 'GBP', 1, '', '', '', '', %s, decode(md5(%s), 'hex'))
"""
IDLE_LIMIT = "idle_in_transaction_session_timeout = '{}'"
OLD_MS = 3_000


class Others:
    """Transactions of other processes."""

    def __init__(self, url: str, clock: ManualClock, stack: ExitStack) -> None:
        self._url, self._clock, self._stack = url, clock, stack

    def begin(self) -> Connection:
        """A transaction that has its id already."""
        connection: Connection = self._stack.enter_context(psycopg.connect(self._url))
        connection.execute("SELECT pg_current_xact_id()")
        return connection

    def write(self, transaction: Connection, order_id: str) -> None:
        """Takes the next row id."""
        transaction.execute(INSERT, (order_id, self._clock.now_ms() - OLD_MS, order_id))

    def commit(self, transaction: Connection) -> None:
        """Commits, and lets the others know, as a server does."""
        transaction.execute("SELECT pg_notify(%s, 'another process')", (CHANNEL,))
        transaction.commit()


@dataclass
class Watchers:
    """One reads a stream all the time; the other comes back now and then, to where it was."""

    shop: Shop
    under_way: Reader
    resumed: list[str]
    cursor: str = OLDEST

    async def see(self) -> None:
        """Both read all that is shown now."""
        request = api.WatchOrdersRequest(cursor=self.cursor, events_only=True)
        async with aclosing(self.shop.service.WatchOrders(request)) as answers:
            answer = await anext(answers)
        self.cursor = answer.cursor
        self.resumed += [update.event.order_id for update in answer.updates]
        await self.under_way.read(len(self.resumed))

    @property
    def read(self) -> list[str]:
        """What the one has read that reads all the time."""
        return [update.event.order_id for update in self.under_way.updates]


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    with postgres.database(METADATA) as url:
        yield url


@pytest.fixture
async def shop(url: str, clock: ManualClock) -> AsyncIterator[Shop]:
    shop = Shop(url, clock)
    async with looking(shop):
        yield shop
    await shop.database.close()


@pytest.fixture
def others(url: str, clock: ManualClock) -> Iterator[Others]:
    with ExitStack() as stack:
        yield Others(url, clock, stack)


async def smaller_row_id_commits_last(others: Others, see: Callable[[], Any]) -> list[str]:
    first, second = others.begin(), others.begin()
    others.write(first, "first")
    others.write(second, "second")
    others.commit(second)
    await see()
    others.commit(first)
    await see()
    return ["first", "second"]


async def smaller_transaction_id_takes_the_larger_row_id(others: Others, see: Callable[[], Any]) -> list[str]:
    first, second = others.begin(), others.begin()
    others.write(second, "second")
    others.commit(second)
    await see()
    others.write(first, "first")
    others.commit(first)
    await see()
    return ["first", "second"]


async def a_third_one_is_under_way_between_the_two(others: Others, see: Callable[[], Any]) -> list[str]:
    first, between, second = others.begin(), others.begin(), others.begin()
    others.write(second, "second")
    others.write(first, "first")
    others.commit(second)
    others.commit(first)
    await see()
    others.commit(between)
    await see()
    return ["first", "second"]


Schedule = Callable[[Others, Callable[[], Any]], Any]
SCHEDULES = (
    smaller_row_id_commits_last,
    smaller_transaction_id_takes_the_larger_row_id,
    a_third_one_is_under_way_between_the_two,
)


async def read_by_two(shop: Shop, others: Others, schedule: Schedule) -> tuple[list[str], Watchers]:
    """What there was to read, in order, and who read it; a last row, behind all, shows that they are done."""
    request = api.WatchOrdersRequest(cursor=OLDEST, events_only=True)
    async with Reader(shop.service.WatchOrders(request)) as under_way:
        watchers = Watchers(shop, under_way, [])
        expected = [*await schedule(others, watchers.see), "last"]
        last = others.begin()
        others.write(last, "last")
        others.commit(last)
        await under_way.until(lambda: "last" in watchers.read)
        while "last" not in watchers.resumed:
            await watchers.see()
    return expected, watchers


@pytest.mark.parametrize("schedule", SCHEDULES)
async def test_two_readers_see_each_row_once_in_the_order_of_transactions(
    shop: Shop, others: Others, schedule: Schedule
) -> None:
    expected, watchers = await read_by_two(shop, others, schedule)
    assert watchers.read == expected
    assert watchers.resumed == expected


ROW_ID, XACT_ID = order_history.c.row_id, order_history.c.xact_id
AFTER_ROW: BindParameter[int] = bindparam("after_row_id")
AFTER_XACT: BindParameter[int] = bindparam("after_xact_id")
AT_MOST: BindParameter[int] = bindparam("at_most")
BY_ROW = select(order_history).where(ROW_ID > AFTER_ROW).order_by(ROW_ID).limit(AT_MOST)
BY_SETTLED_ROW = BY_ROW.where(is_settled(order_history))
BY_TRANSACTION = (
    select(order_history).where(tuple_(XACT_ID, ROW_ID) > tuple_(AFTER_XACT, AFTER_ROW)).order_by(XACT_ID, ROW_ID)
).limit(AT_MOST)


@pytest.mark.parametrize(
    ("schedule", "broken"),
    [
        pytest.param(smaller_row_id_commits_last, BY_ROW, id="by row id alone"),
        pytest.param(a_third_one_is_under_way_between_the_two, BY_SETTLED_ROW, id="by row id of what is settled"),
        pytest.param(smaller_transaction_id_takes_the_larger_row_id, BY_TRANSACTION, id="whatever is settled"),
    ],
)
async def test_a_reader_by_another_order_misses_a_row(
    shop: Shop, others: Others, schedule: Schedule, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEED._next, "", broken)
    expected, watchers = await read_by_two(shop, others, schedule)
    assert set(watchers.read) < set(expected)
    assert set(watchers.resumed) < set(expected)


async def until(reached: Callable[[], bool]) -> None:
    """Returns once it holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not reached():  # noqa: ASYNC110 nothing tells of it
            await asyncio.sleep(0.01)


async def test_what_an_open_transaction_holds_back_is_sent_once_its_time_is_over(shop: Shop, others: Others) -> None:
    limits = SESSION_LIMITS.replace(IDLE_LIMIT.format("10s"), IDLE_LIMIT.format("1s"))
    assert limits != SESSION_LIMITS
    request = api.WatchOrdersRequest(cursor=OLDEST, events_only=True)
    async with Reader(shop.service.WatchOrders(request)) as reader:
        forgotten, other = others.begin(), others.begin()
        others.write(forgotten, "forgotten")
        others.write(other, "other")
        others.commit(other)
        await until(lambda: shop.streams.lag_ms >= OLD_MS)
        assert not reader.updates
        forgotten.execute(limits)
        assert [update.event.order_id for update in await reader.read(1)] == ["other"]
        await until(lambda: shop.streams.lag_ms == 0)
    with pytest.raises(psycopg.Error, match="idle-in-transaction timeout"):
        forgotten.execute("SELECT 1")
