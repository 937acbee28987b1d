"""Operations that wait for a database, and are run together."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import DBAPIError

from tillmesh.runtime.errors import Refusal
from tillmesh.storage.statements import Transaction

BATCH_MAX = 32
ENOUGH_MAX = 16
"""So many wait no longer: a transaction's own cost, shared by them, is next to nothing."""
GATHER_S = 0.0015
GATHER_S_MAX = 0.012
LAST_COUNTS = 0.25
"""The weight of the last transaction in the average number of operations in one."""


@dataclass(slots=True)
class Waiting:
    """An operation whose caller waits for its outcome."""

    operation: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    context: Context = field(default_factory=copy_context)
    future: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def run(self, transaction: Transaction) -> Any:
        """Runs the operation as its caller."""
        return self.context.run(self.operation, transaction, *self.args, **self.kwargs)


class Gathering:
    """Operations that wait for a transaction; `begin` begins one, if it can, with those that it takes.

    It is mostly transactions that cost, not operations. So where many come at a time they wait a moment for each
    other, the longer the more of them usually share one; where they come one by one, they wait for nobody.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._waiting: list[Waiting] = []
        self._usual = 1.0
        self._since_s = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, operation: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "asyncio.Future[Any]":
        """The outcome of an operation, once its transaction is on disk."""
        waiting = Waiting(operation, args, kwargs)
        if not self._waiting:
            self._since_s = asyncio.get_running_loop().time()
        self._waiting.append(waiting)
        if len(self._waiting) in (1, self.enough()):
            self.go_on()
        return waiting.future

    def go_on(self) -> None:
        """Has a transaction begun for what waits, after a moment; to be called whenever one has ended."""
        if self._timer:
            self._timer.cancel()
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(self.pause_s(), self._begin)

    def take(self) -> list[Waiting]:
        """Those that waited longest, for one transaction."""
        taken, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
        self._since_s = asyncio.get_running_loop().time()
        self._usual += (len(taken) - self._usual) * LAST_COUNTS
        return taken

    async def drain(self) -> None:
        """Returns once all that waits now is done."""
        if self._waiting:
            with suppress(Refusal):
                await self.add(lambda _connection: None)

    def enough(self) -> int:
        """A batch of this size starts at once. It is a third above the average, so that batches can grow."""
        return max(1, min(ENOUGH_MAX, int(self._usual * 4 / 3)))

    def pause_s(self) -> float:
        """Time for which those that wait now still wait for more."""
        if len(self._waiting) >= self.enough():
            return 0.0
        waited_s = asyncio.get_running_loop().time() - self._since_s
        return max(0.0, min(GATHER_S_MAX, GATHER_S * (self._usual - 1)) - waited_s)


class Spoiled(Exception):
    """An operation failed after it wrote: the transaction that it shares must not be committed."""


def outcome(waiting: Waiting, transaction: Transaction) -> Any:
    """Runs one operation in a shared transaction. Raises Spoiled, and DBAPIError unchanged."""
    writes_before = transaction.writes
    try:
        return waiting.run(transaction)
    except DBAPIError:
        raise
    except Exception as error:
        if transaction.writes != writes_before:
            raise Spoiled from error
        return error


def deliver(batch: Sequence[Waiting], outcomes: Sequence[Any]) -> None:
    """Gives each caller its outcome; an exception is raised there."""
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.future.done():
            continue  # the caller was cancelled; its transaction counts all the same
        if isinstance(outcome, BaseException):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
