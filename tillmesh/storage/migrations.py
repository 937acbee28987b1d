"""Brings a database to the next version of its schema, with Alembic.

The migrations of a service are the files NUMBER_what.py in its folder `migrations`. Each is one transaction under
a lock, so an upgrade that is cut short has done whole steps, and goes on when it is repeated.

What a file may say of itself, beside Alembic's `revision`, `down_revision` and `upgrade`:

- `oldest`: the oldest version whose servers may go on using the schema afterwards. Without it none of another version.
- `concurrent`: True for one that runs outside of a transaction, to build indexes while servers write. What it does may
  be cut short anywhere, and is then done again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alembic import op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, Index, MetaData

from tillmesh.storage.schema import (
    NO_VERSION,
    VERSION_TABLE,
    alone,
    alone_outside_transactions,
    is_empty,
    require_unused,
    store_oldest,
    stored_version,
)


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
        scripts = {script.revision: script for script in self._scripts.walk_revisions()}
        self._modules = {version: scripts[version].module for version in sorted(scripts)}
        self.versions = {version: scripts[version].doc for version in self._modules}
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
        """Brings a database on; ValueError where no migration leads on from there, or a server could not go on."""
        _forget_references(engine)
        while version := self._upgrade_once(engine):
            yield Step(version, self.versions[version])

    def _upgrade_once(self, engine: Engine) -> str | None:
        """The version that one step led to; None where none was left."""
        with alone(engine) as connection:
            version = self._next(connection)
            if version is None:
                return None
            if not self._is_concurrent(connection, version):
                _wait_little(connection)
                self._step(connection, version)
                _check_references(connection)
                return version
        with alone_outside_transactions(engine) as connection:
            if self._next(connection) == version:  # or somebody else took the step meanwhile
                self._step(connection, version)
        return version

    def _next(self, connection: Connection) -> str | None:
        """The version that the next step leads to."""
        found, url = stored_version(connection), connection.engine.url
        if found is None and not is_empty(connection):
            raise ValueError(f"the database {url} {NO_VERSION}")
        if found not in (None, *self.versions):
            newest = f"this release knows {self.newest} as the newest"
            raise ValueError(f"the database {url} is at version {found} of its schema, {newest}")
        return next((version for version in self.versions if found is None or version > found), None)

    def _is_concurrent(self, connection: Connection, version: str) -> bool:
        return connection.dialect.name == "postgresql" and getattr(self._modules[version], "concurrent", False)

    def _step(self, connection: Connection, version: str) -> None:
        """Runs a migration, once nobody uses the schema who could not go on."""
        oldest = getattr(self._modules[version], "oldest", version)
        require_unused(connection, [known for known in self.versions if known < oldest])
        steps = MigrationContext.configure(
            connection, opts={"fn": lambda heads, _context: self._scripts._upgrade_revs("+1", heads)}
        )
        with Operations.context(steps):
            steps.run_migrations()
        store_oldest(connection, oldest)


def _wait_little(connection: Connection) -> None:
    """While a step waits for a table, whoever comes after it waits as well: better to fail, and to be repeated."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")


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


def build_index(index: Index) -> None:
    """Builds an index in a migration that is `concurrent`: on PostgreSQL servers go on writing meanwhile."""
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        index.drop(connection, checkfirst=True)  # what was cut short left an invalid one
        index.dialect_options["postgresql"]["concurrently"] = True
    index.create(connection, checkfirst=True)


def make_tables(metadata: MetaData) -> None:
    """Makes the tables of a service in its first migration. Alembic has made the version table."""
    tables = [table for table in metadata.sorted_tables if table.name != VERSION_TABLE]
    metadata.create_all(op.get_bind(), tables=tables, checkfirst=False)
