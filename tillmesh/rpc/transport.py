"""gRPC's server, with limits for connections, and one that a single frame cannot end."""

import asyncio
from typing import Any, cast

import grpc
import structlog
from grpc import aio
from grpc._cython import cygrpc
from grpc.aio import _server as _base

METADATA_BYTES_MAX = 8 * 1024
STREAMS_A_CONNECTION = 256
log = structlog.get_logger()


def open_server(message_bytes_max: int, connections_max: int) -> aio.Server:
    """A server whose connections end when they are silent, old, or not HTTP/2 over TLS soon enough."""
    options = [
        ("grpc.so_reuseport", 0),  # or a process that has not quite died shares the port
        ("grpc.max_receive_message_length", message_bytes_max),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a few bytes would unpack to hundreds of megabytes
        ("grpc.max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES_MAX),
        ("grpc.max_allowed_incoming_connections", connections_max),
        ("grpc.max_concurrent_streams", STREAMS_A_CONNECTION),
        ("grpc.server_handshake_timeout_ms", 5_000),
        # A client whose cable was pulled, or that hangs, is gone after 40 s. Its own pings are welcome every 10 s.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.max_connection_idle_ms", 300_000),
        ("grpc.max_connection_age_ms", 600_000),  # whose certificate has ended comes back with a new one, or not
        ("grpc.max_connection_age_grace_ms", 60_000),
    ]
    return cast(aio.Server, _Server(options))


class _Server(_base.Server):
    def __init__(self, options: list[tuple[str, int]]) -> None:
        # In place of what the base class makes: all else in it only hands calls on to `_server`.
        self._loop = cygrpc.get_working_loop()
        self._server = _Core(self._loop, None, (), (), tuple(options), None)


class _Core(cygrpc.AioServer):  # type: ignore[misc]  # compiled, and known as Any
    """Answers calls of methods that are not registered by itself.

    grpcio (1.85.1) decodes the path of such a call as UTF-8 in its main loop, and stops serving for good where
    that fails: one frame of anybody who has a connection would end the server.
    """

    def _make_request_call_future(self, method: bytes | None) -> Any:
        if method is not None:
            return super()._make_request_call_future(method)
        return asyncio.get_running_loop().create_task(self._refuse_unknown())

    async def _refuse_unknown(self) -> None:
        refusing: set[asyncio.Task[None]] = set()
        while True:
            task = asyncio.create_task(_refuse(await self._request_call()))
            refusing.add(task)
            task.add_done_callback(refusing.discard)


async def _refuse(call: Any) -> None:
    context = cygrpc._ServicerContext(call, None, None, asyncio.get_running_loop())
    try:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "There is no such method.")
    except (cygrpc.AbortError, cygrpc.ExecuteBatchError) as error:  # told, or gone already
        log.debug("unknown_method", error=str(error))
