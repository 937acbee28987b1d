"""What streams cost a server: nothing while their readers stop, and little while nothing happens."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grpc import aio

from tests.orders.shop import Shop
from tests.orders.test_process import create
from tests.orders.test_watch import looking
from tests.processes import DEADLINE_S, Server, running
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.rpc.streams import LOOK_ROWS, OLDEST
from tillmesh.storage.feeds import Feed

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceAsyncStub

CHANNELS = 5
STREAMS_WARM, STREAMS = 100, 1_000
KB_A_STREAM_MAX = 40
"""gRPC alone takes 23 KB for a stream that does nothing."""
EVENTS_WARM, EVENTS = 80_000, 100_000
CALLERS = 48
KB_STOPPED_MAX = 6_000
"""The cache of the database is full after the first 80,000."""


async def test_nothing_is_read_for_a_reader_that_stops_and_it_misses_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads_for_readers = 0
    read = Feed.read

    def counted(*arguments: Any) -> Any:
        nonlocal reads_for_readers
        reads_for_readers += arguments[-1] < LOOK_ROWS
        return read(*arguments)

    monkeypatch.setattr(Feed, "read", counted)
    stream = shop.service.WatchOrders(api.WatchOrdersRequest(cursor=OLDEST, events_only=True))
    async with looking(shop):
        await anext(stream)
        before = reads_for_readers
        for number in range(500):
            await shop.create(f"o-{number}")
        assert reads_for_readers == before
        seen: list[str] = []
        while len(seen) < 500:
            seen += [update.event.order_id for update in (await anext(stream)).updates]
    assert seen == [f"o-{number}" for number in range(500)]
    await stream.aclose()


def memory_kb(server: Server) -> int:
    """The memory that a process has, without what it shares with others."""
    lines = Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


@asynccontextmanager
async def stubs(server: Server, count: int) -> AsyncGenerator[list["OrderServiceAsyncStub"]]:
    """So many connections."""
    async with AsyncExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        channels = [aio.insecure_channel(server.address, options=options) for _ in range(count)]
        yield [OrderServiceStub(await stack.enter_async_context(channel)) for channel in channels]


@pytest.mark.process
async def test_a_thousand_idle_streams_take_little_memory_each(tmp_path: Path) -> None:
    with running("order_service", tmp_path) as server:
        async with stubs(server, CHANNELS) as connected:
            opened = []

            async def open_streams(count: int) -> int:
                for number in range(count):
                    watch = connected[number % CHANNELS].WatchOrders
                    opened.append(watch(api.WatchOrdersRequest(store_id=f"store-{number}")))
                await asyncio.gather(*(stream.read() for stream in opened[-count:]))
                return memory_kb(server)

            warm_kb = await open_streams(STREAMS_WARM)
            all_kb = await open_streams(STREAMS)
    assert (all_kb - warm_kb) / STREAMS < KB_A_STREAM_MAX


@pytest.mark.chaos
@pytest.mark.process
async def test_a_reader_that_stops_for_100_000_events_takes_no_memory_and_misses_nothing(tmp_path: Path) -> None:
    with running("order_service", tmp_path) as server:
        async with stubs(server, 2) as (shopping, watching):
            stopped = watching.WatchOrders(api.WatchOrdersRequest(cursor=OLDEST))
            await stopped.read()
            numbers = iter(range(EVENTS))

            async def shop_until(last: int) -> None:
                for number in numbers:
                    await shopping.CreateOrder(create(f"o-{number}"), timeout=DEADLINE_S)
                    if number >= last:
                        return

            async def shop_together(last: int) -> int:
                await asyncio.gather(*(shop_until(last) for _ in range(CALLERS)))
                return memory_kb(server)

            warm_kb = await shop_together(EVENTS_WARM)
            assert await shop_together(EVENTS) - warm_kb < KB_STOPPED_MAX
            seen: set[str] = set()
            count = 0
            while count < EVENTS:
                answer = await stopped.read()
                assert isinstance(answer, api.WatchOrdersResponse), "the stream has ended"
                seen.update(update.event.order_id for update in answer.updates)
                count += len(answer.updates)
            assert len(seen) == EVENTS
