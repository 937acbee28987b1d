"""Hearing what happens, instead of asking again and again."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TypeVar

Seen = TypeVar("Seen")


async def heard(seen: AsyncGenerator[Seen], done: Callable[[Seen], bool]) -> Seen:
    """The record, once it is as it is waited for."""
    async with aclosing(seen):
        async for one in seen:
            if done(one):
                return one
    raise AssertionError("a watch does not end")
