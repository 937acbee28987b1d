"""Takes over complete imports, step by step."""

import asyncio
from contextlib import suppress

import structlog

from store_terminal.catalogue.steps import step
from tillmesh.auth.callers import act_as
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.database import Database

LOOK_EVERY_S = 5.0
"""Another process may have died in the middle of an import."""
log = structlog.get_logger()


class CatalogueWorker:
    """Does the steps that are due; `server` is the URI in whose name it acts."""

    def __init__(self, database: Database, clock: Clock, server: str) -> None:
        self._database = database
        self._clock = clock
        self._server = server
        self._poked = asyncio.Event()

    def poke(self) -> None:
        """There is something to do."""
        self._poked.set()

    async def run(self) -> None:
        """Works for ever; at once again while there is more to do."""
        act_as(self._server)
        while True:
            try:
                more = await self._database.run(step, self._clock.now_ms())
            except Refusal as refusal:  # the disk is full: go on once there is room
                log.error("catalogue_step_failed", reason=refusal.reason)
                more = False
            if not more:
                await self._rest()

    async def _rest(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._poked.wait()
        self._poked.clear()
