"""What all tests share."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.clocks import ManualClock
from tests.trust import secrets

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
