"""Databases of each kind that a server may have, for tests that must hold on both."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.postgres import Cluster

KINDS = ("sqlite", "postgresql")


@contextmanager
def databases(request: pytest.FixtureRequest, folder: Path) -> Iterator[Callable[[], str]]:
    """Makes empty databases of the kind that is the fixture's parameter; returns their URLs."""
    if request.param == "sqlite":
        numbers = count(1)
        yield lambda: f"sqlite:///{folder / f'test-{next(numbers)}.db'}"
        return
    postgres: Cluster = request.getfixturevalue("postgres")
    with ExitStack() as stack:
        yield lambda: stack.enter_context(postgres.database())
