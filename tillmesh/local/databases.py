"""Databases of a mesh for tests: made at a PostgreSQL server, emptied, and dropped again."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import sqlalchemy
from psycopg import sql

from tillmesh.storage.database import is_sqlite, parse_url

CREATE = sql.SQL("CREATE DATABASE {} TEMPLATE template0")
DROP = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
EMPTY = sql.SQL("DROP SCHEMA public CASCADE"), sql.SQL("CREATE SCHEMA public")


def empty(url: str) -> None:
    """Deletes all that a server kept which has ended: its file, or whatever is in its database at PostgreSQL."""
    if is_sqlite(parse_url(url)):
        file = Path(url.removeprefix("sqlite:///"))
        for suffix in ("", "-wal", "-shm"):
            file.with_name(f"{file.name}{suffix}").unlink(missing_ok=True)
    else:
        _run(url, *EMPTY)


@contextmanager
def temporary_databases(url: str, *names: str) -> Iterator[Mapping[str, str]]:
    """URLs of new databases by name, at the PostgreSQL server of a URL; they are dropped after the block.

    The user of the URL needs the right to create databases. The database that it names stays as it is.
    """
    run = uuid4().hex[:12]
    databases = {name: f"tillmesh_test_{name}_{run}" for name in names}
    try:
        _run(url, *(CREATE.format(sql.Identifier(database)) for database in databases.values()))
        at = sqlalchemy.make_url(url)
        yield {
            name: at.set(database=database).render_as_string(hide_password=False)
            for name, database in databases.items()
        }
    finally:
        _run(url, *(DROP.format(sql.Identifier(database)) for database in databases.values()))


def _run(url: str, *statements: sql.SQL | sql.Composed) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
