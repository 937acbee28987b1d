"""A watch goes on where it was, whatever ends its streams."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import StatusCode, aio
from grpc_status import rpc_status

from tests.processes import DEADLINE_S
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.auth.callers import Role
from tillmesh.rpc import peers, watching
from tillmesh.rpc.peers import Peer, open_channel
from tillmesh.rpc.watching import watch
from tillmesh.runtime.errors import CommonReason, Refusal, Unanswered

Context = aio.ServicerContext[api.WatchOrdersRequest, api.WatchOrdersResponse]
Stream = Callable[[Context], Awaitable[None]]


class Scripted:
    """A server whose streams do as a script says; its last line goes on for ever."""

    def __init__(self, *script: Stream) -> None:
        self._script = script
        self.requests: list[api.WatchOrdersRequest] = []
        self.failures: list[Unanswered] = []
        self.channel: aio.Channel
        self.address = ""

    async def watch_orders(self, request: api.WatchOrdersRequest, context: Context) -> None:
        self.requests.append(request)
        await self._script[min(len(self.requests), len(self._script)) - 1](context)

    @property
    def cursors(self) -> list[str]:
        """Where each stream began."""
        return [request.cursor for request in self.requests]

    async def read(self, count: int, **filters: Any) -> list[str]:
        """The cursors of so many answers."""
        read: list[str] = []
        async with asyncio.timeout(DEADLINE_S), aclosing(self.answers(**filters)) as answers:
            async for answer in answers:
                read.append(answer.cursor)
                if len(read) == count:
                    break
        return read

    def answers(self, **filters: Any) -> AsyncGenerator[api.WatchOrdersResponse]:
        """A watch that was just begun."""
        method = OrderServiceStub(self.channel).WatchOrders
        request = api.WatchOrdersRequest(cursor="0", **filters)
        return watch(Peer(), method, request, random.Random(1), self.failures.append)


@asynccontextmanager
async def scripted(*script: Stream) -> AsyncIterator[Scripted]:
    servicer = Scripted(*script)
    handler = grpc.unary_stream_rpc_method_handler(
        servicer.watch_orders,
        request_deserializer=api.WatchOrdersRequest.FromString,
        response_serializer=api.WatchOrdersResponse.SerializeToString,
    )
    server = aio.server()
    name = "tillmesh.api.order.v1.OrderService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"WatchOrders": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    servicer.address = f"127.0.0.1:{port}"
    async with open_channel(servicer.address, Role.ORDERS, None) as servicer.channel:
        yield servicer
    await server.stop(0)


def sends(*cursors: str, then: Stream | None = None) -> Stream:
    async def send(context: Context) -> None:
        for cursor in cursors:
            await context.write(api.WatchOrdersResponse(cursor=cursor))
        if then:
            await then(context)

    return send


def aborts(code: StatusCode) -> Stream:
    """Ends as a proxy or gRPC itself ends a stream."""

    async def abort(context: Context) -> None:
        await context.abort(code, "by the script")

    return abort


def refuses(refusal: Refusal) -> Stream:
    """Ends as a tillmesh server refuses."""

    async def refuse(context: Context) -> None:
        await context.abort_with_status(rpc_status.to_status(refusal.to_status("order.tillmesh")))

    return refuse


async def hangs(_context: Context) -> None:
    await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PAUSE_FIRST_S", 0.001)


async def test_a_stream_that_the_server_ends_goes_on_behind_the_last_answer() -> None:
    async with scripted(sends("1", "2"), sends("3")) as server:
        assert await server.read(3, store_id="store-1") == ["1", "2", "3"]
    assert server.cursors == ["0", "2"]
    assert {request.store_id for request in server.requests} == {"store-1"}
    assert not server.failures


@pytest.mark.parametrize("code", sorted(watching.PASSING, key=str), ids=lambda code: code.name)
async def test_a_stream_that_is_cut_goes_on_behind_the_last_answer(code: StatusCode) -> None:
    async with scripted(sends("1", then=aborts(code)), sends("2")) as server:
        assert await server.read(2) == ["1", "2"]
    assert server.cursors == ["0", "1"]
    assert len(server.failures) == 1


async def test_a_server_that_is_away_is_tried_until_it_is_there() -> None:
    away = aborts(StatusCode.UNAVAILABLE)
    async with scripted(*[away] * 20, sends("1")) as server:
        assert await server.read(1) == ["1"]
    assert server.cursors == ["0"] * 21


async def test_a_silent_stream_is_taken_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SILENCE_S_MAX", 0.05)
    async with scripted(sends("1", then=hangs), sends("2", then=hangs)) as server:
        assert await server.read(2) == ["1", "2"]
    assert server.cursors == ["0", "1"]


async def test_a_stream_whose_channel_was_closed_has_failed_and_is_no_cancellation() -> None:
    async with scripted(sends("1", then=hangs)) as server:
        streamed = Peer().watch(OrderServiceStub(server.channel).WatchOrders, api.WatchOrdersRequest())
        async with asyncio.timeout(DEADLINE_S), aclosing(streamed) as answers:
            await anext(answers)
            await server.channel.close()
            with pytest.raises(Unanswered):
                await anext(answers)


async def test_who_stops_reading_is_stopped() -> None:
    async with scripted(sends("1", then=hangs)) as server, aclosing(server.answers()) as answers:
        await anext(answers)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(answers)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        CommonReason.CURSOR_EXPIRED(),
        CommonReason.STORE_DENIED(store_id="store-2"),
        CommonReason.INVALID_FIELD(problems="types[0] must be a type"),
    ],
    ids=lambda refusal: refusal.reason,
)
async def test_a_refusal_ends_the_watch_as_it_was_raised(refusal: Refusal) -> None:
    async with scripted(sends("1", then=refuses(refusal))) as server:
        with pytest.raises(Refusal) as raised:
            await server.read(2)
    assert (raised.value.code, raised.value.reason) == (refusal.code, refusal.reason)
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [StatusCode.UNAUTHENTICATED, StatusCode.UNIMPLEMENTED, StatusCode.PERMISSION_DENIED])
async def test_who_is_not_known_is_told_so(code: StatusCode) -> None:
    async with scripted(aborts(code)) as server:
        with pytest.raises(Unanswered, match=code.name):
            await server.read(1)
    assert len(server.requests) == 1


async def test_pauses_grow_and_end_with_the_next_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    class Longest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            pauses.append(b)
            return a

    away = aborts(StatusCode.UNAVAILABLE)
    monkeypatch.setattr(watching, "PAUSE_S_MAX", 0.004)
    async with scripted(away, away, away, away, sends("1", then=away), away, sends("2")) as server:
        method = OrderServiceStub(server.channel).WatchOrders
        async with aclosing(
            watch(Peer(), method, api.WatchOrdersRequest(), Longest(), server.failures.append)
        ) as answers:
            assert [(await anext(answers)).cursor for _ in range(2)] == ["1", "2"]
    assert pauses == [0.001, 0.002, 0.004, 0.004, 0.001, 0.002]
