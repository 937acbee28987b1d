"""The caller's deadline, which bounds every call made on its behalf."""

import asyncio
from contextvars import ContextVar

ANSWER_WITHIN_S = 10.0
ANSWER_MARGIN_S = 0.25
"""Kept of the caller's deadline, so that the answer comes before it."""
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


def set_deadline(remaining_s: float | None) -> None:
    """Takes over the deadline of the request being served; None lifts it."""
    _deadline.set(None if remaining_s is None else asyncio.get_running_loop().time() + remaining_s)


def remaining_s(at_most: float) -> float:
    """Seconds left for a call, `at_most` those given; not below zero."""
    deadline = _deadline.get()
    if deadline is None:
        return at_most
    return max(0.0, min(at_most, deadline - asyncio.get_running_loop().time()))


def time_to_answer_s() -> float:
    """Seconds in which an answer must be found to reach the caller in time; not below zero."""
    return max(0.0, remaining_s(ANSWER_WITHIN_S) - ANSWER_MARGIN_S)
