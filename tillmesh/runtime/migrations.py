"""Brings a database to the next version of its schema, with Alembic.

The migrations of a service are the files NUMBER_what.py in its folder `migrations`. Each is one transaction under
a lock, so an upgrade that is cut short has done whole steps, and goes on when it is repeated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from alembic import op
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from tillmesh.runtime.history import NO_HISTORY, next_hash
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
        _forget_references(engine)
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
            _check_references(connection)
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
        with sa.create_engine("sqlite://").begin() as scratch:
            self._run(scratch)
            expected = _columns(scratch)
        if _columns(connection) != expected:
            there = "has tables of which nobody noted the version, and which are not those of version"
            raise ValueError(f"the database {connection.engine.url} {there} {first}: is it another program's?")
        MigrationContext.configure(connection).stamp(self._scripts, first)
        return first


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


# What migrations use is frozen, as they are: where a service's tables change, another function gets the new text.


def append_only(table: str) -> None:
    """Lets the database refuse every change and deletion, as `database.append_only` does."""
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


def add_claims(table: str) -> None:
    """Adds what `claims.claim_columns` has."""
    op.add_column(table, sa.Column("claimed_by", sa.String, nullable=False, server_default=""))
    op.add_column(table, sa.Column("claimed_until_ms", sa.BigInteger, nullable=False, server_default="0"))


def chain_history(history: str, records: str, key: str, *unnamed_checks: sa.CheckConstraint) -> None:
    """Makes the histories of all records hash chains, whose last hashes stand in the records.

    SQLite makes `records` anew for that, and needs to be told of the CHECKs without a name in it.
    """
    _allow_changes(history)
    op.add_column(history, sa.Column("chain_hash", sa.LargeBinary))
    op.add_column(records, sa.Column("history_hash", sa.LargeBinary))
    _chain(op.get_bind(), history, records, key)
    with op.batch_alter_table(history) as batch:
        batch.alter_column("chain_hash", nullable=False)
    with op.batch_alter_table(records, table_args=unnamed_checks) as batch:
        batch.alter_column("history_hash", nullable=False)
    append_only(history)


def add_checks(table: str, checks: Sequence[sa.CheckConstraint]) -> None:
    """Adds CHECKs without a name, which SQLite had when it made the table anew."""
    if op.get_bind().dialect.name != "sqlite":
        for check in checks:
            op.execute(f"ALTER TABLE {table} ADD CHECK ({check.sqltext})")


def _allow_changes(table: str) -> None:
    """Undoes `append_only`."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(f"DROP TRIGGER {table}_no_{verb.lower()}")
    else:
        op.execute(f"DROP FUNCTION {table}_refuse_change() CASCADE")


def _chain(connection: Connection, history_name: str, records_name: str, key_name: str) -> None:
    metadata = sa.MetaData()
    history = sa.Table(history_name, metadata, autoload_with=connection)
    records = sa.Table(records_name, metadata, autoload_with=connection)
    key, number = history.c[key_name], history.c.number
    content = [column for column in history.c if column.name != "chain_hash"]
    names = [str(column.name) for column in content]  # reflected names are of a kind of their own, which is no JSON
    link = sa.update(history).where(key == sa.bindparam("of"), number == sa.bindparam("row"))
    end = sa.update(records).where(records.c[key_name] == sa.bindparam("of"))
    for of in connection.execute(sa.select(key).distinct()).scalars().all():
        chain_hash = NO_HISTORY
        for row in connection.execute(sa.select(*content).where(key == of).order_by(number)).all():
            entry = dict(zip(names, row, strict=True))
            chain_hash = next_hash(chain_hash, entry)
            connection.execute(link, {"of": of, "row": entry["number"], "chain_hash": chain_hash})
        connection.execute(end, {"of": of, "history_hash": chain_hash})


def _columns(connection: Connection) -> dict[str, list[str]]:
    inspector = sa.inspect(connection)
    tables = [name for name in inspector.get_table_names() if name != VERSION_TABLE]
    return {name: sorted(column["name"] for column in inspector.get_columns(name)) for name in tables}
