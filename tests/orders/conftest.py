from collections.abc import AsyncIterator

import pytest

from tests.clocks import ManualClock
from tests.orders.shop import Shop


@pytest.fixture
async def shop(database_url: str, clock: ManualClock) -> AsyncIterator[Shop]:
    shop = Shop(database_url, clock)
    yield shop
    await shop.database.close()
