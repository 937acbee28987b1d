"""Many at once: whatever wins, exactly one does."""

import asyncio
from collections import Counter
from collections.abc import Iterable

import pytest

from tests.payments.side import INSTANT, Side, state_and_reason
from thirdparty_server.errors import Reason
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payment_pb2, refund_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

MANY = 20


def ends(payments: Iterable[payment_pb2.Payment]) -> Counter[str]:
    """How many payments ended in which state."""
    return Counter(state_and_reason(payment)[0] for payment in payments)


async def test_a_double_click_is_one_payment(side: Side) -> None:
    payer_id = await side.shopper(funds=1000 * MANY)
    order = await side.order(payer_id)
    payment_id = new_request_id()
    payments = await asyncio.gather(*(side.pay(order, payment_id) for _ in range(MANY)))
    assert ends(payments) == {"CAPTURED": MANY}
    assert {payment.payment_id for payment in payments} == {payment_id}
    assert await side.wallet(payer_id) == (1000 * (MANY - 1), 0)
    assert await side.events(payment_id) == ["CREATED", "FUNDS_HELD", "ORDER_PAID"]


async def test_many_attempts_on_one_order_take_the_money_once(side: Side) -> None:
    payer_id = await side.shopper(funds=1000 * MANY)
    order = await side.order(payer_id)
    payments = await asyncio.gather(*(side.pay(order) for _ in range(MANY)))
    assert ends(payments) == {"CAPTURED": 1, "VOIDED": MANY - 1}
    assert {payment.reason for payment in payments} <= {"", "ORDER_LOCKED", "ORDER_ALREADY_PAID"}
    assert await side.wallet(payer_id) == (1000 * (MANY - 1), 0)
    paid = await side.order_now(order)
    winner = next(payment for payment in payments if payment.state == payment_pb2.Payment.STATE_CAPTURED)
    assert (paid.state, paid.payment_id) == (order_pb2.Order.STATE_PAID, winner.payment_id)
    await side.books()


@pytest.mark.parametrize("threshold", [INSTANT, None], ids=["instant", "confirmed"])
async def test_till_and_phone_pay_one_order_once(side: Side, threshold: int | None) -> None:
    """The payer may confirm on both devices; whichever holds the lock is the one that counts."""
    payer_id = await side.shopper(funds=5000, threshold=threshold)
    order = await side.order(payer_id)

    async def device() -> payment_pb2.Payment:
        payment = await side.pay(order)
        if payment.state != payment_pb2.Payment.STATE_AWAITING_PAYER:
            return payment
        return await side.payments.ConfirmPayment(
            payments_api.ConfirmPaymentRequest(
                request_id=new_request_id(),
                payment_id=payment.payment_id,
                store_id=payment.store_id,
                amount=payment.amount,
            )
        )

    assert ends(await asyncio.gather(device(), device())) == {"CAPTURED": 1, "VOIDED": 1}
    assert await side.wallet(payer_id) == (4000, 0)


async def test_a_wallet_pays_for_as_many_orders_as_it_has_money(side: Side) -> None:
    payer_id = await side.shopper(funds=7500)
    orders = [await side.order(payer_id) for _ in range(MANY)]
    payments = await asyncio.gather(*(side.pay(order) for order in orders))
    assert ends(payments) == {"CAPTURED": 7, "VOIDED": MANY - 7}
    assert {payment.reason for payment in payments} == {"", "INSUFFICIENT_FUNDS"}
    assert await side.wallet(payer_id) == (500, 0)
    states = Counter([(await side.order_now(order)).state for order in orders])
    assert states == {order_pb2.Order.STATE_PAID: 7, order_pb2.Order.STATE_OPEN: MANY - 7}


async def test_pay_and_cancel_at_once_agree_with_the_order(side: Side) -> None:
    """Cancellations that come before, amidst and after: payment and order never tell different stories."""
    payer_id = await side.shopper(funds=1000 * MANY)
    orders = [await side.order(payer_id) for _ in range(MANY)]
    captured = 0
    for number, order in enumerate(orders):
        payment_id = await side.record(order)
        for _ in range(number % 3):
            await side.step(payment_id)
        cancel = payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment_id)
        steps = (side.payments.CancelPayment(cancel), side.finish(payment_id), side.finish(payment_id))
        await asyncio.gather(*steps)
        state, _ = await side.state(payment_id)
        paid = (await side.order_now(order)).state == order_pb2.Order.STATE_PAID
        assert state == ("CAPTURED" if paid else "VOIDED")
        captured += paid
    assert await side.wallet(payer_id) == (1000 * (MANY - captured), 0)
    assert 0 < captured < MANY


async def test_refunds_at_once_never_exceed_the_payment(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    payment = await side.captured(payer_id, 1000)
    outcomes = await asyncio.gather(
        *(side.refund(payment.payment_id, 300) for _ in range(MANY)), return_exceptions=True
    )
    done = [outcome for outcome in outcomes if isinstance(outcome, refund_pb2.Refund)]
    refusals = [outcome.reason for outcome in outcomes if isinstance(outcome, Refusal)]
    assert len(done) == 3
    assert refusals == [Reason.REFUND_EXCEEDS_PAYMENT.name] * (MANY - 3)
    assert await side.wallet(payer_id) == (900, 0)
    assert (await side.payment(payment.payment_id)).refunded.minor_units == 900


async def test_one_refund_sent_many_times_at_once_is_one_refund(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    payment = await side.captured(payer_id, 1000)
    refund_id = new_request_id()
    refunds = await asyncio.gather(*(side.refund(payment.payment_id, 100, refund_id) for _ in range(MANY)))
    assert all(refund == refunds[0] for refund in refunds)
    assert await side.wallet(payer_id) == (100, 0)


async def test_refunds_of_lines_at_once_give_no_piece_back_twice(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    tea = line_item_pb2.LineItem(sku="TEA", quantity=7, unit_price_minor=100)
    payment = await side.pay(await side.order_of(payer_id, [tea]))
    outcomes = await asyncio.gather(
        *(side.refund_lines(payment.payment_id, {1: 2}) for _ in range(MANY)), return_exceptions=True
    )
    done = [outcome for outcome in outcomes if isinstance(outcome, refund_pb2.Refund)]
    refusals = [outcome.reason for outcome in outcomes if isinstance(outcome, Refusal)]
    assert len(done) == 3
    assert refusals == [Reason.REFUND_EXCEEDS_LINE.name] * (MANY - 3)
    assert await side.wallet(payer_id) == (900, 0)
