"""Records that a driver drives, and how long it pauses."""

import asyncio
import random
from functools import partial

from tillmesh.auth.callers import act_as
from tillmesh.runtime.driver import Progress


class AlwaysShare(random.Random):
    """Takes the same share of every pause."""

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        self._pause_s = pause_s

    def uniform(self, a: float, b: float) -> float:
        return self._pause_s


SERVER = "spiffe://tillmesh/payments/all"
DETACH = partial(act_as, SERVER)
NO_PAUSE, ENDLESS_PAUSE = AlwaysShare(0), AlwaysShare(3600)


class Record:
    """A record whose steps come out as a script says."""

    def __init__(self, *script: Progress | Exception) -> None:
        self._script = script
        self.steps = 0
        self.reads = 0
        self.changed = asyncio.Event()

    async def get(self, _key: str) -> int:
        """The record is how often it was stepped."""
        self.reads += 1
        return self.steps

    async def step(self, record: int) -> tuple[int, Progress]:
        assert record == self.steps
        outcome = self._script[self.steps]
        self.steps += 1
        self.changed.set()
        if isinstance(outcome, Exception):
            raise outcome
        return self.steps, outcome

    async def stepped(self, times: int) -> None:
        """Waits until it was stepped that often."""
        while self.steps < times:
            self.changed.clear()
            await self.changed.wait()
