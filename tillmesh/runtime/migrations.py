"""Brings a database to the next version of its schema, with Alembic.

The migrations of a service are the files NUMBER_what.py in its folder `migrations`. Each is one transaction under
a lock, so an upgrade that is cut short has done whole steps, and goes on when it is repeated.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy
from alembic import op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from tillmesh.runtime.schema import VERSION_TABLE, alone, is_empty, stored_version


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
        """What each version brought, oldest first."""

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
        while version := self._upgrade_once(engine):
            yield Step(version, self.versions[version])

    def _upgrade_once(self, engine: Engine) -> str | None:
        """The version that one step led to; None where none was left."""
        with alone(engine) as connection:
            found = stored_version(connection)
            if found is None and not is_empty(connection):
                found = self._adopt(connection)
            if found not in (None, *self.versions):
                newest = f"this release knows {self.newest} as the newest"
                raise ValueError(f"the database {engine.url} is at version {found} of its schema, {newest}")
            if found == self.newest:
                return None
            self._run(connection)
            return stored_version(connection)

    def _run(self, connection: Connection) -> None:
        """The next migration."""
        steps = MigrationContext.configure(
            connection, opts={"fn": lambda heads, _context: self._scripts._upgrade_revs("+1", heads)}
        )
        with Operations.context(steps):
            steps.run_migrations()

    def _adopt(self, connection: Connection) -> str:
        """A database from before versions were noted is at the first one, if it has just its tables."""
        first = next(iter(self.versions))
        with sqlalchemy.create_engine("sqlite://").begin() as scratch:
            self._run(scratch)
            expected = _columns(scratch)
        if _columns(connection) != expected:
            there = "has tables of which nobody noted the version, and which are not those of version"
            raise ValueError(f"the database {connection.engine.url} {there} {first}: is it another program's?")
        MigrationContext.configure(connection).stamp(self._scripts, first)
        return first


def append_only(table: str) -> None:
    """In a migration: lets the database refuse every change and deletion, as `database.append_only` does for a new one.

    Migrations are frozen: where that changes, this stays, and a new function gets the new text.
    """
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE integrity_constraint_violation USING MESSAGE = '{table} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse_change()"
    )


def _columns(connection: Connection) -> dict[str, list[str]]:
    inspector = sqlalchemy.inspect(connection)
    tables = [name for name in inspector.get_table_names() if name != VERSION_TABLE]
    return {name: sorted(column["name"] for column in inspector.get_columns(name)) for name in tables}
