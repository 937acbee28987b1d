from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from tests.orders.shop import Shop


@pytest.fixture
async def shop(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path / "orders.db", clock)
    yield shop
    await shop.database.close()
