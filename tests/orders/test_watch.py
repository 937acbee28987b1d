"""What happens to orders is sent as it happens: in order, each event once, and none is missed."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import Context
from typing import Any

import pytest
from grpc import StatusCode

from order_service.pruning import PRUNABLE
from tests.clocks import ManualClock
from tests.orders.shop import GIFT, Shop, acting, event_name
from tests.orders.test_pruning import without_triggers
from tests.watching import Reader
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.auth.callers import MESH
from tillmesh.rpc import streams
from tillmesh.runtime.clock import DAY_MS
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.feeds import Feed
from tillmesh.storage.pruning import START

TILL = f"spiffe://{MESH}/terminal/store-1/till-1"


@pytest.fixture
async def live(shop: Shop) -> AsyncIterator[Shop]:
    """A shop that looks for what is new when something changed, and at no other time."""
    shop.streams._anyway_s = math.inf
    async with looking(shop):
        yield shop


@asynccontextmanager
async def looking(shop: Shop) -> AsyncIterator[None]:
    task = asyncio.create_task(shop.streams.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def watch(shop: Shop, cursor: str = "", **filters: Any) -> Reader:
    return Reader(shop.service.WatchOrders(api.WatchOrdersRequest(cursor=cursor, **filters)))


def told(updates: Sequence[api.OrderUpdate]) -> list[tuple[str, str]]:
    return [(update.event.order_id, event_name(update.event)) for update in updates]


async def test_a_reader_hears_in_order_of_what_happens_from_now_on(live: Shop) -> None:
    await live.create("before")
    async with watch(live) as reader:
        await live.create("o-1")
        await live.lock("p-1")
        await live.complete("p-1", 1)
        assert told(await reader.read(3)) == [("o-1", "CREATED"), ("o-1", "LOCKED"), ("o-1", "PAID")]


async def test_the_record_beside_an_event_is_as_it_is_now(live: Shop) -> None:
    await live.create("o-1")
    await live.cancel(1)
    async with watch(live, streams.OLDEST) as reader:
        updates = await reader.read(2)
        assert [update.order.state for update in updates] == [order_pb2.Order.STATE_CANCELED] * 2
        assert updates[0].order.lines


async def test_events_alone_come_without_records(live: Shop) -> None:
    await live.create("o-1")
    async with watch(live, streams.OLDEST, events_only=True) as reader:
        assert not (await reader.read(1))[0].HasField("order")


async def test_who_comes_back_goes_on_where_it_was(live: Shop) -> None:
    seen = []
    cursor = streams.OLDEST
    for number in range(20):
        await live.create(f"o-{number}")
        async with watch(live, cursor) as reader:
            seen += told(await reader.read(1))
            cursor = reader.cursor
    assert seen == [(f"o-{number}", "CREATED") for number in range(20)]


async def test_a_reader_far_behind_gets_all_in_order_while_more_happens(live: Shop) -> None:
    for number in range(150):
        await live.create(f"old-{number}")
    async with watch(live, streams.OLDEST) as reader:
        for number in range(150):
            await live.create(f"new-{number}")
        expected = [f"{age}-{number}" for age in ("old", "new") for number in range(150)]
        assert [update.event.order_id for update in await reader.read(300)] == expected


async def test_a_store_hears_of_its_own_orders_alone(live: Shop) -> None:
    with acting(TILL):
        reader = watch(live, store_id="store-1")
    async with reader:
        await live.create("theirs", store_id="store-2")
        await live.create("ours", store_id="store-1")
        assert told(await reader.read(1)) == [("ours", "CREATED")]


@pytest.mark.parametrize("store_id", ["", "store-2"])
async def test_a_store_cannot_watch_others(live: Shop, store_id: str) -> None:
    with acting(TILL), pytest.raises(Refusal, match="STORE_DENIED"):
        await anext(live.service.WatchOrders(api.WatchOrdersRequest(store_id=store_id)))


async def test_a_reader_gets_only_the_types_that_it_asks_for(live: Shop) -> None:
    async with watch(live, types=[order_pb2.OrderEvent.TYPE_COMPLETED_FREE]) as reader:
        await live.create("o-1", GIFT)
        await live.complete_free(1)
        assert told(await reader.read(1)) == [("o-1", "COMPLETED_FREE")]


async def test_a_type_that_is_none_is_refused(live: Shop) -> None:
    with pytest.raises(Refusal, match=r"types\[0\]"):
        await anext(live.service.WatchOrders(api.WatchOrdersRequest(types=[order_pb2.OrderEvent.TYPE_UNSPECIFIED])))


async def test_from_a_list_on_nothing_is_missed(live: Shop) -> None:
    await live.create("listed")
    page = await live.service.ListOrders(api.ListOrdersRequest(page_size=1))
    await live.create("later")
    assert [order.order_id for order in page.orders] == ["listed"]
    async with watch(live, page.cursor) as reader:
        assert told(await reader.read(1)) == [("later", "CREATED")]


async def test_only_the_first_page_of_a_list_has_a_cursor(live: Shop) -> None:
    await live.create("o-1")
    await live.create("o-2")
    page = await live.service.ListOrders(api.ListOrdersRequest(page_size=1))
    second = await live.service.ListOrders(api.ListOrdersRequest(page_size=1, page_token=page.next_page_token))
    assert page.cursor
    assert not second.cursor


async def test_a_bookmark_moves_the_cursor_past_what_the_reader_does_not_want(
    live: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BOOKMARK_S", 0.05)
    async with watch(live, store_id="store-1") as reader:
        await live.create("theirs", store_id="store-2")
        looks = live.streams.looks
        await reader.until(lambda: live.streams.looks > looks)
        read = len(reader.answers)
        await reader.until(lambda: len(reader.answers) > read + 1)
        bookmark = reader.cursor
    async with watch(live, bookmark) as everything:
        await live.create("o-2")
        assert told(await everything.read(1)) == [("o-2", "CREATED")]


async def test_a_stream_ends_with_a_bookmark_when_the_server_stops(shop: Shop) -> None:
    async with looking(shop):
        reader = watch(shop)
        await reader.until(lambda: bool(reader.answers))
    await reader.end()
    assert reader.answers[-1].cursor
    assert shop.streams.open == 0


async def test_a_stream_ends_with_a_bookmark_before_its_connection_does(
    live: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STREAM_S_MAX", 0.05)
    reader = watch(live)
    await reader.end()
    assert not reader.updates
    assert len(reader.answers) == 2


@pytest.mark.parametrize("cursor", ["nonsense", "AAAA", "newest"])
async def test_what_is_no_cursor_of_this_database_is_refused(live: Shop, cursor: str) -> None:
    with pytest.raises(Refusal) as raised:
        await anext(live.service.WatchOrders(api.WatchOrdersRequest(cursor=cursor)))
    assert (raised.value.code, raised.value.reason) == (StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED")


async def pruned(shop: Shop, clock: ManualClock) -> None:
    clock.advance(400 * DAY_MS)
    for prunable in PRUNABLE:
        await shop.database.run(prunable.prune, clock.now_ms() - DAY_MS, START, clock.now_ms())


async def test_a_cursor_before_what_was_pruned_is_refused_and_one_behind_it_goes_on(
    live: Shop, clock: ManualClock
) -> None:
    cursors = []
    async with watch(live) as reader:
        cursors.append(reader.cursor)
        await live.create("o-1")
        await live.cancel(1)
        await reader.read(2)
        cursors.append(reader.cursor)
    await pruned(live, clock)  # CREATED is gone, CANCELED is the last event and stays
    with pytest.raises(Refusal, match="CURSOR_EXPIRED"):
        await anext(live.service.WatchOrders(api.WatchOrdersRequest(cursor=cursors[0])))
    for cursor, expected in ((cursors[1], "next"), (streams.OLDEST, "o-1")):
        async with watch(live, cursor) as reader:
            await live.create(f"next-{expected}", request_id=f"create-{expected}")
            assert (await reader.read(1))[0].event.order_id.startswith(expected)


async def test_a_cursor_behind_the_last_row_that_was_pruned_goes_on(live: Shop, clock: ManualClock) -> None:
    async with watch(live) as reader:
        await live.create("o-1")
        await reader.read(1)
        cursor = reader.cursor
    await live.cancel(1)
    await pruned(live, clock)  # the row that the cursor names is gone, and none behind it
    async with watch(live, cursor) as reader:
        assert told(await reader.read(1)) == [("o-1", "CANCELED")]


async def test_a_cursor_whose_row_is_there_but_not_all_behind_it_is_refused(live: Shop, clock: ManualClock) -> None:
    async with watch(live) as reader:
        await live.create("open")
        await reader.read(1)
        cursor = reader.cursor
    await live.create("o-1")
    await live.cancel(1)
    await pruned(live, clock)
    with pytest.raises(Refusal, match="CURSOR_EXPIRED"):
        await anext(live.service.WatchOrders(api.WatchOrdersRequest(cursor=cursor)))


async def test_a_reader_under_way_hears_that_what_it_has_not_read_was_pruned(live: Shop, clock: ManualClock) -> None:
    for number in range(150):
        await live.create(f"o-{number}")
        await live.cancel(1, f"o-{number}")
    stream = live.service.WatchOrders(api.WatchOrdersRequest(cursor=streams.OLDEST))
    await anext(stream)
    clock.advance(400 * DAY_MS)
    for _ in range(5):
        await pruned(live, clock)
    with pytest.raises(Refusal, match="CURSOR_EXPIRED"):
        async for _ in stream:
            pass


async def test_a_stream_whose_last_row_a_failover_lost_says_so(live: Shop) -> None:
    await live.create("o-1")
    async with watch(live) as reader:
        await live.create("lost")
        await reader.read(1)
        await without_triggers(live, "DELETE FROM order_history WHERE order_id = 'lost'")
        await live.create("o-2")
        with pytest.raises(Refusal, match="CURSOR_EXPIRED"):
            await reader.end()
    async with watch(live) as reader:  # the others go on
        await live.create("o-3")
        assert told(await reader.read(1)) == [("o-3", "CREATED")]


async def test_streams_that_want_nothing_of_what_happens_read_nothing(
    live: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = Feed.read

    def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return read(*arguments)

    monkeypatch.setattr(Feed, "read", counted)
    async with watch(live, store_id="busy") as busy:
        await live.create("first", store_id="busy")
        await busy.read(1)  # so the first look is over, which wakes all who are there
        readers = [watch(live, store_id=f"store-{number}") for number in range(50)]
        for reader in readers:
            await reader.until(lambda reader=reader: bool(reader.answers))  # type: ignore[misc]
        before = reads
        await live.create("second", store_id="busy")
        await busy.read(2)
        assert reads - before < 10  # one look or two, and the one stream that wants it
    for reader in readers:
        await reader.__aexit__()


async def test_calls_find_a_place_however_many_streams_are_woken(live: Shop) -> None:
    readers = [await watch(live).__aenter__() for _ in range(500)]  # one after the other
    for number in range(20):  # each as a call of its own, which may be refused
        await asyncio.create_task(live.create(f"o-{number}"), context=Context())
    for reader in readers:
        assert len(await reader.read(20)) == 20
        await reader.__aexit__()
