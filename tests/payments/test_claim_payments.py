"""Paying an order that was claimed by the shop's QR code: a claim gives the right to pay, and locks nothing."""

import asyncio

from tests.payments.claims import (
    CLAIM_MS,
    claim,
    claimed,
    claimed_order,
    pay_claimed,
    release,
    rows,
    shown,
    signed_in,
    told,
)
from tests.payments.phones import PLATFORM, TILL, acting, order_under_reference, pay_at_till, payer, scan
from tests.payments.side import Side, asked, line, refused, state_and_reason
from thirdparty_server.errors import Reason
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.runtime.ids import new_request_id

PAID, MISMATCH = ("CAPTURED", ""), ("VOIDED", "PAYER_MISMATCH")


async def test_whoever_has_claimed_an_order_pays_it_in_their_own_name(side: Side) -> None:
    phone = await signed_in(side)
    order, _ = await claimed_order(side, phone)
    shown_order = (await claimed(phone, order)).order
    payment = await pay_claimed(phone, shown_order)
    assert state_and_reason(payment) == PAID
    assert (payment.payer, payment.identity_id) == (order.payer, phone.identity_id)
    assert (await side.order_now(order)).payment_id == payment.payment_id
    assert await side.wallet(phone.identity_id) == (4000, 0)


async def test_it_is_the_payer_s_yes_whatever_their_wallet_asks_for(side: Side) -> None:
    phone = await payer(side, threshold=None)
    await phone.sign_in()
    order, _ = await claimed_order(side, phone, minor=4_999)
    assert state_and_reason(await pay_claimed(phone, order)) == PAID


async def test_the_shop_learns_nothing_of_who_paid(side: Side) -> None:
    """They showed the till no code: it reads neither name nor identity, nor that money is missing."""
    phone = await signed_in(side, funds=999)
    order, _ = await claimed_order(side, phone)
    payment = await pay_claimed(phone, order)
    assert state_and_reason(payment) == ("VOIDED", "INSUFFICIENT_FUNDS")
    with acting(TILL):
        told = await side.payment(payment.payment_id)
    assert (told.payer_display_name, told.identity_id, told.reason) == ("", "", "DECLINED")
    assert told.payer == order.payer
    assert state_and_reason(await pay_at_till(side, order)) == ("VOIDED", "PAY_CODE_REQUIRED")  # it was no pay code
    await side.deposit(phone.identity_id, 1)
    assert state_and_reason(await pay_claimed(phone, order)) == PAID  # the claim is still there


