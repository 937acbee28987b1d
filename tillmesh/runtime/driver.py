"""Drives records to their end: everything resumes by itself, and nothing gives up."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

import structlog
from grpc import StatusCode

from tillmesh.runtime.errors import Refusal, Unanswered

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0
RESUME_INTERVAL_S = 1.0
DRIVEN_MAX = 64
"""The most records that are driven at a time while no caller waits for them."""
RESUMED_MAX = 16
"""`resume` begins another one below so many of them: enough to keep a server busy, few enough for callers."""
DUE_A_PAGE = 64

Record = TypeVar("Record")
Due = tuple[int, str]
"""The time since when a record is due, and its key."""
After = Due | None
log = structlog.get_logger()


class Progress(Enum):
    """The result of one step of a record."""

    STEPPED = "stepped"  # its state moved on: take the next step at once
    WAITING = "waiting"  # its peer has not decided: ask again after a pause
    DONE = "done"  # final, or waiting for somebody who will call


@dataclass(slots=True, eq=False)
class _Run(Generic[Record]):
    """A record that is being driven."""

    poked: asyncio.Event = field(default_factory=asyncio.Event)
    callers: int = 0
    """Those that wait for it now."""
    pauses: bool = False
    due_at_s: float = math.inf
    """When its pause ends at the latest, by the clock of the event loop."""
    task: "asyncio.Task[Record]" = field(init=False)


class Driver(Generic[Record]):
    """At most one task a record in this process, each stepping its record until it is done.

    `get` reads a record by its key. `step` takes it one step on, and returns it as it is then. It is read again
    where somebody else may have changed it meanwhile: after a pause, a poke or a failure. `detach` cuts a task off
    from the request that started it.

    Records that callers wait for are driven at once; how many those are is bounded by the calls in progress. Of what
    callers have left, DRIVEN_MAX go on. All else is taken up by `resume`, RESUMED_MAX at a time: where more are due,
    those that pause give way. There is no task and no timer for any other record, however many are unfinished.
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
        self._runs: dict[str, _Run[Record]] = {}
        self._alone: dict[str, None] = {}
        """Keys of the runs that no caller waits for."""
        self._pausing: dict[str, None] = {}
        """Those of them that pause, longest first."""
        self._changed = asyncio.Event()
        self._moved = False

    def __len__(self) -> int:
        """The number of records that are being driven."""
        return len(self._runs)

    def drive(self, key: str, record: Record | None = None) -> "asyncio.Task[Record]":
        """Starts driving a record, or cuts short the pause of the task that does.

        Whoever has just read or written it gives it along. The task is canceled where it has to give way.
        """
        run = self._runs.get(key)
        if run is not None:
            self._pausing.pop(key, None)
            run.poked.set()
            return run.task
        run = self._runs[key] = _Run()
        self._alone[key] = None
        run.task = asyncio.get_running_loop().create_task(self._run(key, run, record))
        return run.task

    def poke(self, key: str) -> None:
        """Drives a record if there is room for it; else `resume` comes to it."""
        if key in self._runs or self._make_room():
            self.drive(key)

    def wake_after(self, key: str, seconds: float) -> None:
        """Ends the pause that may follow the step under way no later than that."""
        if run := self._runs.get(key):
            run.due_at_s = asyncio.get_running_loop().time() + seconds

    async def settle(self, key: str, within_s: float, record: Record | None = None) -> Record:
        """Drives a record and waits until it is done, but no longer than `within_s`; returns it as it is then."""
        task, run = self.drive(key, record), self._runs[key]
        run.callers += 1
        self._alone.pop(key, None)
        try:
            await asyncio.wait({task}, timeout=max(0.0, within_s))
        finally:
            run.callers -= 1
            if run.callers == 0 and self._runs.get(key) is run:
                self._let_go(key, run)
        settled = None if not task.done() or task.cancelled() or task.exception() else task.result()
        return await self._get(key) if settled is None else settled

    async def resume(self, due: Callable[[After], Awaitable[Sequence[Due]]]) -> None:
        """For ever: takes up each record that `due` names, from its recorded state.

        `due` returns the DUE_A_PAGE records that have been due longest and follow the given one. Where not one record
        of a page moved, the next page waits: a peer that is away is not asked for thousands of records at once.
        """
        after: After = None
        stuck = 0
        while True:
            self._moved = False
            page: Sequence[Due] = ()
            try:
                page = await due(after)
                for _, key in page:
                    if key not in self._runs:  # a poke would cut short the pause of one that is under way
                        await self._wait_for_room()
                        self.drive(key)
            except Exception as error:
                _log_failure("resume_failed", error)
            stuck = 0 if self._moved or len(page) < DUE_A_PAGE else stuck + 1
            after = page[-1] if len(page) == DUE_A_PAGE else None
            if after is None:
                await asyncio.sleep(RESUME_INTERVAL_S)
            elif stuck:
                await asyncio.sleep(_longest_pause_s(stuck))

    async def stop(self) -> None:
        """Cancels all tasks; the records stay as they are and are resumed at the next start."""
        tasks = [run.task for run in self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _let_go(self, key: str, run: _Run[Record]) -> None:
        """The last caller has left: the record is driven on if there is room for it, else it gives way itself."""
        if not self._make_room():
            self._give_way(key)
            return
        self._alone[key] = None
        if run.pauses:
            self._pausing[key] = None
        self._changed.set()

    def _make_room(self) -> bool:
        """True if another record may be driven for nobody; if need be, the one that has paused longest gives way."""
        if len(self._alone) < DRIVEN_MAX:
            return True
        if not self._pausing:
            return False
        self._give_way(next(iter(self._pausing)))
        return True

    def _give_way(self, key: str) -> None:
        """Ends a task wherever it is, as a crash would: `resume` takes the record up as it is recorded."""
        self._alone.pop(key, None)
        self._pausing.pop(key, None)
        self._runs.pop(key).task.cancel()

    async def _wait_for_room(self) -> None:
        """Returns once `resume` may begin another one; those that pause give way."""
        while len(self._alone) >= RESUMED_MAX:
            if self._pausing:
                self._give_way(next(iter(self._pausing)))
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _run(self, key: str, run: _Run[Record], record: Record | None) -> Record:
        tries = 0
        try:
            self._detach()
            while True:
                if run.poked.is_set():
                    record = None
                run.poked.clear()  # a poke from here on may be about what this step does not see
                run.due_at_s = math.inf
                record, progress = await self._try(key, record)
                if record is not None and progress is Progress.DONE and not run.poked.is_set():
                    return record
                tries = 0 if progress is Progress.STEPPED else tries + 1
                if progress is Progress.WAITING:
                    await self._pause(key, run, tries)
                if progress is not Progress.STEPPED:
                    record = None
        finally:
            if self._runs.get(key) is run:
                del self._runs[key]
                self._alone.pop(key, None)
                self._changed.set()

    async def _try(self, key: str, record: Record | None) -> tuple[Record | None, Progress]:
        try:
            stepped = await self._step(await self._get(key) if record is None else record)
        except Unanswered as error:
            log.info("peer_unanswered", record=key, error=str(error))
        except Exception as error:
            _log_failure("step_failed", error, record=key)
        else:
            self._moved |= stepped[1] is not Progress.WAITING
            return stepped
        return None, Progress.WAITING

    async def _pause(self, key: str, run: _Run[Record], tries: int) -> None:
        """Full jitter: a uniform share of an exponentially growing pause."""
        run.pauses = True
        if run.callers == 0:
            self._pausing[key] = None
            self._changed.set()
        left_s = run.due_at_s - asyncio.get_running_loop().time()
        pause_s = min(self._rng.uniform(0, _longest_pause_s(tries)), max(0.0, left_s))
        with suppress(TimeoutError):
            await asyncio.wait_for(run.poked.wait(), timeout=pause_s)
        run.pauses = False
        self._pausing.pop(key, None)


def _longest_pause_s(tries: int) -> float:
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S * (1 << min(tries, 10)))


def _log_failure(event: str, error: Exception, **record: str) -> None:
    """A database that is away or busy for a while is one line each time, anything else is a bug."""
    if isinstance(error, Refusal) and error.code in (StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED):
        log.warning("database_unavailable", reason=error.reason, **record)
    else:
        log.exception(event, exc_info=error, **record)
