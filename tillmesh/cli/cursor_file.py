"""The file in which a watch keeps how far it has come."""

import os
from pathlib import Path

from tillmesh.client.failures import Failure
from tillmesh.runtime.foreign_text import named


class CursorFile:
    """The cursor behind what was printed last. It is there as a whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept = ""

    def read(self) -> str:
        """The cursor; empty without a file."""
        try:
            self._kept = self.path.read_text("ascii").strip()
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as error:
            raise Failure(f"The cursor in {named(self.path)} cannot be read: {error}") from None
        if not self._kept:
            raise Failure(f"There is no cursor in {named(self.path)}. Delete the file, and name --from.")
        return self._kept

    def keep(self, cursor: str) -> None:
        """Writes a cursor down. What was printed up to there is not printed again."""
        if cursor == self._kept:
            return
        fresh = self.path.with_name(f".{self.path.name}.new")
        try:
            with fresh.open("w", encoding="ascii") as file:
                file.write(f"{cursor}\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            raise Failure(f"The cursor cannot be kept in {named(self.path)}: {error}") from None
        self._kept = cursor
