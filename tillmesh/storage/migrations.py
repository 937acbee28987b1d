"""Brings a database to the next version of its schema, with Alembic.

The migrations of a service are the files NUMBER_what.py in its folder `migrations`. Each is one transaction under
a lock, so an upgrade that is cut short has done whole steps, and goes on when it is repeated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alembic import op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData

from tillmesh.storage.schema import NO_VERSION, VERSION_TABLE, alone, is_empty, stored_version


@dataclass(frozen=True)
class Step:
    """A migration that was done."""

    version: str
    what: str
    """The first line of its text."""


class Migrations:
    """All versions of one service's schema."""

    def __init__(self, folder: Path) -> None:
        self._scripts = ScriptDirectory(folder, version_locations=[folder])
        scripts = {script.revision: script.doc for script in self._scripts.walk_revisions()}
        self.versions = dict(sorted(scripts.items()))
        """The changes of each version, oldest first."""

    @property
    def newest(self) -> str:
        """The version that the service needs."""
        return list(self.versions)[-1]

    def found(self, engine: Engine) -> str | None:
        """The version that a database is at; None where nothing says so."""
        with engine.connect() as connection:
            return stored_version(connection)

    def upgrade(self, engine: Engine) -> Iterator[Step]:
        """Brings a database on; ValueError where no migration leads on from what is there."""
        _forget_references(engine)
        while version := self._upgrade_once(engine):
            yield Step(version, self.versions[version])

    def _upgrade_once(self, engine: Engine) -> str | None:
        """The version that one step led to; None where none was left."""
        with alone(engine) as connection:
            found = stored_version(connection)
            if found is None and not is_empty(connection):
                raise ValueError(f"the database {engine.url} {NO_VERSION}")
            if found not in (None, *self.versions):
                newest = f"this release knows {self.newest} as the newest"
                raise ValueError(f"the database {engine.url} is at version {found} of its schema, {newest}")
            if found == self.newest:
                return None
            self._run(connection)
            _check_references(connection)
            return stored_version(connection)

    def _run(self, connection: Connection) -> None:
        """The next migration."""
        steps = MigrationContext.configure(
            connection, opts={"fn": lambda heads, _context: self._scripts._upgrade_revs("+1", heads)}
        )
        with Operations.context(steps):
            steps.run_migrations()


def _forget_references(engine: Engine) -> None:
    """SQLite changes a column by making its table anew; what refers to it may not notice meanwhile."""
    if engine.dialect.name == "sqlite":
        driver = engine.raw_connection()
        driver.cursor().execute("PRAGMA foreign_keys = OFF")
        driver.close()


def _check_references(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            raise ValueError(f"rows refer to others that are not there: {broken[:5]}")


def make_tables(metadata: MetaData) -> None:
    """Makes the tables of a service in its first migration. Alembic has made the version table."""
    tables = [table for table in metadata.sorted_tables if table.name != VERSION_TABLE]
    metadata.create_all(op.get_bind(), tables=tables, checkfirst=False)
