"""Streams of another server, read without an end: each is opened again where the one before it ended."""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from copy import deepcopy
from typing import Protocol, TypeVar

from grpc import StatusCode, aio

from tillmesh.rpc.peers import UNDECIDED, Peer
from tillmesh.runtime.errors import Unanswered

PAUSE_FIRST_S = 0.2
PAUSE_S_MAX = 5.0
PASSING = UNDECIDED - {StatusCode.UNAUTHENTICATED}
"""A stream that ends so may go on when it is opened again."""


class WatchRequest(Protocol):
    """A request for a stream, as a type checker sees it."""

    cursor: str


class WatchAnswer(Protocol):
    """An answer of a stream."""

    @property
    def cursor(self) -> str:
        """Where to go on after it."""


WatchReq = TypeVar("WatchReq", bound=WatchRequest)
WatchRes = TypeVar("WatchRes", bound=WatchAnswer)


async def watch(
    peer: Peer,
    method: "aio.UnaryStreamMultiCallable[WatchReq, WatchRes]",
    request: WatchReq,
    rng: random.Random,
    on_failure: Callable[[Unanswered], None],
) -> AsyncGenerator[WatchRes]:
    """The answers from the request's cursor on, whatever becomes of connections and servers in between.

    The next stream goes on behind the last answer that was handed out. Pauses before it grow, and end with the next
    answer. Raises what no repeat would change: the peer's `Refusal`, and `Unanswered` where it does not know the
    caller or the method. `on_failure` hears of every other end that is not the peer's own.
    """
    request = deepcopy(request)
    tries = 0
    while True:
        try:
            async with aclosing(peer.watch(method, request)) as answers:
                async for answer in answers:
                    tries, request.cursor = 0, answer.cursor
                    yield answer
        except Unanswered as failure:
            if not _is_passing(failure):
                raise
            on_failure(failure)
        await asyncio.sleep(rng.uniform(0, min(PAUSE_S_MAX, PAUSE_FIRST_S * (1 << min(tries, 10)))))
        tries += 1


def _is_passing(failure: Unanswered) -> bool:
    cause = failure.__cause__
    return not isinstance(cause, aio.AioRpcError) or cause.code() in PASSING
