"""What a shopper, a till or a payment server would miss if a rule of the protocol were left out."""

import asyncio

import pytest

from tests.orders.shop import (
    COFFEE,
    GIFT,
    LEASE_MAX_MS,
    LEASE_MS,
    REFERENCE,
    TEA,
    TEA_MINOR,
    Shop,
    event_name,
    line,
    state,
)
from tillmesh.api.order.v1 import order_payment_pb2
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.runtime.errors import Refusal

DAY_MS = 86_400_000


def verdict(payment: order_payment_pb2.OrderPayment) -> tuple[str, str, int]:
    return state(payment), payment.reason, payment.epoch


# Rule 1: fencing.


async def test_a_payment_whose_lock_was_lost_pays_nothing_although_the_order_is_locked_again(shop: Shop) -> None:
    await shop.create()
    first = await shop.lock("first")
    await shop.cancel_payment("first")
    second = await shop.lock("second")
    assert (first.epoch, second.epoch) == (1, 2)
    assert verdict(await shop.complete("first", 1)) == ("RELEASED", "PAYMENT_CANCELED", 1)
    with pytest.raises(Refusal, match="EPOCH_MISMATCH"):
        await shop.complete("first", 2)
    order = await shop.order()
    assert (state(order), order.payment_id) == ("LOCKED", "second")


async def test_the_epoch_grows_at_a_lock_and_nowhere_else(shop: Shop) -> None:
    await shop.create()
    await shop.replace_lines(version=1, lines=TEA)
    await shop.lock("a", version=2)
    await shop.cancel_payment("a")
    await shop.replace_lines(version=2, lines=TEA)
    await shop.lock("b", version=3)
    await shop.complete("b", 2)
    assert [entry.epoch for entry in await shop.history()] == [0, 0, 1, 1, 1, 2, 2]


async def test_of_ten_payments_at_once_one_gets_the_lock(shop: Shop) -> None:
    await shop.create()
    payments = await asyncio.gather(*(shop.lock(f"p-{number}") for number in range(10)))
    verdicts = sorted(verdict(payment) for payment in payments)
    assert verdicts == [("GRANTED", "", 1)] + [("REFUSED", "ORDER_LOCKED", 0)] * 9


@pytest.mark.parametrize("commit_first", [True, False])
async def test_of_commit_and_lease_end_exactly_one_wins(shop: Shop, commit_first: bool) -> None:
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(LEASE_MS)
    if commit_first:
        payment, unlocked = await asyncio.gather(shop.complete("p", 1), shop.sweep())
    else:
        unlocked, payment = await asyncio.gather(shop.sweep(), shop.complete("p", 1))
    order = await shop.order()
    expected = (0, "PAID", "PAID") if commit_first else (1, "RELEASED", "OPEN")
    assert (unlocked, state(payment), state(order)) == expected


@pytest.mark.parametrize("commit_first", [True, False])
async def test_of_commit_and_cancellation_exactly_one_wins_and_both_are_told_which(
    shop: Shop, commit_first: bool
) -> None:
    await shop.create()
    await shop.lock("p")
    calls = [shop.complete("p", 1), shop.cancel_payment("p")]
    told = await asyncio.gather(*(calls if commit_first else reversed(calls)))
    assert {state(payment) for payment in told} == {"PAID" if commit_first else "RELEASED"}
    assert state(await shop.order()) == ("PAID" if commit_first else "OPEN")


# Rule 2: every payment id is remembered, and its first answer is its answer.


