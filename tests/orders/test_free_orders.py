"""An order that comes to 0: nobody can pay it, and it is completed without a payment."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.orders.shop import COFFEE, GIFT, TEA, Shop, line, state
from tillmesh.api.type.v1.line_item_pb2 import Adjustment, LineItem
from tillmesh.runtime.errors import Refusal

DISCOUNTED = (
    line("TEA", 2, 125, adjustments=[Adjustment(reason_code="STAFF", amount_minor=-250)], amount_minor=0),
    *GIFT,
)


@pytest.mark.parametrize("lines", [GIFT, DISCOUNTED], ids=["gift", "discounted"])
async def test_an_order_of_nothing_is_paid_without_a_payment(shop: Shop, lines: Sequence[LineItem]) -> None:
    created = await shop.create(lines=lines)
    shop.clock.advance(5)
    order = await shop.complete_free(version=1)
    assert (state(order), order.payment_id, order.epoch, order.version) == ("PAID", "", 0, 1)
    assert order.update_time.ToMilliseconds() == created.update_time.ToMilliseconds() + 5
    assert await shop.order() == order
    assert await shop.events() == ["CREATED", "COMPLETED_FREE"]


async def test_an_order_of_nothing_keeps_its_epoch_from_when_it_came_to_something(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    await shop.cancel_payment("p")
    await shop.replace_lines(1, GIFT)
    order = await shop.complete_free(version=2)
    assert (state(order), order.epoch) == ("PAID", 1)
    assert [entry.payment_id for entry in await shop.history()] == ["", "p", "p", "", ""]
    assert state(await shop.complete("p", 1)) == "RELEASED"


async def test_an_order_that_comes_to_something_is_not_given_away(shop: Shop) -> None:
    created = await shop.create()
    with pytest.raises(Refusal, match=r"ORDER_NOT_FREE: Order o-1 comes to 2\.50 GBP"):
        await shop.complete_free(version=1)
    assert await shop.order() == created
    assert await shop.events() == ["CREATED"]


@pytest.mark.parametrize("now", [TEA, GIFT], ids=["tea", "gift"])
async def test_the_shopper_completes_the_version_that_they_saw(shop: Shop, now: Sequence[LineItem]) -> None:
    await shop.create(lines=GIFT)
    await shop.replace_lines(1, now)
    with pytest.raises(Refusal, match="VERSION_MISMATCH: Order o-1 is at version 2, not at 1"):
        await shop.complete_free(version=1)
    assert state(await shop.order()) == "OPEN"


async def test_a_locked_order_is_not_completed_beside_its_payment(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    with pytest.raises(Refusal, match="ORDER_LOCKED"):
        await shop.complete_free(version=1)
    assert (await shop.order()).payment_id == "p"


async def test_a_completion_that_is_repeated_gets_the_order_and_another_one_is_refused(shop: Shop) -> None:
    await shop.create(lines=GIFT)
    first = await shop.complete_free(version=1, request_id="r-1")
    assert await shop.complete_free(version=1, request_id="r-1") == first
    with pytest.raises(Refusal, match="ORDER_ALREADY_PAID: Order o-1 is already paid"):
        await shop.complete_free(version=1, request_id="r-2")
    assert await shop.events() == ["CREATED", "COMPLETED_FREE"]


async def test_a_completion_that_came_too_early_stays_refused(shop: Shop) -> None:
    await shop.create()
    for _ in range(2):
        with pytest.raises(Refusal, match="ORDER_NOT_FREE"):
            await shop.complete_free(version=1, request_id="r-1")
    await shop.replace_lines(1, GIFT)
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await shop.complete_free(version=2, request_id="r-1")
    assert state(await shop.complete_free(version=2, request_id="r-2")) == "PAID"


async def test_nothing_happens_to_a_free_order_once_it_is_paid(shop: Shop) -> None:
    await shop.create(lines=GIFT)
    await shop.complete_free(version=1)
    assert (await shop.lock("p", minor=1)).reason == "ORDER_ALREADY_PAID"
    for change in (shop.replace_lines(1, COFFEE), shop.cancel(1)):
        with pytest.raises(Refusal, match="ORDER_ALREADY_PAID"):
            await change
    assert await shop.events() == ["CREATED", "COMPLETED_FREE"]


@pytest.mark.parametrize("free_first", [True, False])
async def test_of_completion_and_new_lines_exactly_one_wins(shop: Shop, free_first: bool) -> None:
    await shop.create(lines=GIFT)
    calls = [shop.complete_free(version=1), shop.replace_lines(1, COFFEE)]
    outcomes = await asyncio.gather(*(calls if free_first else reversed(calls)), return_exceptions=True)
    (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
    order = await shop.order()
    expected = ("ORDER_ALREADY_PAID", "PAID", 0) if free_first else ("VERSION_MISMATCH", "OPEN", 400)
    assert (refusal.reason, state(order), order.amount.minor_units) == expected
