"""Databases of each kind that a server may have, for tests that must hold on both."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import pytest
from sqlalchemy import MetaData

from tests.postgres import Cluster
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.schema import prepare

KINDS = ("sqlite", "postgresql")


class NewDatabase(Protocol):
    """Makes databases of one kind."""

    def __call__(self, tables: MetaData | None = None) -> str:
        """URL of an empty database, or of one with the tables of a service."""


@contextmanager
def databases(request: pytest.FixtureRequest, folder: Path) -> Iterator[NewDatabase]:
    """Makes databases of the kind that is the fixture's parameter."""
    if request.param == "sqlite":
        numbers = count(1)

        def new_file(tables: MetaData | None = None) -> str:
            path = folder / f"test-{next(numbers)}.db"
            if tables:
                path.write_bytes(_file_with(tables))
            return f"sqlite:///{path}"

        yield new_file
        return
    postgres: Cluster = request.getfixturevalue("postgres")
    with ExitStack() as stack:
        yield lambda tables=None: stack.enter_context(postgres.database(tables))


@cache
def _file_with(tables: MetaData) -> bytes:
    """A SQLite file with tables: to copy it is cheaper than to make them."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "tables.db"
        engine = open_engine(parse_url(f"sqlite:///{path}"))
        prepare(engine, tables)
        engine.dispose()  # the last one to close it leaves no log beside it
        return path.read_bytes()
