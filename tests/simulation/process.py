"""One life of a server: what it started dies with it, and reaches nothing any more."""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any


class Process:
    """From a start to a crash."""

    def __init__(self) -> None:
        self.alive = True
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self.at_death: dict[object, Callable[[], None]] = {}
        """What the rest of the world does once it is dead: connections end."""

    def own(self, task: "asyncio.Task[Any]") -> None:
        """Notes a task that dies with the process."""
        self._tasks[task] = None
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    def die(self) -> None:
        """kill -9."""
        self.alive = False
        for task in list(self._tasks):
            task.cancel()
        self._tasks.clear()
        for do in list(self.at_death.values()):
            do()


running: ContextVar[Process | None] = ContextVar("running", default=None)


def is_dead() -> bool:
    """True for what was started by a process that has crashed since."""
    process = running.get()
    return process is not None and not process.alive


async def nothing_more() -> None:
    """Where a dead process stops: asyncio can swallow a cancellation, the dead must not act on that."""
    await asyncio.get_running_loop().create_future()


def owned_tasks(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
    """A task factory: a task belongs to the process that starts it."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    process = running.get()
    if process is not None:
        process.own(task)
    return task
