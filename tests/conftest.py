"""What all tests share."""

import os
import random
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.clocks import ManualClock
from tests.databases import KINDS, NewDatabase, databases
from tests.postgres import Cluster, running_cluster
from tests.sources import SERVICES
from tests.trust import secrets
from tillmesh.auth.callers import act_as
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.storage import batches, sqlite
from tillmesh.storage import postgres as postgres_database
from tillmesh.storage.batches import Waiting
from tillmesh.storage.statements import Transaction

# Where this is set, each server compiles all that it imports anew, and starts four times slower.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Two noisy cores decide nothing: an example may take as long as it takes.
settings.register_profile("tillmesh", deadline=None, derandomize=True, database=None)
settings.load_profile("tillmesh")


PROCESSES = {
    "cut_off", "fort", "hasty_fort", "installed", "mesh", "mortal", "order_service", "other_till", "pair",
    "payment_server", "postgres", "processes", "shaky", "shops", "slow_fort", "stub", "terminal", "undamaged",
}  # fmt: skip
"""Fixtures that start processes."""
LONG = {"chaos", "docs", "test_abuse_flood.py", "test_abuse_frames.py", "test_plugin.py", "test_wheel.py"}
"""Folders and files with tests that take half a minute."""
STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system"}
may_start: list[bool] = []
"""Whether the test that runs may start a process."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests whose fixtures start processes, PostgreSQL's among them; others say so themselves."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        kinds = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
        if not PROCESSES.isdisjoint(fixtures) or "postgresql" in kinds:
            item.add_marker("process")
    # The long ones first, so that none is left to one worker when the others have ended.
    items.sort(key=lambda item: LONG.isdisjoint(item.path.parts))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """A test without that mark can start no process, so that none runs in `make quick`."""
    with allowed(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """The same."""
    with allowed(item):
        return (yield)


@contextmanager
def allowed(item: pytest.Item) -> Iterator[None]:
    may_start.append(item.get_closest_marker("process") is not None)
    try:
        yield
    finally:
        may_start.pop()


def refuse_processes(event: str, arguments: tuple[object, ...]) -> None:
    if may_start and not may_start[-1] and event in STARTS:
        raise AssertionError(f"mark the test with pytest.mark.process: it starts {arguments[0]}")


sys.addaudithook(refuse_processes)


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
def checks_come_before_writes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No server refuses after it wrote, or all that shares the transaction would have to run again."""
    late: list[Exception] = []
    run_together = batches.run_together

    def noting(batch: Sequence[Waiting], transaction: Transaction, start_again: Callable[[Exception], None]) -> Any:
        def note(error: Exception) -> None:
            if refused_by_a_server(error):
                late.append(error)
            start_again(error)

        return run_together(batch, transaction, note)

    for database in (sqlite, postgres_database):
        monkeypatch.setattr(database, "run_together", noting)
    yield
    assert late == [] or request.node.get_closest_marker("mutant")


def refused_by_a_server(error: Exception) -> bool:
    """True for a refusal that the code of a service raised; a change that came first is known by the write alone."""
    raised_in = traceback.extract_tb(error.__traceback__)[-1].filename
    decided = isinstance(error, Refusal) and error.reason != CommonReason.CONCURRENT_CHANGE.name
    return decided and any(service in Path(raised_in).parts for service in SERVICES)


@pytest.fixture(autouse=True)
def nobody_calls() -> None:
    """No test acts for whoever called in the one before it."""
    act_as("")
