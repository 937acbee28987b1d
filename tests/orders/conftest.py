from collections.abc import AsyncIterator

import pytest

from order_service.tables import METADATA
from tests.clocks import ManualClock
from tests.databases import NewDatabase
from tests.orders.shop import Shop


@pytest.fixture
def database_url(new_database: NewDatabase) -> str:
    """A database with this server's tables, of each kind that it may have."""
    return new_database(METADATA)


@pytest.fixture
async def shop(database_url: str, clock: ManualClock) -> AsyncIterator[Shop]:
    shop = Shop(database_url, clock)
    yield shop
    await shop.database.close()
