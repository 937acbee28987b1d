"""Real servers for the tests of the till; what a test stops or breaks it starts for itself."""

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from store_terminal.tables import METADATA
from tests.databases import NewDatabase
from tests.links import Link
from tests.payments.side import secret_file
from tests.processes import Server, running, start_server
from tests.terminal.scans import Scanner, scanning
from tests.terminal.shaky import CutOff, Shaky
from tests.terminal.till import Behind, Till, terminal_flags
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.statements import Statements, Transaction


@pytest.fixture
def database_url(new_database: NewDatabase) -> str:
    """A database with this server's tables, of each kind that it may have."""
    return new_database(METADATA)


@pytest.fixture
def transaction(database_url: str) -> Iterator[Transaction]:
    engine = open_engine(parse_url(database_url))
    driver = engine.raw_connection()
    yield Transaction(driver.cursor(), Statements(engine.dialect))
    driver.close()
    engine.dispose()


@pytest.fixture(scope="session")
def order_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running("order_service", tmp_path_factory.mktemp("orders")) as server:
        yield server


@pytest.fixture(scope="session")
def payment_server(tmp_path_factory: pytest.TempPathFactory, order_service: Server) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("payments")
    flags = "--orders", order_service.address, "--secret-file", str(secret_file(folder))
    with running("thirdparty_server", folder, *flags) as server:
        yield server


@pytest.fixture(scope="session")
def terminal(
    tmp_path_factory: pytest.TempPathFactory, order_service: Server, payment_server: Server
) -> Iterator[Server]:
    flags = terminal_flags(order_service.address, payment_server.address)
    with running("tests.terminal.deaf", tmp_path_factory.mktemp("terminal"), *flags) as server:
        yield server


@pytest.fixture(scope="session")
def till(terminal: Server) -> Iterator[Till]:
    """The till that most tests share; each test has shoppers and checkouts of its own. It hears nothing by itself."""
    with terminal.channel() as channel:
        yield Till(channel)


@pytest.fixture(scope="session")
def behind(order_service: Server, payment_server: Server) -> Iterator[Behind]:
    with order_service.channel() as orders, payment_server.channel() as payments:
        behind = Behind(orders, payments)
        behind.open_store()
        yield behind


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An address where nobody answers: it is taken, but nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest_asyncio.fixture
async def scanner(database_url: str, closed_port: str) -> AsyncIterator[Scanner]:
    async with scanning(database_url, closed_port) as scanner:
        yield scanner


@pytest.fixture
def shaky(tmp_path: Path, order_service: Server, payment_server: Server) -> Iterator[Shaky]:
    with Link(order_service.address) as orders, Link(payment_server.address) as payments:
        flags = terminal_flags(orders.address, payments.address)
        shaky = Shaky(tmp_path, flags, start_server("store_terminal", tmp_path, *flags), orders, payments)
        yield shaky
        shaky.server.kill()


@pytest.fixture
def cut_off(tmp_path: Path, order_service: Server) -> Iterator[CutOff]:
    with (
        Link(order_service.address) as orders,
        running("thirdparty_server", tmp_path, "--orders", orders.address) as payment_server,
    ):
        flags = terminal_flags(order_service.address, payment_server.address)
        with (
            running("store_terminal", tmp_path, *flags) as server,
            server.channel() as till_channel,
            order_service.channel() as order_channel,
            payment_server.channel() as payment_channel,
        ):
            yield CutOff(Till(till_channel), Behind(order_channel, payment_channel), orders)
