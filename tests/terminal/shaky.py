"""A terminal, or a payment server, whose links break."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.links import Link
from tests.processes import Server, start_server
from tests.terminal.till import Behind, Till


@dataclass
class Shaky:
    """A terminal that can be killed, at the end of links that can be broken."""

    folder: Path
    flags: list[str]
    server: Server
    orders: Link
    payments: Link

    @contextmanager
    def till(self) -> Iterator[Till]:
        with self.server.channel() as channel:
            yield Till(channel)

    def restart(self) -> None:
        """The same database, the same address."""
        self.server = start_server("store_terminal", self.folder, *self.flags, listen=self.server.address)


@dataclass(frozen=True)
class CutOff:
    """A till, and a payment server whose link to the order service can be broken."""

    till: Till
    behind: Behind
    orders: Link
