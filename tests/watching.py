"""Readers of streams, for tests."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Self

from tests.processes import DEADLINE_S


class Reader:
    """Reads a stream in a task of its own; use it as an asynchronous context manager."""

    def __init__(self, stream: AsyncGenerator[Any]) -> None:
        self._stream = stream
        self._news = asyncio.Condition()
        self.answers: list[Any] = []
        self._task = asyncio.create_task(self._read())

    async def __aenter__(self) -> Self:
        await self.until(lambda: bool(self.answers))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def updates(self) -> list[Any]:
        """Everything that was sent so far."""
        return [update for answer in self.answers for update in answer.updates]

    @property
    def cursor(self) -> str:
        """That of the last answer."""
        return str(self.answers[-1].cursor)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Returns once it holds of what was read; raises what the stream ended with."""
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(lambda: reached() or self._task.done())
        if not reached():
            self._task.result()
            raise AssertionError(f"the stream ended after {self.answers}")

    async def read(self, count: int) -> list[Any]:
        """So many updates, once they are there."""
        await self.until(lambda: len(self.updates) >= count)
        return self.updates

    async def end(self) -> None:
        """Returns once the stream has ended; raises what it ended with."""
        async with asyncio.timeout(DEADLINE_S):
            await self._task

    async def _read(self) -> None:
        try:
            async with aclosing(self._stream) as answers:
                async for answer in answers:
                    self.answers.append(answer)
                    await self._tell()
        finally:
            await asyncio.shield(self._tell())

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()
