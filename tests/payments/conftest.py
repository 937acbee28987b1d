"""What the tests of the payment server share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.clocks import ManualClock
from tests.databases import NewDatabase
from tests.payments.books import Books
from tests.payments.side import Side, payment_side
from tests.processes import Server, running
from thirdparty_server.payers import vault
from thirdparty_server.tables import METADATA
from tillmesh.storage.database import Database, open_database


@pytest.fixture(scope="session")
def order_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real order service that no test stops."""
    with running("order_service", tmp_path_factory.mktemp("orders")) as server:
        yield server


@pytest.fixture
def database_url(new_database: NewDatabase) -> str:
    """A database with this server's tables, of each kind that it may have."""
    return new_database(METADATA)


@pytest.fixture(autouse=True)
def cheap_pins(monkeypatch: pytest.MonkeyPatch) -> PasswordHasher:
    """PINs that are hashed in no time; returns what hashes them in a server."""
    real = vault._ARGON2
    monkeypatch.setattr(vault, "_ARGON2", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    return real


@pytest.fixture
async def side(database_url: str, tmp_path: Path, order_service: Server, clock: ManualClock) -> AsyncIterator[Side]:
    async with payment_side(database_url, tmp_path, order_service.address, clock) as side:
        yield side


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    books = Books.open(database_url)
    yield books
    books.close()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The payment server's tables in a real database."""
    database = open_database(database_url, METADATA)
    yield database
    await database.close()
