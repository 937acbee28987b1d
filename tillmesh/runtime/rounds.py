"""What a server does by itself, round after round."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from tillmesh.runtime.errors import Refusal

REFUSED_REST_S = 2.0
"""The rest after a round that the database refused: the disk may be full, and have room again soon."""
log = structlog.get_logger()


async def go_round(
    name: str, work: Callable[[], Awaitable[float]], rest: Callable[[float], Awaitable[object]] = asyncio.sleep
) -> None:
    """Works until it is cancelled. `work` returns the seconds of rest after it: 0 while there is more to do."""
    while True:
        try:
            rest_s = await work()
        except Refusal as refusal:
            log.error("round_failed", work=name, reason=refusal.reason)
            rest_s = REFUSED_REST_S
        await rest(rest_s)
