"""A real server that answers as a test says, one behaviour a call."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import grpc
from grpc import StatusCode, aio
from grpc_status import rpc_status

from tillmesh.api.order.v1 import order_pb2, order_service_pb2
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.auth.callers import Role
from tillmesh.rpc.peers import open_channel
from tillmesh.runtime.errors import Refusal

Context = aio.ServicerContext[order_service_pb2.GetOrderRequest, order_pb2.Order]
Behaviour = Callable[[Context], Awaitable[order_pb2.Order]]
GetOrder = aio.UnaryUnaryMultiCallable[order_service_pb2.GetOrderRequest, order_pb2.Order]


class ScriptedServer:
    """Plays a script; its last behaviour goes on for ever."""

    def __init__(self, script: Sequence[Behaviour]) -> None:
        self._script = script
        self.calls: list[Context] = []
        self.metadata: list[dict[str, str | bytes]] = []

    async def get_order(self, _request: order_service_pb2.GetOrderRequest, context: Context) -> order_pb2.Order:
        self.calls.append(context)
        self.metadata.append(dict(context.invocation_metadata() or ()))  # gone when the call has ended
        return await self._script[min(len(self.calls), len(self._script)) - 1](context)


@asynccontextmanager
async def scripted(*script: Behaviour) -> AsyncIterator[tuple[ScriptedServer, GetOrder]]:
    """The server, and its one method as a client has it."""
    servicer = ScriptedServer(script)
    handler = grpc.unary_unary_rpc_method_handler(
        servicer.get_order,
        request_deserializer=order_service_pb2.GetOrderRequest.FromString,
        response_serializer=order_pb2.Order.SerializeToString,
    )
    service = "tillmesh.api.order.v1.OrderService"
    server = aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"GetOrder": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", Role.ORDERS, None) as channel:
        yield servicer, OrderServiceStub(channel).GetOrder
    await server.stop(0)


async def answers(_context: Context) -> order_pb2.Order:
    return order_pb2.Order(order_id="o-1")


def aborts(code: StatusCode) -> Behaviour:
    """Fails without an ErrorInfo, as a proxy or gRPC itself does."""

    async def behave(context: Context) -> order_pb2.Order:
        return await context.abort(code, "by the script")

    return behave


def refuses(refusal: Refusal) -> Behaviour:
    """Fails as a tillmesh server does."""

    async def behave(context: Context) -> order_pb2.Order:
        await context.abort_with_status(rpc_status.to_status(refusal.to_status("order.tillmesh")))
        raise AssertionError("abort_with_status raises")

    return behave
