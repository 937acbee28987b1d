"""Drives records to their end: everything resumes by itself, and nothing gives up."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from enum import Enum
from typing import Generic, TypeVar

import structlog
from grpc import StatusCode

from tillmesh.runtime.errors import Refusal, Unanswered

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
RESUME_INTERVAL_S = 1.0

Record = TypeVar("Record")
log = structlog.get_logger()


class Progress(Enum):
    """The result of one step of a record."""

    STEPPED = "stepped"  # its state moved on: take the next step at once
    WAITING = "waiting"  # its peer has not decided: ask again after a pause
    DONE = "done"  # final, or waiting for somebody who will call


class Driver(Generic[Record]):
    """At most one task a record in this process, each stepping its record until it is done.

    `get` reads a record by its key. `step` takes it one step on, and returns it as it is then. It is read again
    where somebody else may have changed it meanwhile: after a pause, a poke or a failure. `detach` cuts a task off
    from the request that started it.
    """

    def __init__(
        self,
        get: Callable[[str], Awaitable[Record]],
        step: Callable[[Record], Awaitable[tuple[Record, Progress]]],
        rng: random.Random,
        detach: Callable[[], None],
    ) -> None:
        self._detach = detach
        self._get = get
        self._step = step
        self._rng = rng
        self._tasks: dict[str, asyncio.Task[Record]] = {}
        self._pokes: dict[str, asyncio.Event] = {}

    def drive(self, key: str, record: Record | None = None) -> "asyncio.Task[Record]":
        """Starts driving a record, or cuts short the pause of the task that does.

        Whoever has just read or written it gives it along.
        """
        if key in self._tasks:
            self._pokes[key].set()
            return self._tasks[key]
        self._pokes[key] = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._run(key, record))
        self._tasks[key] = task
        return task

    async def settle(self, key: str, within_s: float, record: Record | None = None) -> Record:
        """Drives a record and waits until it is done, but no longer than `within_s`; returns it as it is then."""
        task = self.drive(key, record)
        await asyncio.wait({task}, timeout=max(0.0, within_s))
        return task.result() if task.done() and not task.cancelled() else await self._get(key)

    async def resume(self, due: Callable[[], Awaitable[Sequence[str]]]) -> None:
        """For ever: takes up each record that `due` names, from its recorded state."""
        while True:
            try:
                for key in await due():
                    if key not in self._tasks:  # a poke would cut short the pause of one that is under way
                        self.drive(key)
            except Exception as error:
                _log_failure("resume_failed", error)
            await asyncio.sleep(RESUME_INTERVAL_S)

    async def stop(self) -> None:
        """Cancels all tasks; the records stay as they are and are resumed at the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        self._pokes.clear()

    async def _run(self, key: str, record: Record | None) -> Record:
        self._detach()
        tries = 0
        while True:
            if self._pokes[key].is_set():
                record = None
            self._pokes[key].clear()  # a poke from here on may be about what this step does not see
            record, progress = await self._try(key, record)
            if record is not None and progress is Progress.DONE and not self._pokes[key].is_set():
                del self._tasks[key], self._pokes[key]
                return record
            tries = 0 if progress is Progress.STEPPED else tries + 1
            if progress is Progress.WAITING:
                await self._pause(key, tries)
            if progress is not Progress.STEPPED:
                record = None

    async def _try(self, key: str, record: Record | None) -> tuple[Record | None, Progress]:
        try:
            return await self._step(await self._get(key) if record is None else record)
        except Unanswered as error:
            log.info("peer_unanswered", record=key, error=str(error))
        except Exception as error:
            _log_failure("step_failed", error, record=key)
        return None, Progress.WAITING

    async def _pause(self, key: str, tries: int) -> None:
        """Full jitter: a uniform share of an exponentially growing pause."""
        longest_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(tries, 10))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._pokes[key].wait(), timeout=self._rng.uniform(0, longest_s))


def _log_failure(event: str, error: Exception, **record: str) -> None:
    """A database that is away or busy for a while is one line each time, anything else is a bug."""
    if isinstance(error, Refusal) and error.code in (StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED):
        log.warning("database_unavailable", reason=error.reason, **record)
    else:
        log.exception(event, exc_info=error, **record)
