"""Operations that wait for a database, and share its transactions.

It is mostly transactions that cost, not operations. So a transaction begins when as many operations wait as usually
share one, or after a pause that is longer the more usually share one. Where operations come one by one, none waits for
another; where many come, many share, and the pause mostly ends before its time.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.metrics import WAITING
from tillmesh.runtime.spans import Kind, Span, begin
from tillmesh.storage.statements import Transaction

BATCH_MAX = 32
WAITING_MAX = 64
"""A call that begins behind so many operations is refused: it would use its deadline up, and keep others waiting."""
PAUSE_S = 0.0015
"""The pause for each other operation that usually shares a transaction."""
PAUSE_S_MAX = 0.006
LAST_COUNTS = 0.1
"""The part of the last transaction in the average of how many operations share one."""
BUSY_MS = 500
"""A refused call makes sense again after so long."""
Operation = TypeVar("Operation", bound=Callable[..., Any])
log = structlog.get_logger()
_PLACE = "place_of_rows"
_admitted: ContextVar[bool] = ContextVar("admitted", default=False)


def takes_turns(place: int) -> Callable[[Operation], Operation]:
    """Marks an operation that changes rows which many want at once: on PostgreSQL it waits for them in a queue.

    Any other operation sees one moment, and loses the race if a row was changed since. This one sees the newest rows in
    each statement. So nothing may rest on what it read before it took a row, but for what the condition of an UPDATE
    or a unique index checks again. Those that share a transaction run in the order of their places, in which all
    take the rows that many want: else two transactions would wait for each other.
    """

    def mark(operation: Operation) -> Operation:
        setattr(operation, _PLACE, place)
        return operation

    return mark


def like(operation: Callable[..., Any], other: Operation) -> Operation:
    """Marks another operation as this one is marked."""
    place = _place(operation)
    return other if place is None else takes_turns(place)(other)


def _place(operation: Callable[..., Any]) -> int | None:
    place: int | None = getattr(operation, _PLACE, None)
    return place


def _end(span: Span, _future: object) -> None:
    span.end()


@dataclass(slots=True)
class Waiting:
    """An operation whose caller waits for its outcome."""

    operation: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: Context = field(default_factory=copy_context)
    future: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def place(self) -> int | None:
        """The place of the rows for which it takes turns; None if it takes none."""
        return _place(self.operation)


class Queue:
    """Operations that wait for a transaction; `begin` begins one, if it can, with those that it takes.

    It is bounded: a call whose first operation would wait behind too many is refused, and nothing of it was done. Its
    later operations are never refused, or the call would be half done.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._waiting: deque[Waiting] = deque()
        self._usual = 1.0
        self._beginning: asyncio.Handle | None = None
        self._pausing = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, operation: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "asyncio.Future[Any]":
        """The outcome of an operation, once it is on disk; STORAGE_OVERLOADED for a call that may not begin."""
        if len(self._waiting) >= WAITING_MAX and not _admitted.get():
            raise CommonReason.STORAGE_OVERLOADED(waiting=len(self._waiting), retry_after_ms=BUSY_MS)
        _admitted.set(True)
        waiting = Waiting(operation, args, kwargs)
        if (span := begin("transaction", Kind.INSIDE)).span_id:
            waiting.future.add_done_callback(partial(_end, span))
        self._waiting.append(waiting)
        # A transaction that is due is left where it is, or it would never begin while something comes in each round.
        if self._beginning is None or (self._pausing and self._are_enough()):
            self.go_on()
        return waiting.future

    def go_on(self) -> None:
        """Has a transaction begun for what waits, if anything does; to be called whenever one has ended."""
        if self._beginning:
            self._beginning.cancel()
            self._beginning = None
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        self._pausing = not self._are_enough()
        if self._pausing:
            self._beginning = loop.call_later(min(PAUSE_S_MAX, PAUSE_S * (self._usual - 1)), self._begin_now)
        else:  # what comes in the same round of the event loop shares it as well
            self._beginning = loop.call_soon(self._begin_now)

    def take(self, fits: Callable[[Waiting], bool] = lambda _waiting: True) -> list[Waiting]:
        """Those that waited longest of those that fit, for one transaction; without those whose callers have left."""
        WAITING.set(len(self._waiting))
        taken: list[Waiting] = []
        others: list[Waiting] = []
        while self._waiting and len(taken) < BATCH_MAX:
            waiting = self._waiting.popleft()
            if not waiting.future.done():
                (taken if fits(waiting) else others).append(waiting)
        self._waiting.extendleft(reversed(others))
        if taken:
            self._usual += (len(taken) - self._usual) * LAST_COUNTS
        return taken

    def _are_enough(self) -> bool:
        return len(self._waiting) >= round(self._usual)

    def _begin_now(self) -> None:
        self._beginning = None
        self._begin()

    async def drain(self) -> None:
        """Returns once nothing waits any more, and what waited is done."""
        while waiting := [one.future for one in self._waiting if not one.future.done()]:
            await asyncio.wait(waiting)


def run_together(
    batch: Sequence[Waiting], transaction: Transaction, start_again: Callable[[Exception], None]
) -> list[Any]:
    """Runs operations in one transaction, each as its caller. What one raises is its own outcome.

    An operation that fails after it wrote, or in a statement, spoils the transaction: `start_again` rolls it back and
    begins another, in which the others run again. It raises where the error is not that operation's own.
    """
    spoiled: dict[int, Exception] = {}
    while True:
        outcomes: list[Any] = []
        for index, waiting in enumerate(batch):
            if index in spoiled:
                outcomes.append(spoiled[index])
                continue
            writes_before = transaction.writes
            try:
                outcomes.append(waiting.context.run(waiting.operation, transaction, *waiting.args, **waiting.kwargs))
            except Exception as error:
                outcomes.append(error)
                if isinstance(error, DBAPIError) or transaction.writes != writes_before:
                    spoiled[index] = error
                    break
        else:
            return outcomes
        log.info("operation_spoiled", operations=len(batch), error=type(spoiled[index]).__name__)
        start_again(spoiled[index])


def deliver(batch: Sequence[Waiting], outcomes: Sequence[Any]) -> None:
    """Gives each caller its outcome; an exception is raised there."""
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.future.done():
            continue  # the caller was cancelled; its transaction counts all the same
        if isinstance(outcome, BaseException):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
