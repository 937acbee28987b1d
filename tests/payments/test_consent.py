"""Who says yes: payers themselves, or a code that they showed, within limits; a till that knows an id has no yes."""

import asyncio
from collections import Counter

import pytest

from tests.payments.phones import (
    PLATFORM,
    Phone,
    acting,
    bind,
    order_under_reference,
    pay_at_till,
    payer,
    scan,
)
from tests.payments.side import STORE, Side, asked, gbp, line, named, state_and_reason
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.ids import new_request_id

STEP_MS, DAY_MS = 30_000, 86_400_000
PAID, WAITS = ("CAPTURED", ""), ("AWAITING_PAYER", "")


async def shown(side: Side, phone: Phone, minor: int = 100) -> tuple[str, str]:
    """What comes of a payment with the code of the next half minute."""
    side.clock.advance(STEP_MS)
    return state_and_reason(await scan(side, await order_under_reference(side, minor), phone.code()))


async def test_a_till_that_knows_an_id_always_waits_for_the_payer(side: Side) -> None:
    phone = await payer(side)
    order = await side.order(phone.identity_id, 1)
    payment = await pay_at_till(side, order)
    assert state_and_reason(payment) == WAITS
    assert (payment.payer_display_name, payment.identity_id) == ("", "")
    assert await side.wallet(phone.identity_id) == (5000, 0)


async def test_payers_pay_from_their_own_phone_whatever_the_limit(side: Side) -> None:
    phone = await payer(side, threshold=0, unconfirmed_max=0)
    await phone.sign_in()
    order = await side.order(phone.identity_id)
    with acting(await phone.admitted()):
        payment = await side.payments.CreatePayment(asked(order))
    assert state_and_reason(payment) == PAID
    assert payment.identity_id == phone.identity_id
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_PAID


@pytest.mark.parametrize("by_code", [True, False])
async def test_more_than_the_threshold_waits_and_the_payer_s_phone_says_yes(side: Side, by_code: bool) -> None:
    phone = await payer(side, threshold=500)
    if by_code:
        payment = await scan(side, await order_under_reference(side, 501), phone.code())
    else:
        with acting(PLATFORM):
            payment = await side.pay(await side.order(phone.identity_id, 501))
    assert state_and_reason(payment) == WAITS
    await phone.sign_in()
    request = payments_api.ConfirmPaymentRequest(
        request_id=new_request_id(), payment_id=payment.payment_id, store_id=payment.store_id, amount=payment.amount
    )
    with acting(await phone.admitted()):
        assert state_and_reason(await side.payments.ConfirmPayment(request)) == PAID


async def test_a_phone_finds_what_waits_for_it_although_the_order_names_a_reference(side: Side) -> None:
    phone = await payer(side, threshold=0)
    order = await order_under_reference(side)
    payment = await scan(side, order, phone.code())
    await phone.sign_in()
    states = [payment_pb2.Payment.STATE_AWAITING_PAYER]
    mine = payments_api.ListPaymentsRequest(identity_id=phone.identity_id, states=states)
    with acting(await phone.admitted()):
        [found] = (await side.payments.ListPayments(mine)).payments
        cancel = payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=found.payment_id)
        canceled = await side.payments.CancelPayment(cancel)
    assert (found.payment_id, found.payer) == (payment.payment_id, order.payer)
    assert state_and_reason(canceled) == ("VOIDED", "PAYMENT_CANCELED")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN


async def test_after_so_many_payments_a_day_the_payer_is_asked(side: Side) -> None:
    phone = await payer(side, threshold=500, unconfirmed_max=2)
    assert await shown(side, phone, 501) == WAITS  # what waits anyway is not counted
    assert [await shown(side, phone) for _ in range(3)] == [PAID, PAID, WAITS]
    side.clock.advance(DAY_MS - side.clock.now_ms() % DAY_MS)
    assert [await shown(side, phone) for _ in range(3)] == [PAID, PAID, WAITS]


async def test_a_payer_whose_limit_is_no_payment_a_day_is_asked_each_time(side: Side) -> None:
    phone = await payer(side, threshold=500, unconfirmed_max=0)
    assert [await shown(side, phone) for _ in range(2)] == [WAITS, WAITS]
    side.clock.advance(DAY_MS)
    assert await shown(side, phone) == WAITS


async def test_a_clock_that_steps_back_gives_nobody_more_payments(side: Side) -> None:
    phone = await payer(side, unconfirmed_max=1)
    assert await shown(side, phone) == PAID
    side.clock.advance(-DAY_MS)
    order = await side.order(phone.identity_id, 100)
    assert state_and_reason(await side.pay(order)) == WAITS


async def test_payments_at_once_are_counted_each(side: Side) -> None:
    phone = await payer(side, unconfirmed_max=2)
    phones = [phone, *[await bind(side, phone.identity_id) for _ in range(5)]]
    orders = [await order_under_reference(side, 100) for _ in phones]
    payments = await asyncio.gather(*(scan(side, order, one.code()) for order, one in zip(orders, phones, strict=True)))
    assert Counter(map(state_and_reason, payments)) == {PAID: 2, WAITS: 4}


async def test_a_reference_that_pays_again_is_counted_again(side: Side) -> None:
    phone = await payer(side, funds=999, unconfirmed_max=1)
    order = await order_under_reference(side)
    assert state_and_reason(await scan(side, order, phone.code())) == ("VOIDED", "INSUFFICIENT_FUNDS")
    assert state_and_reason(await pay_at_till(side, order)) == WAITS


async def test_a_phone_sees_the_pending_transactions_of_all_shops_page_by_page(side: Side) -> None:
    phone, other = await payer(side), await payer(side)
    made = [(await side.order(phone.identity_id)).order_id for _ in range(3)]
    await side.order(other.identity_id)
    await phone.sign_in()
    seen: list[str] = []
    request = payers_api.ListPendingOrdersRequest(page_size=2)
    with acting(await phone.admitted()):
        await side.payments.CreatePayment(asked(await side.order(phone.identity_id)))  # paid: no longer pending
        for _ in range(2):
            page = await side.payers.ListPendingOrders(request)
            seen += [order.order_id for order in page.orders]
            request.page_token = page.next_page_token
    assert seen == made[::-1]
    assert not request.page_token


async def test_a_phone_sees_what_it_is_to_pay_and_nothing_that_is_the_store_s_own(side: Side) -> None:
    phone = await payer(side)
    cheaper = line(900)
    cheaper.price_source = line_item_pb2.LineItem.PRICE_SOURCE_OVERRIDE
    cheaper.price_override.reason, cheaper.price_override.actor = "DAMAGED", "Zoë"
    request = orders_api.CreateOrderRequest(
        request_id=new_request_id(),
        store_id=STORE,
        payer=named(phone.identity_id),
        currency_code="GBP",
        lines=[cheaper],
        labels={"table": "7"},
        terminal_id="t-1",
        lane="lane-1",
        cashier_id="Zoë",
    )
    order = await side.orders.CreateOrder(request)
    await phone.sign_in()
    with acting(await phone.admitted()):
        [seen] = (await side.payers.ListPendingOrders(payers_api.ListPendingOrdersRequest())).orders
    assert (seen.order_id, seen.amount, seen.lines[0].title) == (order.order_id, gbp(900), cheaper.title)
    assert (dict(seen.labels), seen.terminal_id, seen.lane, seen.cashier_id) == ({}, "", "", "")
    for own in ("table", "t-1", "lane-1", "Zoë", "DAMAGED"):
        assert own in f"{order}"
        assert own.encode() not in seen.SerializeToString()
