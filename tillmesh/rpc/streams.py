"""Streams: each sends what happened to some records, part by part as its reader takes them.

One task of a process looks for new rows, and wakes the streams that want them. A stream then reads for itself, from
where it is. So an idle stream costs nothing, and a slow reader costs nothing and misses nothing.
"""

import asyncio
import math
import random
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import structlog

from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.rounds import go_round
from tillmesh.storage.database import Database
from tillmesh.storage.feeds import EVERYTHING, Feed, Only, Part, Place, place_of
from tillmesh.storage.statements import Row, Transaction

OLDEST = "oldest"
"""The cursor before the oldest row that is kept."""
BOOKMARK_S = 15.0
"""At the latest; streams that began together, as after a restart, soon have theirs at different times."""
STREAM_S_MAX = 540.0
"""A stream ends before the grace of its connection does (`transport`), with a bookmark."""
READS_AT_A_TIME = 8
"""Of all streams, so that calls find a place in the queue of the database, however many streams are woken."""
PART_ROWS = 100
LOOK_ROWS = 500
GATHER_S = 0.01
"""What happens within so long after the first is looked for together."""
SCAN_REST_S = 0.005
UNSETTLED_REST_S = 0.02
UNSETTLED_REST_S_MAX = 0.5
LOOK_ANYWAY_S = 5.0
"""In case another process could not tell what it wrote."""
LAG_TOLD_MS = 5_000
Outcome = TypeVar("Outcome")
log = structlog.get_logger()


class _Ear:
    """What a stream has heard of since it last read."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self._before: Place | None = None

    def hear(self, before: Place | None) -> None:
        """There are rows for this stream, and none up to that place that it has not heard of before."""
        if not self.heard.is_set():
            self._before = before
            self.heard.set()

    def take(self) -> Place | None:
        """The place before the first row that was heard of; from now on it hears anew."""
        before, self._before = self._before, None
        self.heard.clear()
        return before

    async def wait(self, timeout_s: float) -> None:
        """Returns once something is heard, or the time is over."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.heard.wait()


