"""The order service is away, answers twice or never: only its verdict ends a payment."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from tests.payments.books import ids_of
from tests.payments.held import authorized_with, cancel_at_order, lock, stuck
from tests.payments.side import Side, gbp, line, payment_side, refused, state_and_reason, until
from tests.processes import DEADLINE_S, start_server
from thirdparty_server.errors import Reason
from thirdparty_server.payments import servicer
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.runtime.deadlines import set_deadline
from tillmesh.runtime.errors import CommonReason, Unanswered
from tillmesh.runtime.ids import new_request_id

DAY_MS = 86_400_000


class MortalOrderService:
    """An order service that a test kills and brings back with its database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = start_server("order_service", folder)

    @property
    def address(self) -> str:
        return self._server.address

    def kill(self) -> None:
        self._server.kill()

    def start(self) -> None:
        self._server = start_server("order_service", self._folder, listen=self.address)


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MortalOrderService]:
    service = MortalOrderService(tmp_path_factory.mktemp("mortal"))
    yield service
    service.kill()


@pytest.fixture
async def mortal_side(
    database_url: str, tmp_path: Path, mortal: MortalOrderService, clock: ManualClock
) -> AsyncIterator[Side]:
    async with payment_side(database_url, tmp_path, mortal.address, clock) as side:
        yield side


async def is_recorded(side: Side, order: order_pb2.Order) -> bool:
    listed = await side.payments.ListPayments(payments_api.ListPaymentsRequest(order_id=order.order_id))
    return bool(listed.payments)


async def step_without_an_answer(side: Side, payment_id: str) -> None:
    set_deadline(0.5)
    with pytest.raises(Unanswered):
        await side.resolver.step(await side.resolver.get(payment_id))
    set_deadline(None)