async def test_without_a_claim_nobody_pays_under_their_own_name(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order, _ = await claimed_order(side, phone)
    assert state_and_reason(await pay_claimed(other, order)) == MISMATCH
    request = asked(told(order, phone))
    for who in (TILL, PLATFORM):  # the right is the phone's
        request.payment_id = new_request_id()
        with acting(who):
            assert state_and_reason(await side.payments.CreatePayment(request)) == MISMATCH
    await release(phone, order)
    assert state_and_reason(await pay_claimed(phone, order)) == MISMATCH
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN


async def test_a_claim_that_is_over_pays_nothing(side: Side) -> None:
    phone = await signed_in(side)
    order, _ = await claimed_order(side, phone)
    side.clock.advance(CLAIM_MS)
    assert state_and_reason(await pay_claimed(phone, order)) == MISMATCH
    again, _ = await claimed_order(side, phone)
    await shown(side, again)  # presented anew
    assert state_and_reason(await pay_claimed(phone, again)) == MISMATCH


async def test_a_claim_is_for_its_own_order(side: Side) -> None:
    phone = await signed_in(side)
    order, _ = await claimed_order(side, phone)
    another = await side.order(order.payer.reference)
    assert state_and_reason(await pay_claimed(phone, another)) == MISMATCH


async def test_a_repeat_after_the_claim_ended_gets_the_same_payment(side: Side) -> None:
    phone = await signed_in(side)
    order, _ = await claimed_order(side, phone)
    payment = await pay_claimed(phone, order)
    assert await rows(side) == []
    assert await pay_claimed(phone, order, payment.payment_id) == payment
    refused_one, _ = await claimed_order(side, phone, minor=9_000)
    declined = await pay_claimed(phone, refused_one)
    await release(phone, refused_one)
    assert await pay_claimed(phone, refused_one, declined.payment_id) == declined


async def test_who_agreed_to_another_basket_does_not_pay_this_one(side: Side) -> None:
    phone = await signed_in(side)
    order, _ = await claimed_order(side, phone)
    request = orders_api.ReplaceOrderLinesRequest(
        request_id=new_request_id(), order_id=order.order_id, version=1, lines=[line(400), line(600)]
    )
    changed = await side.orders.ReplaceOrderLines(request)
    assert state_and_reason(await pay_claimed(phone, order)) == ("VOIDED", "VERSION_MISMATCH")
    now = await side.order_now(order)
    assert (now.state, now.version, now.epoch) == (order_pb2.Order.STATE_OPEN, changed.version, 0)
    assert await side.wallet(phone.identity_id) == (5000, 0)
    seen = (await claimed(phone, order)).order
    assert (seen.version, len(seen.lines)) == (2, 2)
    assert state_and_reason(await pay_claimed(phone, seen)) == PAID


async def test_a_claim_blocks_no_pay_code_at_the_till(side: Side) -> None:
    phone, at_till = await signed_in(side), await signed_in(side)
    order, code = await claimed_order(side, phone)
    assert state_and_reason(await scan(side, order, at_till.code())) == PAID
    assert await rows(side) == []
    assert state_and_reason(await pay_claimed(phone, order)) == ("VOIDED", "ORDER_ALREADY_PAID")
    with refused(Reason.CLAIM_CODE_NOT_FOUND):
        await claim(phone, code)
    assert await side.wallet(phone.identity_id) == (5000, 0)


async def test_pay_code_and_claim_at_once_take_the_money_once(side: Side) -> None:
    phone, at_till = await signed_in(side), await signed_in(side)
    for number in range(1, 6):
        order, _ = await claimed_order(side, phone, minor=100)
        payments = await asyncio.gather(pay_claimed(phone, order), scan(side, order, at_till.code()))
        states = sorted(state_and_reason(payment)[0] for payment in payments)
        assert states == ["CAPTURED", "VOIDED"]
        (balance, held), (other, other_held) = [await side.wallet(each.identity_id) for each in (phone, at_till)]
        assert (balance + other, held, other_held) == (10_000 - 100 * number, 0, 0)
        side.clock.advance(30_000)  # a pay code counts once
    await side.books()


async def test_a_claimed_order_that_is_locked_is_shown_and_can_be_claimed(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order = await order_under_reference(side)
    code = await shown(side, order)
    lock = orders_api.LockOrderRequest(
        payment_id=new_request_id(),
        order_id=order.order_id,
        payer=order.payer,
        order_version=1,
        amount=order.amount,
        store_id=order.store_id,
    )
    lock.lease.seconds = 500
    await side.orders.LockOrder(lock)
    assert (await claim(phone, code)).order.state == order_pb2.Order.STATE_LOCKED
    assert state_and_reason(await pay_claimed(phone, order)) == ("VOIDED", "ORDER_LOCKED")
    with refused(Reason.ORDER_CLAIMED):
        await claim(other, code)


async def test_a_payment_under_way_goes_on_when_its_claim_is_given_up(side: Side) -> None:
    phone = await signed_in(side)
    order, _ = await claimed_order(side, phone)
    with acting(await phone.admitted()):
        payment_id = await side.record(told(order, phone))
    await release(phone, order)
    assert await side.finish(payment_id) == PAID


async def test_a_paid_order_is_no_longer_presented_and_others_are(side: Side) -> None:
    phone = await signed_in(side)
    order, _ = await claimed_order(side, phone)
    other, _ = await claimed_order(side, phone)
    await pay_claimed(phone, order)
    assert [row["order_id"] for row in await rows(side)] == [other.order_id]
