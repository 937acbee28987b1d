"""The ordinary flows of a till."""

import pytest

from tests.client.sales import PRICE, TEA, Counter, heard
from tests.terminal.phones import shopper_with_phone

pytestmark = pytest.mark.process


async def test_a_sale_by_pay_code_is_paid_and_leaves_the_journal(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        assert (await heard(sale))[-1] == "HAND_OVER_GOODS"
        assert sale.said.hands_over
        assert await till.resume() == []
    assert counter.behind.wallet(phone.identity_id) == (750, 0)
    assert counter.payments(sale) == ["CAPTURED"]