async def step_until_answered(side: Side, payment_id: str) -> tuple[str, str]:
    """Asks again and again, as the driver does, while the order service comes up."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with suppress(Unanswered):
                return await side.finish(payment_id)


async def test_a_payment_is_given_up_only_once_the_order_has_acknowledged(
    mortal_side: Side, mortal: MortalOrderService
) -> None:
    side = mortal_side
    order = await side.order(await side.shopper(funds=1000))
    payment_id = await side.record(order)
    mortal.kill()
    await step_without_an_answer(side, payment_id)
    assert await side.state(payment_id) == ("PENDING", "")
    side.clock.advance(side.settings.timing().lock_patience_ms)
    assert await side.step(payment_id) == "VOIDING"
    side.clock.advance(DAY_MS)
    await step_without_an_answer(side, payment_id)
    assert await side.state(payment_id) == ("VOIDING", "ORDER_UNREACHABLE")
    assert payment_id in ids_of(await side.resolver.due())
    mortal.start()
    assert await step_until_answered(side, payment_id) == ("VOIDED", "ORDER_UNREACHABLE")
    late = await lock(side, order, payment_id)
    assert late.state == order_payment_pb2.OrderPayment.STATE_RELEASED
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert await side.wallet(order.payer.identity_id) == (1000, 0)


async def test_held_money_waits_for_the_order_as_long_as_it_takes(
    mortal_side: Side, mortal: MortalOrderService
) -> None:
    side = mortal_side
    order = await side.order(await side.shopper(funds=1000))
    payment_id = await side.record(order)
    await lock(side, order, payment_id, lease_s=600)
    assert await side.step(payment_id) == "AUTHORIZED"
    mortal.kill()
    side.clock.advance(DAY_MS)
    await step_without_an_answer(side, payment_id)
    set_deadline(0.5)
    canceled = await side.payments.CancelPayment(
        payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment_id)
    )
    set_deadline(None)
    assert canceled.state == payment_pb2.Payment.STATE_AUTHORIZED
    assert await side.wallet(order.payer.identity_id) == (1000, 1000)
    assert payment_id in ids_of(await side.resolver.due())
    mortal.start()
    assert await step_until_answered(side, payment_id) == ("CAPTURED", "")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_PAID
    assert await side.wallet(order.payer.identity_id) == (0, 0)
    await side.books()


async def test_a_lease_that_ran_out_meanwhile_gives_the_hold_back(
    mortal_side: Side, mortal: MortalOrderService
) -> None:
    side = mortal_side
    order = await side.order(await side.shopper(funds=1000))
    payment_id = await authorized_with(side, order, epoch=1)
    assert (await lock(side, order, payment_id, lease_s=1)).epoch == 1
    mortal.kill()
    mortal.start()

    async def unlocked() -> bool:
        return (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN

    await until(unlocked)
    assert await side.state(payment_id) == ("AUTHORIZED", "")
    assert await step_until_answered(side, payment_id) == ("VOIDED", "LEASE_EXPIRED")
    assert await side.wallet(order.payer.identity_id) == (1000, 0)
    assert await side.events(payment_id) == ["CREATED", "FUNDS_HELD", "ORDER_RELEASED"]


async def test_the_caller_is_answered_within_its_deadline_and_the_payment_goes_on(
    mortal_side: Side, mortal: MortalOrderService
) -> None:
    side = mortal_side
    order = await side.order(await side.shopper(funds=1000))
    mortal.kill()
    set_deadline(0.3)
    payment = await side.pay(order)
    set_deadline(None)
    assert payment.state == payment_pb2.Payment.STATE_PENDING
    mortal.start()

    async def captured() -> bool:
        return await side.state(payment.payment_id) == ("CAPTURED", "")

    await until(captured)


async def test_an_answer_to_lock_that_got_lost_is_the_same_lock(side: Side) -> None:
    order = await side.order(await side.shopper(funds=1000))
    payment_id = await side.record(order)
    granted = await lock(side, order, payment_id)
    assert await side.finish(payment_id) == ("CAPTURED", "")
    assert (await side.payment(payment_id)).epoch == granted.epoch == 1


async def test_an_answer_to_complete_that_got_lost_is_asked_for_again(side: Side) -> None:
    order = await side.order(await side.shopper(funds=1000))
    payment_id = await side.record(order)
    assert await side.step(payment_id) == "AUTHORIZED"
    await side.orders.CompleteOrderPayment(
        orders_api.CompleteOrderPaymentRequest(payment_id=payment_id, order_id=order.order_id, epoch=1)
    )
    assert await side.finish(payment_id) == ("CAPTURED", "")
    assert await side.wallet(order.payer.identity_id) == (0, 0)


async def test_an_error_is_not_a_no(side: Side) -> None:
    """The order service came back with an old backup: it does not know the payment whose money is held."""
    order = await side.order(await side.shopper(funds=1000))
    payment_id = await authorized_with(side, order, epoch=1)
    assert await stuck(side, payment_id) == [f"No payment {payment_id} ever asked for a lock."]
    await lock(side, order, payment_id)
    await cancel_at_order(side, order, payment_id)
    assert await side.state(payment_id) == ("AUTHORIZED", "")
    assert await side.wallet(order.payer.identity_id) == (1000, 1000)
    assert await side.finish(payment_id) == ("VOIDED", "PAYMENT_CANCELED")


async def test_an_epoch_that_the_order_does_not_know_is_not_a_no(side: Side) -> None:
    order = await side.order(await side.shopper(funds=1000))
    payment_id = await authorized_with(side, order, epoch=7)
    await lock(side, order, payment_id)
    (why,) = await stuck(side, payment_id)
    assert "has epoch 1, not 7" in why
    assert await side.wallet(order.payer.identity_id) == (1000, 1000)


async def test_an_order_that_was_unlocked_and_changed_is_never_charged_for_its_old_amount(side: Side) -> None:
    order = await side.order(await side.shopper(funds=5000))
    payment_id = await side.record(order)
    assert await side.step(payment_id) == "AUTHORIZED"
    await cancel_at_order(side, order, payment_id)
    changed = await side.orders.ReplaceOrderLines(
        orders_api.ReplaceOrderLinesRequest(
            request_id=new_request_id(), order_id=order.order_id, version=order.version, lines=[line(4800)]
        )
    )
    assert await side.finish(payment_id) == ("VOIDED", "PAYMENT_CANCELED")
    paid = await side.pay(changed)
    assert (paid.state, paid.amount) == (payment_pb2.Payment.STATE_CAPTURED, gbp(4800))
    assert await side.wallet(order.payer.identity_id) == (200, 0)


async def test_a_newer_lock_frees_the_hold_of_an_older_one_before_funds_are_checked(side: Side) -> None:
    """A wallet that holds the amount exactly once can pay again at once."""
    order = await side.order(await side.shopper(funds=1000))
    older_id = await side.record(order)
    assert await side.step(older_id) == "AUTHORIZED"
    await cancel_at_order(side, order, older_id)
    newer = await side.pay(order)
    assert newer.state == payment_pb2.Payment.STATE_CAPTURED
    assert await side.state(older_id) == ("VOIDED", "SUPERSEDED")
    assert await side.events(older_id) == ["CREATED", "FUNDS_HELD", "SUPERSEDED"]
    assert await side.finish(older_id) == ("VOIDED", "SUPERSEDED")
    assert await side.wallet(order.payer.identity_id) == (0, 0)
    await side.books()


async def test_a_newer_lock_leaves_alone_what_has_no_epoch_and_an_older_one_that_comes_late_ends_itself(
    side: Side,
) -> None:
    order = await side.order(await side.shopper(funds=5000))
    first_id, pending_id = await side.record(order), await side.record(order)
    await lock(side, order, first_id)
    await cancel_at_order(side, order, first_id)
    second_id = await side.record(order)
    assert await side.step(second_id) == "AUTHORIZED"
    await side.locked(first_id, epoch=1)  # the first's step C comes late, when the second's is done
    assert await side.state(first_id) == ("VOIDED", "SUPERSEDED")
    assert await side.wallet(order.payer.identity_id) == (5000, 1000)
    assert await side.state(second_id) == ("AUTHORIZED", "")
    assert await side.state(pending_id) == ("PENDING", "")
    assert await side.finish(second_id) == ("CAPTURED", "")
    assert await side.finish(pending_id) == ("VOIDED", "ORDER_ALREADY_PAID")


async def test_another_orders_lock_frees_nothing(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    order, other = await side.order(payer_id), await side.order(payer_id)
    held_id = await side.record(order)
    assert await side.step(held_id) == "AUTHORIZED"
    await side.pay(other)
    second = await side.pay(other)
    assert second.reason == "INSUFFICIENT_FUNDS"
    assert await side.state(held_id) == ("AUTHORIZED", "")


async def test_a_payment_beside_too_many_is_refused_before_anything_of_it_is_recorded(
    mortal_side: Side, mortal: MortalOrderService, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = mortal_side
    monkeypatch.setattr(servicer, "MAKING_MAX", 1)
    payer_id = await side.shopper(funds=2000)
    order, other = await side.order(payer_id), await side.order(payer_id)
    payment_id = new_request_id()
    mortal.kill()
    paying = asyncio.create_task(side.pay(order))
    await until(lambda: is_recorded(side, order))
    with refused(CommonReason.OVERLOADED) as refusals:
        await side.pay(other, payment_id)
    assert refusals[0].retry_after_ms
    with refused(Reason.PAYMENT_NOT_FOUND):
        await side.payment(payment_id)
    mortal.start()
    assert state_and_reason(await paying) == ("CAPTURED", "")
    assert state_and_reason(await side.pay(other, payment_id)) == ("CAPTURED", "")


async def test_a_fresh_payment_is_left_to_its_caller_and_a_stale_one_is_taken_up(side: Side) -> None:
    payment_id = await side.record(await side.order(await side.shopper(funds=1000)))
    assert ids_of(await side.resolver.due()) == []
    side.clock.advance(1000)
    assert ids_of(await side.resolver.due()) == [payment_id]


async def test_a_clock_that_stepped_back_does_not_leave_a_payment_lying(side: Side) -> None:
    payment_id = await side.record(await side.order(await side.shopper(funds=1000)))
    side.clock.advance(-DAY_MS)
    assert ids_of(await side.resolver.due()) == [payment_id]


async def test_final_payments_are_not_taken_up(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    await side.captured(payer_id)
    await side.pay(await side.order(payer_id))
    side.clock.advance(DAY_MS)
    assert ids_of(await side.resolver.due()) == []
