"""Operations that wait for a database, and are run together."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import DBAPIError

from tillmesh.runtime.statements import Connection

FEW = 2
"""As many find each other while the transaction before theirs is under way."""
GATHER_S = 0.003
GATHER_S_MAX = 0.006


@dataclass(slots=True)
class Waiting:
    """An operation whose caller waits for its outcome."""

    operation: Callable[[Connection], Any]
    context: Context = field(default_factory=copy_context)
    future: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def run(self, connection: Connection) -> Any:
        """Runs the operation as its caller."""
        return self.context.run(self.operation, connection)


def enough(shared_by: int) -> int:
    """How many operations wait no longer: a third more than shared the last transaction, so that it grows if it can."""
    return shared_by + shared_by // 3


def gather_s(waiting: int, shared_by: int) -> float:
    """How long so many operations wait for more to share their transaction; `shared_by` as many shared the last one.

    It is mostly transactions that cost, not operations. Where they come one by one, they wait for nobody.
    """
    return 0 if waiting >= enough(shared_by) else min(GATHER_S_MAX, GATHER_S * max(0, shared_by - FEW))


class Spoiled(Exception):
    """An operation failed after it wrote: the transaction that it shares must not be committed."""


def outcome(waiting: Waiting, connection: Connection) -> Any:
    """What an operation came to in a transaction that it shares; raises Spoiled, and DBAPIError as it is."""
    writes_before = connection.writes
    try:
        return waiting.run(connection)
    except DBAPIError:
        raise
    except Exception as error:
        if connection.writes != writes_before:
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
