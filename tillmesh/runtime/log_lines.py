"""Lines for a log, written by a thread of its own: who adds a line neither waits nor fails."""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from tillmesh.runtime.foreign_text import visible_lines

LINES_MAX = 10_000
"""So many lines wait for a reader that is slow; what comes then is dropped and counted."""
GATHER_S = 0.01
"""Lines that come within this time share a write, so that the thread does not interrupt the calls for each."""
RETRY_S = 1.0
"""How often a dropped line is told anew where nothing else is logged."""


class LineWriter:
    """A bounded queue of lines, and the daemon thread that writes them to a file descriptor.

    Lines are dropped where the queue is full or a write fails. They are counted, and once writing works again one line
    tells how many there were: `told` makes it of their number.
    """

    def __init__(self, descriptor: int, told: Callable[[int], str], lines_max: int = LINES_MAX) -> None:
        self._descriptor = descriptor
        self._told = told
        self._lines_max = lines_max
        # Both may be entered anew by the thread that is in them: a finalizer logs wherever it happens to run.
        self._waiting: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._counting = threading.RLock()
        self._dropped = 0
        self.dropped_ever = 0
        """Of these, also those that a line has told of."""
        self._torn = False
        threading.Thread(target=self._write_for_ever, name="log", daemon=True).start()

    def add(self, line: str) -> None:
        """Hands a line to the thread."""
        if self._waiting.qsize() < self._lines_max:
            self._waiting.put(line)
        else:
            self._drop(1)

    def flush(self, within_s: float) -> None:
        """Returns once all that was added is written or dropped, or the time is over."""
        flushed = threading.Event()
        self._waiting.put(flushed)
        flushed.wait(within_s)

    def _drop(self, count: int) -> None:
        with self._counting:
            self._dropped += count
            self.dropped_ever += count

    def _keep_untold(self, count: int) -> None:
        with self._counting:
            self._dropped += count

    def _take_dropped(self) -> int:
        with self._counting:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def _write_for_ever(self) -> None:
        while True:
            taken = list(self._take())
            lines = [line for line in taken if isinstance(line, str)]
            dropped = self._take_dropped()
            if dropped:
                lines.insert(0, self._told(dropped))
            lost = self._write(lines)
            is_told = not (dropped and lost == len(lines))
            self._drop(lost if is_told else lost - 1)
            if not is_told:
                self._keep_untold(dropped)
            for flushed in taken:
                if isinstance(flushed, threading.Event):
                    flushed.set()

    def _take(self) -> Iterator[str | threading.Event]:
        """What waits, once something does, or once it is time to tell what was dropped."""
        with suppress(Empty):
            yield self._waiting.get(timeout=RETRY_S if self._dropped else None)
            time.sleep(GATHER_S)
            for _ in range(self._lines_max):
                yield self._waiting.get_nowait()

    def _write(self, lines: Sequence[str]) -> int:
        """Writes the lines, up to an error; returns how many of them are not there as a whole."""
        if not lines:
            return 0
        # After half a line that an error left, the next one begins on a line of its own.
        start = b"\n" if self._torn else b""
        pieces = [f"{visible_lines(line)}\n".encode() for line in lines]
        written = self._write_bytes(start + b"".join(pieces))
        if written == 0:
            return len(lines)
        end, whole = len(start), 0
        while whole < len(pieces) and end + len(pieces[whole]) <= written:
            end += len(pieces[whole])
            whole += 1
        self._torn = written > end
        return len(pieces) - whole

    def _write_bytes(self, content: bytes) -> int:
        """How much of it was written before an error, if there was one."""
        written = 0
        with suppress(OSError):
            while written < len(content):
                try:
                    written += os.write(self._descriptor, content[written:])
                except BlockingIOError:  # whoever shares the descriptor made it so
                    select.select([], [self._descriptor], [])
        return written
