"""The fixtures. pytest loads this with every run, so that what is large is imported when a fixture is asked for."""

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tillmesh.local.mesh import StoreOptions
    from tillmesh.testing.faults import Faults
    from tillmesh.testing.running import RunningSandbox

SANDBOX = "tillmesh_sandbox"
POSTGRESQL_VARIABLE = "TILLMESH_TEST_POSTGRESQL"
_running = pytest.StashKey["RunningSandbox | None"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """What pytest's configuration file may set; `-o NAME=VALUE` does so for one run."""
    parser.addini("tillmesh_scope", "how long a sandbox is used: session, or module", default="session")
    parser.addini(
        "tillmesh_postgresql",
        f"URL of a PostgreSQL database whose user may create others; or the variable {POSTGRESQL_VARIABLE}",
        default="",
    )


def _scope(fixture_name: str, config: pytest.Config) -> Any:
    return config.getini("tillmesh_scope")


@pytest.fixture(scope=_scope)
def tillmesh_store() -> "StoreOptions":
    """Store and terminal of the sandbox, with its currency. Override it for others."""
    from tillmesh.local.mesh import StoreOptions

    return StoreOptions()


@pytest.fixture(scope=_scope)
def tillmesh_sandbox(
    tillmesh_store: "StoreOptions", tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> "Iterator[RunningSandbox]":
    """The three servers as a sandbox, on free ports and with data of their own."""
    from tillmesh.testing.running import run_sandbox

    postgresql = pytestconfig.getini("tillmesh_postgresql") or os.environ.get(POSTGRESQL_VARIABLE, "")
    with run_sandbox(tmp_path_factory.mktemp("tillmesh"), tillmesh_store, postgresql) as sandbox:
        pytestconfig.stash[_running] = sandbox
        yield sandbox
        pytestconfig.stash[_running] = None


@pytest.fixture
def tillmesh_faults(tillmesh_sandbox: "RunningSandbox") -> "Iterator[Faults]":
    """Ends servers and breaks links of the sandbox. After the test all is whole again."""
    yield tillmesh_sandbox.faults
    tillmesh_sandbox.faults.heal()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """What the servers log from here on is of this test."""
    if sandbox := item.config.stash.get(_running, None):
        sandbox.logs.begin()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """The report of a failed test shows what the servers logged during it."""
    report = yield
    sandbox = item.config.stash.get(_running, None)
    if report.failed and sandbox and SANDBOX in getattr(item, "fixturenames", ()):
        report.sections += sandbox.logs.sections()
    return report
