"""An operator ends a payment that its order does not know; whatever the order decides is left to it."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
from grpc.aio import AioRpcError

from tests.payments.held import authorized_with, cancel_at_order, lock, stuck
from tests.payments.side import Side, refused
from thirdparty_server.errors import Reason
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.runtime.errors import CommonReason, Unanswered
from tillmesh.runtime.ids import new_request_id

FUNDS = 1000
Arrange = Callable[[Side, order_pb2.Order], Awaitable[str]]


def void(payment_id: str) -> payments_api.VoidPaymentRequest:
    return payments_api.VoidPaymentRequest(request_id=new_request_id(), payment_id=payment_id)


async def never_heard_of(side: Side, order: order_pb2.Order) -> str:
    return await authorized_with(side, order, epoch=1)


async def of_another_epoch(side: Side, order: order_pb2.Order) -> str:
    payment_id = await authorized_with(side, order, epoch=2)
    await lock(side, order, payment_id)
    return payment_id


async def canceled_before_its_lock(side: Side, order: order_pb2.Order) -> str:
    payment_id = await authorized_with(side, order, epoch=1)
    await cancel_at_order(side, order, payment_id)
    return payment_id


async def of_another_order(side: Side, order: order_pb2.Order) -> str:
    payment_id = await authorized_with(side, order, epoch=1)
    await cancel_at_order(side, await side.order(order.payer.identity_id), payment_id)
    return payment_id


@pytest.mark.parametrize("arrange", [never_heard_of, of_another_epoch, canceled_before_its_lock, of_another_order])
async def test_a_hold_that_its_order_does_not_know_is_given_back(side: Side, arrange: Arrange) -> None:
    order = await side.order(await side.shopper(funds=FUNDS))
    payment_id = await arrange(side, order)
    assert len(await stuck(side, payment_id)) == 1
    assert await side.wallet(order.payer.identity_id) == (FUNDS, FUNDS)
    request = void(payment_id)
    voided = await side.payments.VoidPayment(request)
    assert (voided.state, voided.reason) == (payment_pb2.Payment.STATE_VOIDED, "VOIDED_BY_OPERATOR")
    assert await side.events(payment_id) == ["CREATED", "FUNDS_HELD", "VOIDED_BY_OPERATOR"]
    assert await side.wallet(order.payer.identity_id) == (FUNDS, 0)
    assert await side.payments.VoidPayment(request) == voided
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert (await side.pay(order)).state == payment_pb2.Payment.STATE_CAPTURED
    assert await side.wallet(order.payer.identity_id) == (0, 0)
    await side.books()


@pytest.mark.parametrize("arrange", [never_heard_of, of_another_epoch, canceled_before_its_lock])
async def test_what_comes_late_can_neither_lock_nor_pay_the_order(side: Side, arrange: Arrange) -> None:
    order = await side.order(await side.shopper(funds=FUNDS))
    payment_id = await arrange(side, order)
    epoch = (await side.payment(payment_id)).epoch
    await side.payments.VoidPayment(void(payment_id))
    assert (await lock(side, order, payment_id)).state == order_payment_pb2.OrderPayment.STATE_RELEASED
    for late in {1, epoch}:
        request = orders_api.CompleteOrderPaymentRequest(payment_id=payment_id, order_id=order.order_id, epoch=late)
        with suppress(AioRpcError):
            await side.orders.CompleteOrderPayment(request)
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN


async def seen(side: Side, order: order_pb2.Order, payment_id: str) -> tuple[object, ...]:
    """What a void could change of a payment and its order."""
    now = await side.order_now(order)
    return now.state, now.epoch, now.payment_id, await side.payment(payment_id), await side.events(payment_id)


async def pending(side: Side, order: order_pb2.Order) -> str:
    return await side.record(order)


async def awaiting_its_payer(side: Side, order: order_pb2.Order) -> str:
    return (await side.pay(order)).payment_id


async def given_up(side: Side, order: order_pb2.Order) -> str:
    payment_id = await side.record(order)
    side.clock.advance(side.settings.timing().lock_patience_ms)
    assert await side.step(payment_id) == "VOIDING"
    return payment_id


async def captured(side: Side, order: order_pb2.Order) -> str:
    return (await side.pay(order)).payment_id


async def declined(side: Side, order: order_pb2.Order) -> str:
    payment_id = await side.record(order)
    await cancel_at_order(side, order, payment_id)
    assert await side.finish(payment_id) == ("VOIDED", "PAYMENT_CANCELED")
    return payment_id


@pytest.mark.parametrize(
    ("arrange", "state"),
    [
        (pending, "PENDING"),
        (awaiting_its_payer, "AWAITING_PAYER"),
        (given_up, "VOIDING"),
        (captured, "CAPTURED"),
        (declined, "VOIDED"),
    ],
)
async def test_a_payment_that_holds_no_money_is_refused_and_its_order_hears_nothing(
    side: Side, arrange: Arrange, state: str
) -> None:
    order = await side.order(await side.shopper(funds=FUNDS, threshold=0 if state == "AWAITING_PAYER" else FUNDS))
    payment_id = await arrange(side, order)
    before = await seen(side, order, payment_id)
    assert (await side.state(payment_id))[0] == state
    with refused(Reason.PAYMENT_NOT_VOIDABLE) as heard:
        await side.payments.VoidPayment(void(payment_id))
    assert f"is {state}" in heard[0].text
    assert await seen(side, order, payment_id) == before


@pytest.mark.parametrize("canceled", [False, True])
async def test_a_hold_that_its_order_knows_ends_as_the_order_says_and_the_no_stays_one(
    side: Side, canceled: bool
) -> None:
    order = await side.order(await side.shopper(funds=FUNDS))
    payment_id = await side.record(order)
    assert await side.step(payment_id) == "AUTHORIZED"
    if canceled:
        await cancel_at_order(side, order, payment_id)
    request = void(payment_id)
    for _ in range(2):
        with refused(Reason.PAYMENT_NOT_VOIDABLE):
            await side.payments.VoidPayment(request)
    assert await side.finish(payment_id) == (("VOIDED", "PAYMENT_CANCELED") if canceled else ("CAPTURED", ""))
    assert await side.wallet(order.payer.identity_id) == (FUNDS * canceled, 0)
    with refused(Reason.PAYMENT_NOT_VOIDABLE):
        await side.payments.VoidPayment(request)


async def test_an_order_that_is_paid_by_it_under_another_epoch_keeps_the_money(side: Side) -> None:
    """Its payment server was set back, and not the order service: the goods are gone."""
    order = await side.order(await side.shopper(funds=FUNDS))
    payment_id = await authorized_with(side, order, epoch=7)
    await lock(side, order, payment_id)
    await side.orders.CompleteOrderPayment(
        orders_api.CompleteOrderPaymentRequest(payment_id=payment_id, order_id=order.order_id, epoch=1)
    )
    assert len(await stuck(side, payment_id)) == 1
    with refused(Reason.PAYMENT_NOT_VOIDABLE):
        await side.payments.VoidPayment(void(payment_id))
    assert await side.wallet(order.payer.identity_id) == (FUNDS, FUNDS)


@pytest.mark.parametrize("lost", ["complete", "cancel"])
async def test_an_order_service_that_is_away_says_nothing_and_the_same_request_goes_on_later(
    side: Side, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    order = await side.order(await side.shopper(funds=FUNDS))
    payment_id = await never_heard_of(side, order)
    request = void(payment_id)

    async def unanswered(_orders: object, _payment: object) -> None:
        raise Unanswered("away")

    with monkeypatch.context() as patched:
        patched.setattr(f"thirdparty_server.payments.orders.Orders.{lost}", unanswered)
        with pytest.raises(Unanswered):
            await side.payments.VoidPayment(request)
    assert await side.state(payment_id) == ("AUTHORIZED", "")
    assert (await side.payments.VoidPayment(request)).state == payment_pb2.Payment.STATE_VOIDED


async def test_any_other_refusal_of_the_order_service_says_nothing_of_the_payment(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payment server with the wrong certificate, for example."""
    order = await side.order(await side.shopper(funds=FUNDS))
    payment_id = await never_heard_of(side, order)

    async def denied(_orders: object, _payment: object) -> None:
        raise CommonReason.ROLE_DENIED(role="terminal", method="CompleteOrderPayment")

    monkeypatch.setattr("thirdparty_server.payments.orders.Orders.complete", denied)
    with refused(CommonReason.ROLE_DENIED):
        await side.payments.VoidPayment(void(payment_id))
    assert await side.state(payment_id) == ("AUTHORIZED", "")


async def test_an_unknown_payment_is_not_found(side: Side) -> None:
    with refused(Reason.PAYMENT_NOT_FOUND):
        await side.payments.VoidPayment(void("no-such-payment"))
