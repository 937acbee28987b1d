"""Runs `tillmesh watch` beside a test, as a process of its own."""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.cli.command_line import TILLMESH, environment
from tests.processes import DEADLINE_S
from tillmesh.client.connections import Addresses


class Watching:
    """A watch under way; what it prints goes to files."""

    def __init__(self, mesh: Addresses, folder: Path, *arguments: str | Path) -> None:
        self._said, self._complained = folder / "watch.out", folder / "watch.err"
        with self._said.open("w") as out, self._complained.open("w") as err:
            self.process = subprocess.Popen(
                [TILLMESH, *arguments], stdout=out, stderr=err, env=environment(mesh), start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def lines(self) -> list[str]:
        """Every whole line that was printed."""
        return [line for line in self._said.read_text().splitlines(keepends=True) if line.endswith("\n")]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The same of a watch with --json."""
        return [json.loads(line) for line in self.lines]

    @property
    def complaints(self) -> str:
        """What it said on standard error."""
        return self._complained.read_text()

    def until(self, reached: Callable[[Sequence[str]], bool]) -> None:
        """Returns once the lines are so."""
        end = time.monotonic() + DEADLINE_S
        while not reached(self.lines):
            assert self.process.poll() is None, self.complaints
            assert time.monotonic() < end, self.lines
            time.sleep(0.01)

    def interrupted(self) -> int:
        """The exit status after Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(DEADLINE_S)
