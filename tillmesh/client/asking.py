"""Requests that are repeated until they are answered, each with its deadline."""

import asyncio
import random
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message
from grpc import StatusCode, aio

from tillmesh.client.connections import Connections, ignore
from tillmesh.client.failures import Failure, Unreachable
from tillmesh.rpc.watching import PASSING
from tillmesh.runtime.errors import Failed, Refusal
from tillmesh.runtime.ids import SYSTEM_RNG

CALL_S = 10.0
"""The deadline of a call: a server that waits for another one answers before it."""
PAUSE_FIRST_S = 0.1
PAUSE_S_MAX = 5.0
LONGER_MAX = 0.5
"""The random part by which a pause is longer."""

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


class Asker:
    """Asks a server until it answers. The ids in the requests make that safe."""

    def __init__(
        self,
        connections: Connections,
        *,
        timeout_s: float = CALL_S,
        patience_s: float | None = None,
        on_unanswered: Callable[[Failure], None] = ignore,
        rng: random.Random = SYSTEM_RNG,
    ) -> None:
        self._connections = connections
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self.on_unanswered = on_unanswered
        self._rng = rng

    def end(self) -> float:
        """When patience is over, by the clock of the event loop."""
        now = asyncio.get_running_loop().time()
        return float("inf") if self._patience_s is None else now + self._patience_s

    async def ask(self, method: aio.UnaryUnaryMultiCallable[Req, Res], request: Req) -> Res:
        """The answer, however often it takes to ask the same.

        Raises the server's `Refusal`; `NotLetIn` where it does not accept the certificate; `Unreachable` once
        patience is over, or where the server failed over the request twice.
        """
        end, tries, failed = self.end(), 0, False
        while True:
            try:
                return await self._connections.call(method, request, timeout_s=self._timeout_s, attempts=1)
            except Unreachable as failure:
                if failure.said and _is_refused(failure.said):
                    raise failure.said from failure
                if not _may_pass(failure, failed):
                    raise
                if not await self.pause(tries, end, failure.said):
                    raise
                failed = failed or (isinstance(failure.__cause__, Failed) and failure.said is not None)
                tries += 1
                self.on_unanswered(failure)

    async def pause(self, tries: int, end: float, said: Refusal | None = None) -> bool:
        """Waits before the next try, as long as the server said, or longer each time; False if that is too late."""
        pause_s = min(PAUSE_S_MAX, PAUSE_FIRST_S * (1 << min(tries, 10)))
        if said and said.retry_after_ms is not None:
            pause_s = said.retry_after_ms / 1000
        pause_s *= 1 + self._rng.uniform(0, LONGER_MAX)
        if asyncio.get_running_loop().time() + pause_s >= end:
            return False
        await asyncio.sleep(pause_s)
        return True


def _is_refused(said: Refusal) -> bool:
    """True for a limit that no waiting lifts."""
    return said.code is StatusCode.RESOURCE_EXHAUSTED and said.retry_after_ms is None


def _may_pass(failure: Unreachable, failed: bool) -> bool:
    """True if another try may be answered: nothing is wrong with the request itself."""
    cause = failure.__cause__
    if isinstance(cause, Failed) and failure.said:
        return not failed
    error = cause.__cause__ if cause else None
    if not isinstance(error, aio.AioRpcError):
        return True
    return error.code() in PASSING and (error.code() is not StatusCode.RESOURCE_EXHAUSTED or failure.said is not None)
