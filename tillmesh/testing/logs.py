"""What the servers logged during a test."""

from collections.abc import Sequence
from pathlib import Path

LINES_MAX = 20
BYTES_MAX = 32 * 1024


class Logs:
    """The servers' log files, from a moment on."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._begin = dict.fromkeys(files, 0)

    def begin(self) -> None:
        """That moment is now."""
        self._begin = {file: _size(file) for file in self._begin}

    def sections(self) -> list[tuple[str, str]]:
        """Title and text of each log that was written since, its last lines alone."""
        texts = {file: _last_lines(file, begin) for file, begin in self._begin.items()}
        return [(f"Log of {file.stem} during the test, its last lines", text) for file, text in texts.items() if text]


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _last_lines(file: Path, begin: int) -> str:
    if (size := _size(file)) <= begin:
        return ""
    with file.open("rb") as log:
        log.seek(max(begin, size - BYTES_MAX))
        return "\n".join(log.read(BYTES_MAX).decode(errors="replace").splitlines()[-LINES_MAX:])
