"""gRPC's server, which goes on after a frame that it cannot read.

It is made of private parts of grpcio, so nobody but `transport` imports it, and for one version of grpcio alone.
"""

import asyncio
from typing import Any, cast

import grpc
import structlog
from grpc import aio
from grpc._cython import cygrpc
from grpc.aio import _server as _base

log = structlog.get_logger()


def guarded_server(options: list[tuple[str, int]]) -> aio.Server:
    """A server that a single frame cannot end."""
    return cast(aio.Server, _Server(options))


class _Server(_base.Server):
    def __init__(self, options: list[tuple[str, int]]) -> None:
        # In place of what the base class makes: all else in it only hands calls on to `_server`.
        self._loop = cygrpc.get_working_loop()
        self._server = _Core(self._loop, None, (), (), tuple(options), None)


class _Core(cygrpc.AioServer):  # type: ignore[misc]  # compiled, and known as Any
    """Answers calls of methods that are not registered by itself.

    grpcio decodes the path of such a call as UTF-8 in its main loop, and stops serving for good where
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
