"""Time, as something that is handed in."""

import time
from typing import Protocol

HOUR_MS = 3_600_000
DAY_MS = 86_400_000


class Clock(Protocol):
    """Wall-clock time of one process. No safety may rest on it: it can jump."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000
