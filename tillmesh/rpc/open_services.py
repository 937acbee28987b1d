"""Health and reflection: for everybody who gets a connection, a few at a time and none for long."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from tillmesh.rpc.fields import parser
from tillmesh.rpc.handlers import Context, refuse
from tillmesh.rpc.limits import Limits, Places
from tillmesh.runtime.errors import Refusal

Handlers = dict[str, "grpc.RpcMethodHandler[Any, Any]"]
Serve = Callable[[Context, str], Awaitable[Any]]
REFLECTION_SERVICES = (reflection.SERVICE_NAME, "grpc.reflection.v1.ServerReflection")
"""Clients ask for v1 first; both have the same messages but for their package, which is not on the wire."""
_CHECK = parser(health_pb2.HealthCheckRequest.DESCRIPTOR)
_REFLECT = parser(reflection_pb2.ServerReflectionRequest.DESCRIPTOR)


def add_reflection_v1() -> None:
    """Makes the contract of reflection's v1 known, for those who ask about it: grpcio has the one before it alone."""
    before = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(before)
    text = text_format.MessageToString(before).replace("v1alpha", "v1")
    contract = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
    descriptor_pool.Default().AddSerializedFile(contract.SerializeToString())


def open_handlers(
    healthy: health.aio.HealthServicer, services: Sequence[str], domain: str, limits: Limits
) -> dict[str, Handlers]:
    """The handlers of both services by name. As those of all others they take streams, and read for themselves."""
    add_reflection_v1()
    names = [*services, health.SERVICE_NAME, *REFLECTION_SERVICES]
    reflecting = reflection.aio.ReflectionServicer(names)

    async def check(context: Context, _caller: str) -> Any:
        return await healthy.Check(_CHECK(await context.read()), context)

    async def watch(context: Context, _caller: str) -> None:
        await healthy.Watch(_CHECK(await context.read()), context)

    async def reflect(context: Context, caller: str) -> None:
        async def requests() -> Any:
            while (sent := await context.read()) is not grpc.aio.EOF:
                limits.spend(caller, limits.open)
                yield _REFLECT(sent)

        async for answer in reflecting.ServerReflectionInfo(requests(), context):
            await context.write(answer)

    def limited(serve: Serve, places: Places) -> Callable[[object, Context], Awaitable[Any]]:
        async def handle(_requests: object, context: Context) -> Any:
            caller = b",".join(context.auth_context().get("peer_uri", ())).decode(errors="replace")
            try:
                limits.spend(caller, limits.open)
                limits.occupy(places, caller, limits.open)
                async with limits.cap():
                    return await serve(context, caller)
            except Refusal as refusal:
                await refuse(context, refusal, domain)

        return handle

    serialize = health_pb2.HealthCheckResponse.SerializeToString
    answers = reflection_pb2.ServerReflectionResponse.SerializeToString
    info: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
        limited(reflect, limits.streams), None, answers
    )
    return {
        health.SERVICE_NAME: {
            "Check": grpc.stream_unary_rpc_method_handler(limited(check, limits.checks), None, serialize),
            "Watch": grpc.stream_stream_rpc_method_handler(limited(watch, limits.streams), None, serialize),
        },
        **{service: {"ServerReflectionInfo": info} for service in REFLECTION_SERVICES},
    }
