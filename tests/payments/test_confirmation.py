"""Payments above the payer's instant limit: nothing is held until the payer says yes to shop and amount."""

import pytest

from tests.payments.books import ids_of
from tests.payments.side import STORE, Side, gbp, line, refused, state_and_reason
from thirdparty_server.errors import Reason
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import new_request_id


def yes(payment: payment_pb2.Payment, request_id: str = "") -> payments_api.ConfirmPaymentRequest:
    """The payer agrees to what was shown."""
    return payments_api.ConfirmPaymentRequest(
        request_id=request_id or new_request_id(),
        payment_id=payment.payment_id,
        store_id=payment.store_id,
        amount=payment.amount,
    )


def no(payment: payment_pb2.Payment) -> payments_api.CancelPaymentRequest:
    return payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment.payment_id)


async def waiting(side: Side, funds: int = 5000) -> tuple[order_pb2.Order, payment_pb2.Payment]:
    """An order of 10.00 whose payment waits for its payer."""
    order = await side.order(await side.shopper(funds=funds, threshold=500))
    payment = await side.pay(order)
    assert state_and_reason(payment) == ("AWAITING_PAYER", "")
    return order, payment


async def authorized(side: Side) -> tuple[order_pb2.Order, str]:
    """An order of 10.00 whose payment has its money held and has asked the order nothing yet."""
    order = await side.order(await side.shopper(funds=5000))
    payment_id = await side.record(order)
    assert await side.step(payment_id) == "AUTHORIZED"
    return order, payment_id


async def test_a_payment_that_waits_locks_the_order_and_holds_nothing(side: Side) -> None:
    order, payment = await waiting(side)
    locked = await side.order_now(order)
    assert (locked.state, locked.payment_id) == (order_pb2.Order.STATE_LOCKED, payment.payment_id)
    assert await side.wallet(order.payer.identity_id) == (5000, 0)
    assert payment.store_id == STORE


@pytest.mark.parametrize(("amount", "state"), [(500, "CAPTURED"), (501, "AWAITING_PAYER")])
async def test_the_threshold_itself_needs_no_confirmation(side: Side, amount: int, state: str) -> None:
    payer_id = await side.shopper(funds=5000, threshold=500)
    assert state_and_reason(await side.pay(await side.order(payer_id, amount))) == (state, "")


async def test_the_payers_time_ends_before_the_orders_lock(side: Side) -> None:
    order, payment = await waiting(side)
    window_ms = payment.confirm_remaining.ToMilliseconds()
    lease_ms = (await side.order_now(order)).lease_remaining.ToMilliseconds()
    assert 0 < window_ms < lease_ms


@pytest.mark.parametrize("lease_ms", [1, 2, 5_000, 10_000, 10_001, 100_000])
async def test_a_lease_that_the_order_service_cut_short_still_outlasts_the_window(side: Side, lease_ms: int) -> None:
    assert 0 <= side.settings.timing().window_ms(lease_ms) < lease_ms


async def test_the_payers_yes_captures(side: Side) -> None:
    order, payment = await waiting(side)
    confirmed = await side.payments.ConfirmPayment(yes(payment))
    assert state_and_reason(confirmed) == ("CAPTURED", "")
    assert not confirmed.HasField("confirm_remaining")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_PAID
    assert await side.wallet(order.payer.identity_id) == (4000, 0)
    assert await side.events(payment.payment_id) == ["CREATED", "LOCKED_FOR_PAYER", "FUNDS_HELD", "ORDER_PAID"]


async def test_a_yes_sent_twice_is_one_yes(side: Side) -> None:
    order, payment = await waiting(side)
    request = yes(payment)
    assert await side.payments.ConfirmPayment(request) == await side.payments.ConfirmPayment(request)
    assert await side.wallet(order.payer.identity_id) == (4000, 0)
    request.amount.minor_units += 1
    with refused(CommonReason.REQUEST_ID_REUSED):
        await side.payments.ConfirmPayment(request)


@pytest.mark.parametrize(
    ("store_id", "amount"),
    [
        ("store-2", gbp(1000)),
        (STORE, gbp(999)),
        (STORE, gbp(1001)),
        (STORE, Money(currency_code="JPY", minor_units=1000)),
    ],
    ids=["store", "less", "more", "currency"],
)
async def test_a_yes_to_another_shop_or_amount_is_no_yes(side: Side, store_id: str, amount: Money) -> None:
    order, payment = await waiting(side)
    request = yes(payment)
    request.store_id = store_id
    request.amount.CopyFrom(amount)
    with refused(Reason.CONSENT_MISMATCH):
        await side.payments.ConfirmPayment(request)
    assert await side.wallet(order.payer.identity_id) == (5000, 0)
    assert state_and_reason(await side.payments.ConfirmPayment(yes(payment))) == ("CAPTURED", "")


async def test_a_yes_that_comes_too_late_takes_nothing_and_the_order_is_unlocked(side: Side) -> None:
    order, payment = await waiting(side)
    side.clock.advance(payment.confirm_remaining.ToMilliseconds())
    with refused(Reason.PAYMENT_NOT_WAITING):
        await side.payments.ConfirmPayment(yes(payment))
    assert await side.step(payment.payment_id) == "VOIDING"
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_LOCKED
    assert await side.finish(payment.payment_id) == ("VOIDED", "PAYER_TIMEOUT")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert await side.wallet(order.payer.identity_id) == (5000, 0)
    assert await side.events(payment.payment_id) == ["CREATED", "LOCKED_FOR_PAYER", "EXPIRED", "ORDER_RELEASED"]


