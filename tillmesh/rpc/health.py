"""What a server says of its health (grpc.health.v1): it serves as long as its database answers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from grpc_health.v1 import health, health_pb2

from tillmesh.runtime.errors import Refusal

PROBE_EVERY_S = 2.0
PROBE_WITHIN_S = 5.0
LIVENESS = "liveness"
"""The service that is SERVING as long as the process answers at all: a restart mends no database."""
Probe = Callable[[], Awaitable[object]]
log = structlog.get_logger()


async def no_database() -> None:
    """The `Probe` of a server without a database."""


async def follow(healthy: health.aio.HealthServicer, services: Sequence[str], probe: Probe) -> None:
    """For ever: the server and its services are SERVING while the database answers, and NOT_SERVING while not."""
    served = None
    while True:
        serves = await _answers(probe)
        if serves != served:
            if served is not None:
                log.warning("health_changed", serving=serves)
            served = serves
            await say(healthy, services, serves)
        await asyncio.sleep(PROBE_EVERY_S)


async def say(healthy: health.aio.HealthServicer, services: Sequence[str], serves: bool) -> None:
    """Says whether the server and its services serve; that the process lives, in any case."""
    states = health_pb2.HealthCheckResponse
    for service in ("", *services):
        await healthy.set(service, states.SERVING if serves else states.NOT_SERVING)
    await healthy.set(LIVENESS, states.SERVING)


async def _answers(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(PROBE_WITHIN_S):
            await probe()
    except (Refusal, TimeoutError):
        return False
    return True
