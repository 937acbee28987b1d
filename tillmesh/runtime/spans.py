"""Spans: how long each part of a trace took. They are made while a collector is named, and cost next to nothing else.

A span has a name from a closed set, such as a method, and a code. No text of an error and nothing that a caller sent is
in it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Protocol

from tillmesh.runtime.telemetry import span_id


class Kind(Enum):
    """What a span is of."""

    SERVED = "a call that was served"
    MADE = "a call to another server"
    INSIDE = "something that no other server sees"


class Span(Protocol):
    """A span that has begun."""

    span_id: str

    def say(self, **facts: str) -> None:
        """Adds facts from closed sets, such as the code of a call."""

    def end(self) -> None:
        """It is over now."""


Begin = Callable[[str, Kind], Span]
"""Begins a span of that name, in the trace and below the span that this task is in."""
_begin: Begin | None = None


def make_with(begin: Begin | None) -> None:
    """Has spans made from now on, or with None no longer."""
    global _begin
    _begin = begin


class _NoSpan:
    span_id = ""

    def say(self, **_facts: str) -> None:
        """Nobody collects it."""

    def end(self) -> None:
        """Nobody collects it."""


_NO_SPAN = _NoSpan()


def begin(name: str, kind: Kind) -> Span:
    """Begins a span that others do not stand below."""
    return _begin(name, kind) if _begin else _NO_SPAN


@contextmanager
def span(name: str, kind: Kind) -> Iterator[Span]:
    """A span for the length of a block; what is asked meanwhile stands below it."""
    if _begin is None:
        yield _NO_SPAN
        return
    begun = _begin(name, kind)
    before = span_id.get()
    span_id.set(begun.span_id)
    try:
        yield begun
    finally:
        span_id.set(before)
        begun.end()
