"""An open order that nobody pays or changes for a long time is canceled; no payment that comes later takes money."""

import asyncio

import pytest

from order_service.sweeper import EXPIRE_EVERY_MS, ORDERS_A_SWEEP, SWEEP_INTERVAL_S, Sweeper
from tests.orders.shop import LEASE_MS, OPEN_MAX_MS, SERVER, Shop, event_name, state
from tillmesh.runtime.errors import Refusal


async def test_an_order_that_nobody_wants_is_canceled_by_the_server_itself(shop: Shop) -> None:
    await shop.create()
    shop.clock.advance(OPEN_MAX_MS - 1)
    assert await shop.expire() == 0
    shop.clock.advance(1)
    assert await shop.expire() == 1
    assert state(await shop.order()) == "CANCELED"
    *_, last = await shop.history()
    assert (event_name(last), last.number) == ("EXPIRED", 2)


async def test_a_payment_that_comes_later_is_refused_as_for_any_canceled_order(shop: Shop) -> None:
    await shop.create()
    shop.clock.advance(OPEN_MAX_MS)
    await shop.expire()
    payment = await shop.lock("late")
    assert (state(payment), payment.reason) == ("REFUSED", "ORDER_CANCELED")
    with pytest.raises(Refusal, match="canceled"):
        await shop.replace_lines(version=1)


async def test_whatever_happens_to_an_order_keeps_it_for_as_long_again(shop: Shop) -> None:
    await shop.create()
    shop.clock.advance(OPEN_MAX_MS - 1)
    await shop.replace_lines(version=1)
    shop.clock.advance(OPEN_MAX_MS - 1)
    assert await shop.expire() == 0
    await shop.lock("late", version=2, minor=400)
    shop.clock.advance(OPEN_MAX_MS)
    assert await shop.expire() == 0, "it is locked"
    await shop.sweep()
    shop.clock.advance(OPEN_MAX_MS - 1)
    assert await shop.expire() == 0
    shop.clock.advance(1)
    assert await shop.expire() == 1


async def test_payment_and_expiry_at_once_leave_one_of_them(shop: Shop) -> None:
    await shop.create()
    shop.clock.advance(OPEN_MAX_MS)
    payment, expired = await asyncio.gather(shop.lock("late", lease_ms=LEASE_MS), shop.expire())
    assert (state(payment), expired) in (("GRANTED", 0), ("REFUSED", 1))


async def test_many_are_canceled_a_few_at_a_time(shop: Shop) -> None:
    for number in range(ORDERS_A_SWEEP + 1):
        await shop.create(f"o-{number}")
    shop.clock.advance(OPEN_MAX_MS)
    assert [await shop.expire() for _ in range(3)] == [ORDERS_A_SWEEP, 1, 0]


async def test_many_are_canceled_round_after_round_without_a_rest(shop: Shop) -> None:
    for number in range(ORDERS_A_SWEEP + 1):
        await shop.create(f"o-{number}")
    shop.clock.advance(OPEN_MAX_MS)
    assert [await shop.sweeper.round() for _ in range(3)] == [0.0, SWEEP_INTERVAL_S, SWEEP_INTERVAL_S]
    assert await shop.expire() == 0


async def test_orders_stay_open_for_ever_where_the_operator_says_so(shop: Shop) -> None:
    await shop.create()
    shop.clock.advance(100 * OPEN_MAX_MS)
    assert await Sweeper(shop.database, shop.clock, SERVER, 0).expire() == 0
    assert state(await shop.order()) == "OPEN"


async def test_the_server_looks_for_old_orders_once_a_minute(shop: Shop) -> None:
    sweeper = Sweeper(shop.database, shop.clock, SERVER, open_max_ms=1_000)
    await sweeper.round()
    await shop.create()
    shop.clock.advance(1_000)
    await sweeper.round()
    assert state(await shop.order()) == "OPEN"
    shop.clock.advance(EXPIRE_EVERY_MS)
    await sweeper.round()
    assert state(await shop.order()) == "CANCELED"


async def test_a_clock_that_was_far_ahead_and_is_put_right_keeps_no_order_open(shop: Shop) -> None:
    sweeper = Sweeper(shop.database, shop.clock, SERVER, open_max_ms=1_000)
    shop.clock.advance(100 * EXPIRE_EVERY_MS)
    await sweeper.round()
    shop.clock.advance(-100 * EXPIRE_EVERY_MS)
    await shop.create()
    shop.clock.advance(1_000)
    await sweeper.round()
    assert state(await shop.order()) == "CANCELED"
