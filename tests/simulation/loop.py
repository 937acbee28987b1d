"""An asyncio event loop whose time passes only when nothing else is left to do."""

import asyncio
from typing import Any


class Deadlock(Exception):
    """Every task waits for something that cannot come."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in a fixed order; waiting costs no real time."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0
        self._selector = self  # the base loop waits by `select(timeout)`

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_s

    def select(self, timeout: float | None) -> list[Any]:
        """Passes the time until the next timer."""
        if timeout is None:
            raise Deadlock
        if timeout > 0:
            self._virtual_s += timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no file events here."""
        del event_list
