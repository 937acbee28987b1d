"""Where the servers keep their data."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from psycopg import sql

from bench.machine import Processes
from bench.servers import POSTGRES, TERMINAL, DatabaseUrl
from tests.postgres import running_cluster


class Databases(Protocol):
    """A kind of database; a context manager, within which it can be used."""

    def __enter__(self) -> Self:
        """Starts it, where there is something to start."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops it."""

    def of(self, stack: str) -> DatabaseUrl:
        """The databases of a stack of servers of that name, empty at first."""

    def processes(self) -> Processes:
        """The processes of the database itself, where it has any."""


class SqliteFiles:
    """Files, which each server opens itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing runs; the files go with their folder."""

    def of(self, stack: str) -> DatabaseUrl:
        """A folder for each stack."""
        return lambda server: f"sqlite:///{(self._folder / stack / server).resolve()}.db"

    def processes(self) -> Processes:
        """None: it runs within the servers."""
        return {}


class Postgres:
    """A PostgreSQL server of its own with its settings as they come, so every commit is on disk; tills have files."""

    def __init__(self, folder: Path) -> None:
        self._tills = SqliteFiles(folder)
        self._known: set[str] = set()

    def __enter__(self) -> Self:
        self._running = running_cluster()
        self.cluster = self._running.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops the server and removes its data."""
        self._running.__exit__(kind, error, traceback)

    def of(self, stack: str) -> DatabaseUrl:
        """A database for each server of each stack."""

        def url(server: str) -> str:
            is_till = server.startswith(TERMINAL)
            return self._tills.of(stack)(server) if is_till else self.database(f"{stack}_{server}")

        return url

    def database(self, name: str) -> str:
        """The URL of the database of that name, which is made at its first use."""
        if name not in self._known:
            self.cluster.sql(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
            self._known.add(name)
        return self.cluster.url(name)

    def processes(self) -> Processes:
        """The server; a process of its own for each connection is started by it."""
        assert self.cluster.watchdog is not None
        return {POSTGRES: [self.cluster.watchdog.pid]}


KINDS: dict[str, Callable[[Path], Databases]] = {"sqlite": SqliteFiles, "postgres": Postgres}
"""By name, each in a folder that is there for it."""
