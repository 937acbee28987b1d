"""A server reads another one's stream: to its end, and no longer than it lives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
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
from tillmesh.rpc import peers
from tillmesh.rpc.peers import Peer, open_channel
from tillmesh.runtime.errors import CommonReason, Refusal, Unanswered
from tillmesh.runtime.telemetry import TRACEPARENT, trace_id

Context = aio.ServicerContext[api.WatchOrdersRequest, api.WatchOrdersResponse]
Behaviour = Callable[[Context], Awaitable[None]]


@asynccontextmanager
async def streaming(behave: Behaviour) -> AsyncIterator[Any]:
    """The method of a real server that sends two answers, and then does as the test says."""

    async def watch(_request: api.WatchOrdersRequest, context: Context) -> None:
        for cursor in ("first", "second"):
            await context.write(api.WatchOrdersResponse(cursor=cursor))
        await behave(context)

    handler = grpc.unary_stream_rpc_method_handler(
        watch,
        request_deserializer=api.WatchOrdersRequest.FromString,
        response_serializer=api.WatchOrdersResponse.SerializeToString,
    )
    server = aio.server()
    service = "tillmesh.api.order.v1.OrderService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"WatchOrders": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", Role.ORDERS, None) as channel:
        yield OrderServiceStub(channel).WatchOrders
    await server.stop(0)


async def read(method: Any, cursors: list[str]) -> None:
    async with asyncio.timeout(DEADLINE_S), aclosing(Peer().watch(method, api.WatchOrdersRequest())) as answers:
        async for answer in answers:
            cursors += [answer.cursor]


async def test_a_stream_is_read_until_the_other_server_ends_it_and_bears_the_trace() -> None:
    seen: dict[str, Any] = {}

    async def ends(context: Context) -> None:
        seen.update(dict(context.invocation_metadata() or ()))

    trace_id.set("0af7651916cd43dd8448eb211c80319c")
    cursors: list[str] = []
    async with streaming(ends) as method:
        await read(method, cursors)
    assert cursors == ["first", "second"]
    assert trace_id.get() in seen[TRACEPARENT]


async def test_a_refusal_in_the_midst_of_a_stream_is_raised_as_it_is() -> None:
    async def refuses(context: Context) -> None:
        expired = CommonReason.CURSOR_EXPIRED().to_status("order.tillmesh")
        await context.abort_with_status(rpc_status.to_status(expired))

    cursors: list[str] = []
    async with streaming(refuses) as method:
        with pytest.raises(Refusal, match="CURSOR_EXPIRED"):
            await read(method, cursors)
    assert cursors == ["first", "second"]


@pytest.mark.parametrize("code", [StatusCode.UNAVAILABLE, StatusCode.INTERNAL, StatusCode.UNIMPLEMENTED])
async def test_a_stream_that_breaks_is_unanswered(code: StatusCode) -> None:
    async def breaks(context: Context) -> None:
        await context.abort(code, "by the test")

    async with streaming(breaks) as method:
        with pytest.raises(Unanswered, match=code.name):
            await read(method, [])


async def test_a_stream_that_is_silent_for_too_long_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "SILENCE_S_MAX", 0.2)
    ended = asyncio.Event()

    async def is_silent(_context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with streaming(is_silent) as method:
        with pytest.raises(Unanswered, match="nothing came"):
            await read(method, [])
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()  # the other server is told


async def test_a_reader_that_leaves_ends_the_stream() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def goes_on(_context: Context) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with streaming(goes_on) as method:
        async with aclosing(Peer().watch(method, api.WatchOrdersRequest())) as answers:
            await anext(answers)
            await begun.wait()  # what is cancelled before it began ends nothing
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()
