"""Time that a test decides."""


class ManualClock:
    """Stands until a test moves it, forwards or back."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return self._now_ms

    def advance(self, span_ms: int) -> None:
        """Moves it by `span_ms`, which may be negative."""
        self._now_ms += span_ms
