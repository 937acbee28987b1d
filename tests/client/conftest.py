"""Three real servers, and a till between which and its terminal a link can break."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.sales import Counter
from tests.links import Link
from tests.payments.side import secret_file
from tests.processes import Server, running
from tests.terminal.till import Behind, terminal_flags


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
    with running("store_terminal", tmp_path_factory.mktemp("terminal"), *flags) as server:
        yield server


@pytest.fixture(scope="session")
def behind(order_service: Server, payment_server: Server) -> Iterator[Behind]:
    with order_service.channel() as orders, payment_server.channel() as payments:
        behind = Behind(orders, payments)
        behind.open_store()
        yield behind


@pytest.fixture
def link(terminal: Server) -> Iterator[Link]:
    """The till's way to its terminal."""
    with Link(terminal.address) as link:
        yield link


@pytest.fixture
def counter(link: Link, behind: Behind, tmp_path: Path) -> Counter:
    """Where a till stands, with its disk."""
    return Counter(link, behind, tmp_path / "till.journal")