class Streams:
    """The streams of one process over one feed."""

    def __init__(self, database: Database, feed: Feed, clock: Clock, rng: random.Random) -> None:
        self._database, self._feed, self._clock, self._rng = database, feed, clock, rng
        self._ears: defaultdict[Only, dict[_Ear, None]] = defaultdict(dict)
        self._looked_at: Place | None = None
        """Every row up to here was told to the streams that want it; None while there is no stream."""
        self._reading = asyncio.Semaphore(READS_AT_A_TIME)
        self._scanning = asyncio.Lock()
        self._ending = False
        self._anyway_s = LOOK_ANYWAY_S if database.replica else math.inf
        self.looks = 0
        """How often new rows were looked for."""
        self.lag_ms = 0
        """The age of the oldest row that waits for older transactions to end."""

    @property
    def open(self) -> int:
        """The number of streams."""
        return sum(map(len, self._ears.values()))

    def cursor(self, place: Place) -> str:
        """A place as its readers see it."""
        return place.sealed(self._database.seal, self._feed.name)

    def newest(self, transaction: Transaction) -> str:
        """The cursor of now, as a transaction sees it."""
        return self.cursor(self._feed.newest(transaction))

    async def read(self, operation: Callable[..., Outcome], *args: Any) -> Outcome:
        """What an operation reads for a stream, once it is its turn."""
        async with self._reading:
            return await self._database.run(operation, *args)

    async def begin(self, cursor: str) -> Place:
        """The place of a cursor; CURSOR_EXPIRED where no stream can begin there."""
        if cursor == "":
            return await self._database.run(self._feed.newest)
        if cursor == OLDEST:
            return await self._database.run(self._feed.oldest)
        place = Place.unsealed(cursor, self._database.seal, self._feed.name)
        await self._database.run(self._feed.require_kept, place)
        return place

    async def parts(self, place: Place, only: Only, wanted: Callable[[Row], bool]) -> AsyncGenerator[Part]:
        """What follows a place: rows, or none as a bookmark. The first part comes at once."""
        loop = asyncio.get_running_loop()
        bookmark_s, end_s = loop.time(), loop.time() + STREAM_S_MAX
        caught_up = False
        with self._listening(only) as ear:
            while True:
                looked_at = self._looked_at
                before = ear.take() if ear.heard.is_set() else looked_at
                if caught_up:  # else rows before those that were heard of are still to be read
                    place = _later(place, before)
                part = await self.read(self._feed.read, place, only, PART_ROWS)
                caught_up = not part.more
                place = _later(part.end, looked_at) if caught_up else part.end
                if rows := [row for row in part.rows if wanted(row)]:
                    yield Part(rows, place, part.more)
                    bookmark_s = loop.time() + self._bookmark_s()
                elif part.more:
                    await self._rest_of_scans()
                if loop.time() >= bookmark_s:
                    yield Part((), place, part.more)
                    bookmark_s = loop.time() + self._bookmark_s()
                if caught_up and not self._ending:
                    await ear.wait(min(bookmark_s, end_s) - loop.time())
                if self._ending or loop.time() >= end_s:
                    yield Part((), place, more=True)
                    return

    async def run(self) -> None:
        """Looks for new rows until it is cancelled; then every stream ends with a bookmark."""
        hearing = asyncio.create_task(self._database.hear_others())
        try:
            await go_round("streams", self.round, self._until_changed)
        finally:
            self._ending = True
            self._wake_all()
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def round(self) -> float:
        """Wakes the streams that want what is new; returns after how many seconds to look although nothing changed."""
        await asyncio.sleep(GATHER_S)
        self._database.changed.clear()
        if not self.open:
            self._looked_at, self.lag_ms = None, 0
            if not self._database.untold:
                return self._anyway_s
        try:
            rows, newest, since_ms = await self._database.run(self._look, self._looked_at)
        except Refusal as refusal:
            if refusal.reason == CommonReason.CURSOR_EXPIRED.name:  # begins anew, and wakes all
                self._looked_at = None
            raise
        self.looks += 1
        self._tell(rows, newest)
        return self._rest_s(since_ms) if len(rows) < LOOK_ROWS else 0.0

    def _look(self, transaction: Transaction, after: Place | None) -> tuple[Sequence[Row], Place, int | None]:
        """The rows behind a place, the place to go on from, and since when a row waits to be settled."""
        self._database.tell_others(transaction)
        if after is None:
            return (), self._feed.newest(transaction), None
        part = self._feed.read(transaction, after, EVERYTHING, LOOK_ROWS)
        return part.rows, part.end, self._feed.unsettled_since_ms(transaction)

    def _tell(self, rows: Sequence[Row], newest: Place) -> None:
        if self._looked_at is None:
            self._looked_at = newest
            self._wake_all()  # what came since they began was told to nobody
            return
        columns = dict.fromkeys(only.column for only in self._ears)
        for row in rows:
            for column in columns:
                for ear in self._ears.get(Only(column, row[column]) if column else EVERYTHING, ()):
                    ear.hear(self._looked_at)
            self._looked_at = place_of(row)

    def _bookmark_s(self) -> float:
        return self._rng.uniform(BOOKMARK_S / 2, BOOKMARK_S)

    async def _rest_of_scans(self) -> None:
        """Lets one stream after the other read on that found nothing, so that calls go on beside however many."""
        async with self._scanning:
            await asyncio.sleep(SCAN_REST_S)

    def _rest_s(self, unsettled_since_ms: int | None) -> float:
        if unsettled_since_ms is None:
            self.lag_ms = 0
            return self._anyway_s
        lag_before_ms, self.lag_ms = self.lag_ms, max(0, self._clock.now_ms() - unsettled_since_ms)
        if lag_before_ms <= LAG_TOLD_MS < self.lag_ms:
            log.warning("streams_lag", ms=self.lag_ms)
        return min(UNSETTLED_REST_S_MAX, max(UNSETTLED_REST_S, self.lag_ms / 4_000))

    async def _until_changed(self, at_most_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(None if at_most_s == math.inf else at_most_s):
                await self._database.changed.wait()

    def _wake_all(self) -> None:
        for ears in self._ears.values():
            for ear in ears:
                ear.hear(None)

    @contextmanager
    def _listening(self, only: Only) -> Iterator[_Ear]:
        ear = _Ear()
        self._ears[only][ear] = None
        self._database.changed.set()
        try:
            yield ear
        finally:
            self._ears[only].pop(ear, None)
            if not self._ears[only]:
                del self._ears[only]


def _later(place: Place, other: Place | None) -> Place:
    return place if other is None else max(place, other)
