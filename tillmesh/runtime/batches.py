"""Operations that wait for a database, and are run together."""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from tillmesh.runtime.statements import Connection


@dataclass(slots=True)
class Waiting:
    """An operation whose caller waits for its outcome."""

    operation: Callable[[Connection], Any]
    context: Context = field(default_factory=copy_context)
    future: "asyncio.Future[Any]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def run(self, connection: Connection) -> Any:
        """Runs the operation as its caller."""
        return self.context.run(self.operation, connection)


def deliver(batch: Sequence[Waiting], outcomes: Sequence[Any]) -> None:
    """Gives each caller its outcome; an exception is raised there."""
    for waiting, outcome in zip(batch, outcomes, strict=True):
        if waiting.future.done():
            continue  # the caller was cancelled; its transaction counts all the same
        if isinstance(outcome, BaseException):
            waiting.future.set_exception(outcome)
        else:
            waiting.future.set_result(outcome)