async def test_a_payment_is_taken_up_when_its_payers_time_is_over_and_not_before(side: Side) -> None:
    _, payment = await waiting(side)
    side.clock.advance(payment.confirm_remaining.ToMilliseconds() - 1)
    assert ids_of(await side.resolver.due()) == []
    side.clock.advance(1)
    assert ids_of(await side.resolver.due()) == [payment.payment_id]


async def test_a_clock_that_stepped_back_gives_the_payer_no_more_than_a_whole_window(side: Side) -> None:
    _, payment = await waiting(side)
    side.clock.advance(-86_400_000)
    assert ids_of(await side.resolver.due()) == []
    side.clock.advance(side.settings.timing().payer_window_ms)
    assert ids_of(await side.resolver.due()) == [payment.payment_id]
    assert await side.finish(payment.payment_id) == ("VOIDED", "PAYER_TIMEOUT")


async def test_a_yes_without_the_money_is_declined_and_the_order_is_open_again(side: Side) -> None:
    order, payment = await waiting(side, funds=999)
    declined = await side.payments.ConfirmPayment(yes(payment))
    assert state_and_reason(declined) == ("VOIDED", "INSUFFICIENT_FUNDS")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert await side.wallet(order.payer.identity_id) == (999, 0)


async def test_cancel_while_waiting_unlocks_the_order_to_be_changed_in_place_and_paid(side: Side) -> None:
    order, payment = await waiting(side)
    canceled = await side.payments.CancelPayment(no(payment))
    assert state_and_reason(canceled) == ("VOIDED", "PAYMENT_CANCELED")
    with refused(Reason.PAYMENT_NOT_WAITING):
        await side.payments.ConfirmPayment(yes(payment))
    changed = await side.orders.ReplaceOrderLines(
        orders_api.ReplaceOrderLinesRequest(
            request_id=new_request_id(), order_id=order.order_id, version=order.version, lines=[line(300)]
        )
    )
    assert state_and_reason(await side.pay(changed)) == ("CAPTURED", "")
    assert await side.wallet(order.payer.identity_id) == (4700, 0)


async def test_a_cancellation_sent_twice_says_the_same(side: Side) -> None:
    _, payment = await waiting(side)
    request = no(payment)
    first = await side.payments.CancelPayment(request)
    assert await side.payments.CancelPayment(request) == first
    assert await side.payments.CancelPayment(no(payment)) == first


async def test_cancel_after_the_capture_says_that_it_came_too_late(side: Side) -> None:
    payment = await side.captured(payer_id := await side.shopper(funds=1000))
    assert state_and_reason(await side.payments.CancelPayment(no(payment))) == ("CAPTURED", "")
    assert await side.wallet(payer_id) == (0, 0)


async def test_cancel_before_the_order_decided_gives_the_hold_back(side: Side) -> None:
    order, payment_id = await authorized(side)
    assert await side.wallet(order.payer.identity_id) == (5000, 1000)
    canceled = await side.payments.CancelPayment(no(await side.payment(payment_id)))
    assert state_and_reason(canceled) == ("VOIDED", "PAYMENT_CANCELED")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert await side.wallet(order.payer.identity_id) == (5000, 0)


async def test_cancel_after_the_order_was_paid_captures_although_the_answer_was_lost(side: Side) -> None:
    order, payment_id = await authorized(side)
    await side.orders.CompleteOrderPayment(
        orders_api.CompleteOrderPaymentRequest(payment_id=payment_id, order_id=order.order_id, epoch=1)
    )
    canceled = await side.payments.CancelPayment(no(await side.payment(payment_id)))
    assert state_and_reason(canceled) == ("CAPTURED", "")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_PAID
    assert await side.wallet(order.payer.identity_id) == (4000, 0)


async def test_a_till_cancels_at_the_order_although_the_payment_server_knows_nothing_of_it(side: Side) -> None:
    order, payment = await waiting(side)
    released = await side.orders.CancelOrderPayment(
        orders_api.CancelOrderPaymentRequest(payment_id=payment.payment_id, order_id=order.order_id)
    )
    assert released.state == order_payment_pb2.OrderPayment.STATE_RELEASED
    late = await side.payments.ConfirmPayment(yes(payment))
    assert state_and_reason(late) == ("VOIDED", "PAYMENT_CANCELED")
    assert await side.wallet(order.payer.identity_id) == (5000, 0)


async def test_a_payment_killed_at_the_order_before_it_locked_can_never_lock(side: Side) -> None:
    order = await side.order(await side.shopper(funds=5000))
    request_id = new_request_id()
    await side.orders.CancelOrderPayment(
        orders_api.CancelOrderPaymentRequest(payment_id=request_id, order_id=order.order_id)
    )
    assert state_and_reason(await side.pay(order, request_id)) == ("VOIDED", "PAYMENT_CANCELED")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
