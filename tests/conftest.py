"""What all tests share."""

import random

import pytest
from hypothesis import settings

from tests.clocks import ManualClock

# Two noisy cores decide nothing: an example may take as long as it takes.
settings.register_profile("tillmesh", deadline=None, derandomize=True, database=None)
settings.load_profile("tillmesh")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def rng() -> random.Random:
    return random.Random(20261121)
