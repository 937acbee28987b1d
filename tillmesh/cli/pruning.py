"""Prunes the databases of servers: counts what is old, and removes it a few hundred rows at a time."""

import getpass
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import import_module

from rich.progress import Progress
from sqlalchemy import MetaData

from tillmesh.auth.callers import act_as
from tillmesh.client.failures import Failure
from tillmesh.local.processes import ServerName
from tillmesh.runtime.clock import DAY_MS, SystemClock
from tillmesh.storage.database import Database, open_database
from tillmesh.storage.file_lock import sole_user
from tillmesh.storage.pruning import START, Position, Prunable


@dataclass(slots=True)
class Old:
    """What is old in one table, and what was removed of it."""

    server: ServerName
    table: str
    records: int
    removed: int = 0
    rows: int = 0


@dataclass(slots=True)
class Pruned:
    """What was found in all databases."""

    tables: list[Old] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    """What is wrong with records that were left alone."""


class Pruner:
    """Prunes one database after the other; `days` is how old something has to be."""

    def __init__(self, days: int, progress: Progress, *, remove: bool) -> None:
        self._clock = SystemClock()
        self._before_ms = self._clock.now_ms() - days * DAY_MS
        self._progress = progress
        self._remove = remove
        self.found = Pruned()

    async def run(self, server: ServerName, url: str) -> None:
        """Counts what is old in a database, and removes it unless it only has to be counted."""
        act_as(operator())
        metadata: MetaData = import_module(f"{server}.tables").METADATA
        prunable: Sequence[Prunable] = import_module(f"{server}.pruning").PRUNABLE
        with ExitStack() as held:
            try:
                held.enter_context(sole_user(url))
            except ValueError:
                raise Failure(f"{server}: A server uses this SQLite file; stop it first.") from None
            database = open_database(url, metadata)
            try:
                for part in prunable:
                    await self._prune(server, database, part)
            finally:
                await database.close()

    async def _prune(self, server: ServerName, database: Database, part: Prunable) -> None:
        old = Old(server, part.name, await database.run(part.count, self._before_ms))
        self.found.tables.append(old)
        task = self._progress.add_task(f"{server}: {part.name}", total=old.records)
        after: Position | None = START if self._remove and old.records else None
        while after is not None:
            page = await database.run(part.prune, self._before_ms, after, self._clock.now_ms())
            old.removed += page.records
            old.rows += page.rows
            self.found.findings += [f"{server}: {part.name} of {finding}" for finding in page.findings]
            self._progress.advance(task, page.records + page.left_alone)
            after = page.after


def operator() -> str:
    """Who runs the command, as the system says."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "unknown"
    return f"operator:{user}@{socket.gethostname()}"
