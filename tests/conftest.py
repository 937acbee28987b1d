"""What all tests share."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.clocks import ManualClock
from tests.databases import KINDS, NewDatabase, databases
from tests.postgres import Cluster, running_cluster
from tests.trust import secrets
from tillmesh.auth.callers import act_as

# Where this is set, each server compiles all that it imports anew, and starts four times slower.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Two noisy cores decide nothing: an example may take as long as it takes.
settings.register_profile("tillmesh", deadline=None, derandomize=True, database=None)
settings.load_profile("tillmesh")


@pytest.fixture(scope="session", autouse=True)
def no_secret_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """When all is done: no log and no database of any test shows a secret that a test used."""
    yield
    assert secrets.files_with_secrets(tmp_path_factory.getbasetemp()) == []


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def rng() -> random.Random:
    return random.Random(20261121)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A PostgreSQL server that no test stops."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(params=KINDS)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """Makes databases, of each kind that a server may have; returns their URLs."""
    with databases(request, tmp_path) as new:
        yield new


@pytest.fixture
def database_url(new_database: NewDatabase) -> str:
    """An empty database, of each kind that a server may have."""
    return new_database()


@pytest.fixture(autouse=True)
def nobody_calls() -> None:
    """No test acts for whoever called in the one before it."""
    act_as("")