async def test_a_lock_request_that_arrives_a_day_late_does_not_lock_for_a_dead_payment(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(DAY_MS)
    await shop.sweep()
    assert verdict(await shop.lock("p")) == ("RELEASED", "LEASE_EXPIRED", 1)
    assert state(await shop.order()) == "OPEN"


async def test_a_repeated_lock_request_gets_the_same_epoch_and_no_longer_lease(shop: Shop) -> None:
    await shop.create()
    first = await shop.lock("p")
    shop.clock.advance(20_000)
    again = await shop.lock("p", lease_ms=LEASE_MAX_MS)
    assert verdict(again) == verdict(first) == ("GRANTED", "", 1)
    assert again.lease_remaining.ToMilliseconds() == LEASE_MS - 20_000
    assert await shop.events() == ["CREATED", "LOCKED"]


async def test_a_lock_request_after_the_payment_paid_says_so(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    await shop.complete("p", 1)
    assert verdict(await shop.lock("p")) == ("PAID", "", 1)


async def test_a_refused_payment_stays_refused_when_the_reason_is_gone(shop: Shop) -> None:
    assert verdict(await shop.lock("early")) == ("REFUSED", "ORDER_NOT_FOUND", 0)
    await shop.create()
    await shop.lock("holder")
    assert verdict(await shop.lock("late")) == ("REFUSED", "ORDER_LOCKED", 0)
    await shop.cancel_payment("holder")
    assert verdict(await shop.lock("early")) == ("REFUSED", "ORDER_NOT_FOUND", 0)
    assert verdict(await shop.lock("late")) == ("REFUSED", "ORDER_LOCKED", 0)
    assert verdict(await shop.cancel_payment("late")) == ("REFUSED", "ORDER_LOCKED", 0)
    assert state(await shop.order()) == "OPEN"


@pytest.mark.parametrize(
    "other",
    [
        {"version": 2},
        {"minor": 251},
        {"currency": "EUR"},
        {"payer": Payer(identity_id="payer-2")},
        {"payer": REFERENCE},
        {"order_id": "o-2"},
    ],
    ids=str,
)
async def test_a_payment_id_with_other_content_is_an_error_and_not_a_verdict(
    shop: Shop, other: dict[str, object]
) -> None:
    await shop.create()
    await shop.lock("p")
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await shop.lock("p", **other)  # type: ignore[arg-type]
    assert (await shop.order()).payment_id == "p"


async def test_a_payment_belongs_to_one_order(shop: Shop) -> None:
    await shop.create()
    await shop.create("o-2")
    await shop.lock("p")
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await shop.cancel_payment("p", order_id="o-2")
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await shop.complete("p", 1, order_id="o-2")
    assert state(await shop.order()) == "LOCKED"


async def test_a_completion_of_a_payment_nobody_knows_is_not_found(shop: Shop) -> None:
    await shop.create()
    with pytest.raises(Refusal, match="PAYMENT_NOT_FOUND: No payment p ever asked for a lock"):
        await shop.complete("p", 1)


# Rule 3: an attempt can be killed before its lock request arrives.


async def test_a_cancellation_that_overtakes_the_lock_request_kills_it(shop: Shop) -> None:
    await shop.create()
    assert verdict(await shop.cancel_payment("p")) == ("RELEASED", "PAYMENT_CANCELED", 0)
    assert verdict(await shop.lock("p")) == ("RELEASED", "PAYMENT_CANCELED", 0)
    assert state(await shop.order()) == "OPEN"
    assert verdict(await shop.lock("another")) == ("GRANTED", "", 1)


async def test_a_cancellation_counts_even_for_an_order_that_is_not_there_yet(shop: Shop) -> None:
    assert verdict(await shop.cancel_payment("p")) == ("RELEASED", "PAYMENT_CANCELED", 0)
    await shop.create()
    assert verdict(await shop.lock("p")) == ("RELEASED", "PAYMENT_CANCELED", 0)


async def test_a_cancellation_ends_only_the_attempt_it_names(shop: Shop) -> None:
    await shop.create()
    await shop.lock("holder")
    await shop.cancel_payment("other")
    order = await shop.order()
    assert (state(order), order.payment_id) == ("LOCKED", "holder")


# Rule 4: consent is to a version.


async def test_other_goods_for_the_same_money_need_a_new_consent(shop: Shop) -> None:
    await shop.create()
    await shop.replace_lines(version=1, lines=[line("GRAVEL", 1, TEA_MINOR)])
    assert verdict(await shop.lock("p", version=1)) == ("REFUSED", "VERSION_MISMATCH", 0)
    assert verdict(await shop.lock("q", version=2)) == ("GRANTED", "", 1)


@pytest.mark.parametrize(
    ("consent", "reason"),
    [
        ({"minor": TEA_MINOR - 1}, "AMOUNT_MISMATCH"),
        ({"minor": TEA_MINOR + 1}, "AMOUNT_MISMATCH"),
        ({"currency": "EUR"}, "AMOUNT_MISMATCH"),
        ({"version": 2}, "VERSION_MISMATCH"),
        ({"payer": Payer(identity_id="payer-2")}, "PAYER_MISMATCH"),
        ({"payer": REFERENCE}, "PAYER_MISMATCH"),
        ({"order_id": "o-9"}, "ORDER_NOT_FOUND"),
    ],
    ids=str,
)
async def test_a_consent_to_anything_but_the_order_as_it_is_is_refused(
    shop: Shop, consent: dict[str, object], reason: str
) -> None:
    await shop.create()
    assert verdict(await shop.lock("p", **consent)) == ("REFUSED", reason, 0)  # type: ignore[arg-type]
    assert await shop.events() == ["CREATED"]


async def test_an_order_of_nothing_can_not_be_paid(shop: Shop) -> None:
    await shop.create(lines=GIFT)
    assert verdict(await shop.lock("p", minor=1)) == ("REFUSED", "NOTHING_TO_PAY", 0)
    assert verdict(await shop.lock("q", minor=0)) == ("REFUSED", "NOTHING_TO_PAY", 0)


# Rules 5 and 6: a verdict is final, and does not depend on the clock.


async def test_the_commit_never_looks_at_the_clock(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(DAY_MS)  # long over, but nobody has said so
    assert verdict(await shop.complete("p", 1)) == ("PAID", "", 1)
    assert await shop.sweep() == 0
    assert state(await shop.order()) == "PAID"


async def test_a_no_stays_a_no_when_the_clock_steps_back(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(LEASE_MS)
    await shop.sweep()
    shop.clock.advance(-DAY_MS)
    for _ in range(2):
        assert verdict(await shop.complete("p", 1)) == ("RELEASED", "LEASE_EXPIRED", 1)


async def test_a_yes_stays_a_yes_however_often_it_is_asked_for(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    for _ in range(3):
        assert verdict(await shop.complete("p", 1)) == ("PAID", "", 1)
    assert await shop.events() == ["CREATED", "LOCKED", "PAID"]


# Rule 10: the lease.


async def test_an_order_is_open_again_when_its_payment_time_is_over_and_not_before(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(LEASE_MS - 1)
    assert await shop.sweep() == 0
    shop.clock.advance(1)
    assert (await shop.order()).lease_remaining.ToMilliseconds() == 0
    assert await shop.sweep() == 1
    order = await shop.order()
    assert (state(order), order.payment_id) == ("OPEN", "")
    assert (await shop.replace_lines(version=1)).version == 2


async def test_no_payment_locks_for_longer_than_the_limit(shop: Shop) -> None:
    await shop.create()
    payment = await shop.lock("p", lease_ms=DAY_MS)
    assert payment.lease_remaining.ToMilliseconds() == LEASE_MAX_MS


async def test_a_lapsed_lock_is_taken_over_without_waiting_for_the_sweeper(shop: Shop) -> None:
    await shop.create()
    await shop.lock("first")
    shop.clock.advance(LEASE_MS)
    assert verdict(await shop.lock("second")) == ("GRANTED", "", 2)
    history = [(event_name(entry), entry.payment_id, entry.epoch) for entry in await shop.history()]
    assert history[-2:] == [("LEASE_EXPIRED", "first", 1), ("LOCKED", "second", 2)]
    assert verdict(await shop.complete("first", 1)) == ("RELEASED", "LEASE_EXPIRED", 1)


async def test_a_refused_takeover_still_ends_the_lapsed_lock(shop: Shop) -> None:
    await shop.create()
    await shop.lock("first")
    shop.clock.advance(LEASE_MS)
    assert verdict(await shop.lock("second", minor=1)) == ("REFUSED", "AMOUNT_MISMATCH", 0)
    assert await shop.events() == ["CREATED", "LOCKED", "LEASE_EXPIRED"]
    assert verdict(await shop.complete("first", 1)) == ("RELEASED", "LEASE_EXPIRED", 1)


async def test_a_clock_that_steps_back_does_not_make_a_lease_longer(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(-DAY_MS)
    assert (await shop.order()).lease_remaining.ToMilliseconds() == LEASE_MS
    assert await shop.sweep() == 0  # from here on at most the lease remains
    shop.clock.advance(LEASE_MS)
    assert await shop.sweep() == 1
    assert state(await shop.order()) == "OPEN"


# Rule 12: PAID is terminal, and a list is a hint.


async def test_nothing_opens_a_paid_order_again(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    await shop.complete("p", 1)
    assert verdict(await shop.cancel_payment("p")) == ("PAID", "", 1)
    assert verdict(await shop.lock("q")) == ("REFUSED", "ORDER_ALREADY_PAID", 0)
    shop.clock.advance(DAY_MS)
    assert await shop.sweep() == 0
    for change in (shop.replace_lines(version=1), shop.cancel(version=1), shop.complete_free(version=1)):
        with pytest.raises(Refusal, match="ORDER_ALREADY_PAID: Order o-1 is already paid") as raised:
            await change
        assert raised.value.metadata["payment_id"] == "p"
    assert state(await shop.order()) == "PAID"


async def test_a_canceled_order_can_not_be_paid(shop: Shop) -> None:
    await shop.create()
    await shop.cancel(version=1)
    assert verdict(await shop.lock("p")) == ("REFUSED", "ORDER_CANCELED", 0)


async def test_the_whole_story_leaves_one_order_of_one_number(shop: Shop) -> None:
    """Lock, change refused, lease over, change in place, paid for the new amount; the old payment is dead."""
    await shop.create()
    await shop.lock("old")
    with pytest.raises(Refusal, match="ORDER_LOCKED"):
        await shop.replace_lines(version=1)
    shop.clock.advance(LEASE_MS)
    await shop.sweep()
    changed = await shop.replace_lines(version=1, lines=COFFEE)
    assert (changed.order_id, changed.version, changed.amount.minor_units) == ("o-1", 2, 400)
    new = await shop.lock("new", version=2, minor=400)
    await shop.complete("new", new.epoch)
    assert state(await shop.complete("old", 1)) == "RELEASED"
    order = await shop.order()
    assert (state(order), order.payment_id, order.amount.minor_units) == ("PAID", "new", 400)
    assert await shop.events() == ["CREATED", "LOCKED", "LEASE_EXPIRED", "LINES_REPLACED", "LOCKED", "PAID"]
