"""Takes over complete imports, step by step."""

import asyncio
from contextlib import suppress

from store_terminal.catalogue.steps import step
from tillmesh.auth.callers import act_as
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.rounds import go_round
from tillmesh.storage.database import Database

LOOK_EVERY_S = 5.0
"""Another process may have died in the middle of an import."""


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
        """Works until it is cancelled."""
        act_as(self._server)
        await go_round("catalogue", self._step, self._rest)

    async def _step(self) -> float:
        return 0.0 if await self._database.run(step, self._clock.now_ms()) else LOOK_EVERY_S

    async def _rest(self, rest_s: float) -> None:
        if not rest_s:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(rest_s):
                await self._poked.wait()
        self._poked.clear()
