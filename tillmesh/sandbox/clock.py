"""A clock that a test moves: all processes of a sandbox read how far from one file."""

import mmap
import struct
import threading
from datetime import timedelta
from pathlib import Path

from tillmesh.runtime.clock import SystemClock

STEP_MAX = timedelta(days=400)
_OFFSET = struct.Struct("<q")


class SandboxClock(SystemClock):
    """The machine's clock, moved forward by as much as the file in a folder says."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "clock"
        with path.open("ab") as file:
            file.truncate(_OFFSET.size)
        with path.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), _OFFSET.size)
        self._moving = threading.Lock()

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return super().now_ms() + self.ahead_ms()

    def ahead_ms(self) -> int:
        """How far it was moved; it stays so when all servers start anew."""
        return int(_OFFSET.unpack_from(self._offset)[0])

    def move(self, by_ms: int) -> None:
        """Moves it forward, for all processes."""
        with self._moving:
            self._set(self.ahead_ms() + by_ms)

    def set_right(self) -> None:
        """Sets it to the machine's time again."""
        self._set(0)

    def _set(self, offset_ms: int) -> None:
        self._offset[:] = _OFFSET.pack(offset_ms)  # at once: pack_into writes zeros first, which others would read
