"""Who pays: an identity pays its own orders alone; under a reference each payment may have another payer."""

import pytest

from tests.payments.phones import (
    OTHER_TILL,
    PLATFORM,
    TILL,
    Phone,
    acting,
    order_under_reference,
    pay_at_till,
    payer,
    scan,
)
from tests.payments.side import STORE, Side, asked, refused, state_and_reason
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.auth.callers import Caller, Role
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import new_request_id

STEP_MS, HOUR_MS = 30_000, 3_600_000
PAID, WAITS = ("CAPTURED", ""), ("AWAITING_PAYER", "")
POOR = ("VOIDED", "INSUFFICIENT_FUNDS")
MISMATCH = ("VOIDED", "PAYER_MISMATCH")
REQUIRED = ("VOIDED", "PAY_CODE_REQUIRED")


# Under a reference


async def test_after_a_declined_code_another_shopper_pays_the_same_order(side: Side) -> None:
    poor, rich = await payer(side, funds=999), await payer(side)
    order = await order_under_reference(side)
    assert state_and_reason(await scan(side, order, poor.code())) == POOR
    payment = await scan(side, order, rich.code())
    assert state_and_reason(payment) == PAID
    assert payment.payer == order.payer
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_PAID
    assert await side.wallet(poor.identity_id) == (999, 0)
    assert await side.wallet(rich.identity_id) == (4000, 0)


async def test_after_a_wrong_code_another_shopper_pays_the_same_order(side: Side) -> None:
    phone = await payer(side)
    order = await order_under_reference(side)
    assert state_and_reason(await scan(side, order, "27123456789465650089")) == ("VOIDED", "PAY_CODE_INVALID")
    assert state_and_reason(await scan(side, order, phone.code())) == PAID


async def test_without_any_code_a_payment_under_a_reference_needs_one(side: Side) -> None:
    order = await order_under_reference(side)
    for till in (TILL, PLATFORM):
        assert state_and_reason(await pay_at_till(side, order, till)) == REQUIRED
    assert state_and_reason(await scan(side, order, "27123456789465650088")) == ("VOIDED", "PAY_CODE_INVALID")
    assert state_and_reason(await pay_at_till(side, order)) == REQUIRED  # that code did not count
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN


async def test_without_a_code_the_payer_is_that_of_the_latest_code_and_must_say_yes(side: Side) -> None:
    first, second = await payer(side, funds=999), await payer(side, funds=999)
    order = await order_under_reference(side)
    for phone in (first, second):
        side.clock.advance(1)
        assert state_and_reason(await scan(side, order, phone.code())) == POOR
    await side.deposit(first.identity_id, 1)
    await side.deposit(second.identity_id, 1)
    payment = await pay_at_till(side, order)
    assert state_and_reason(payment) == WAITS  # a code is a yes to one payment
    assert payment.payer_display_name == "Ada"
    await second.sign_in()
    assert state_and_reason(await say_yes(side, second, payment)) == PAID
    assert await side.wallet(first.identity_id) == (1000, 0)
    assert await side.wallet(second.identity_id) == (0, 0)


async def test_a_payment_without_a_code_is_no_code_that_counted(side: Side) -> None:
    """What was found by an earlier code within the hour does not make the hour longer."""
    phone = await payer(side, funds=999)
    order = await order_under_reference(side)
    await scan(side, order, phone.code())
    side.clock.advance(HOUR_MS - 1)
    waiting = await pay_at_till(side, order)
    assert state_and_reason(waiting) == WAITS
    with acting(TILL):
        request = payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=waiting.payment_id)
        await side.payments.CancelPayment(request)
    side.clock.advance(1)
    assert state_and_reason(await pay_at_till(side, order)) == REQUIRED
    await side.deposit(phone.identity_id, 1)
    assert state_and_reason(await scan(side, order, phone.code())) == PAID


async def test_a_code_counts_later_for_its_own_order_at_its_own_store_alone(side: Side) -> None:
    phone = await payer(side, funds=999)
    order = await order_under_reference(side)
    await scan(side, order, phone.code())
    another = await side.order(order.payer.reference)
    elsewhere = await order_under_reference(side)
    assert state_and_reason(await pay_at_till(side, another)) == REQUIRED
    assert state_and_reason(await pay_at_till(side, elsewhere)) == REQUIRED
    assert state_and_reason(await pay_at_till(side, order, OTHER_TILL)) == REQUIRED
    assert state_and_reason(await pay_at_till(side, order)) == WAITS


async def test_a_code_of_another_order_under_the_same_reference_pays_that_order(side: Side) -> None:
    first, second = await payer(side), await payer(side)
    order = await order_under_reference(side)
    another = await side.order(order.payer.reference)
    assert state_and_reason(await scan(side, order, first.code())) == PAID
    assert state_and_reason(await scan(side, another, second.code())) == PAID
    assert await side.wallet(second.identity_id) == (4000, 0)


async def test_whoever_showed_the_code_may_pay_from_their_own_phone_and_nobody_else_may(side: Side) -> None:
    phone, stranger = await payer(side, funds=999), await payer(side)
    order = await order_under_reference(side)
    await stranger.sign_in()
    await phone.sign_in()
    with acting(await phone.admitted()), refused(CommonReason.PAYER_DENIED):  # nobody showed a code yet
        await side.pay(order)
    assert state_and_reason(await scan(side, order, phone.code())) == POOR
    await side.deposit(phone.identity_id, 1)
    with acting(await stranger.admitted()), refused(CommonReason.PAYER_DENIED):
        await side.pay(order)
    with acting(await phone.admitted()):
        payment = await side.pay(order)
    assert state_and_reason(payment) == PAID  # who asks themselves has said yes
    assert await side.wallet(phone.identity_id) == (0, 0)


# Under an identity


async def test_another_s_code_under_an_identity_is_not_used_up(side: Side) -> None:
    phone, other = await payer(side), await payer(side)
    order = await side.order(phone.identity_id)
    code = other.code()
    assert state_and_reason(await scan(side, order, code)) == MISMATCH
    assert state_and_reason(await scan(side, await order_under_reference(side), code)) == PAID
    assert state_and_reason(await scan(side, order, phone.code())) == PAID
    assert await side.wallet(other.identity_id) == (4000, 0)


async def test_a_wrong_code_under_an_identity_is_counted_as_everywhere(side: Side) -> None:
    phone, other = await payer(side), await payer(side)
    forged = Phone(side, phone.identity_id, phone.certified, phone.handle, other.key)
    for _ in range(5):
        order = await side.order(other.identity_id)
        assert state_and_reason(await scan(side, order, forged.code())) == ("VOIDED", "PAY_CODE_INVALID")
    order = await side.order(phone.identity_id)
    assert state_and_reason(await scan(side, order, phone.code())) == ("VOIDED", "PAY_CODE_LOCKED")


async def test_no_till_takes_an_identity_s_id_for_itself(side: Side) -> None:
    """A reference never has the form of an identity's id, nor the other way round."""
    phone = await payer(side)
    order = await order_under_reference(side)
    assert state_and_reason(await scan(side, order, phone.code())) == PAID
    request = identities_api.CreateIdentityRequest(identity_id=order.payer.reference, currency_code="GBP")
    with refused(CommonReason.INVALID_FIELD):
        await side.identities.CreateIdentity(request)
    request.identity_id = "ada"
    taking = asked(order)
    taking.payer.reference = "ada"
    with acting(TILL), refused(CommonReason.INVALID_FIELD):
        await side.payments.CreatePayment(taking)
    taking.payer.identity_id = "ada"
    await scan(side, order_of(order, "ada"), phone.code(1))
    assert (await side.identities.CreateIdentity(request)).identity_id == "ada"


def order_of(order: order_pb2.Order, identity_id: str) -> order_pb2.Order:
    """The order as a till tells it that says another payer."""
    told = order_pb2.Order()
    told.CopyFrom(order)
    told.payer.identity_id = identity_id
    return told


# What a till learns


@pytest.mark.parametrize("who", ["nobody", "wrong-currency"])
async def test_a_till_that_names_somebody_learns_nothing_of_identities_and_wallets(side: Side, who: str) -> None:
    identity_id = "nobody" if who == "nobody" else await side.shopper(funds=5000, currency="JPY")
    order = await side.order(identity_id)
    payment = await pay_at_till(side, order)
    real = "IDENTITY_NOT_FOUND" if who == "nobody" else "WALLET_NOT_FOUND"
    assert state_and_reason(payment) == ("VOIDED", "DECLINED")
    assert await reasons(side, payment, TILL) == ["", "DECLINED", "DECLINED"]
    assert await side.state(payment.payment_id) == ("VOIDED", real)
    assert await reasons(side, payment, PLATFORM) == ["", real, real]
    with acting(TILL):
        listed = (await side.payments.ListPayments(payments_api.ListPaymentsRequest(store_id=STORE))).payments
    assert [each.reason for each in listed] == ["DECLINED"]


async def test_a_till_learns_that_money_is_missing_from_who_showed_it_a_code_alone(side: Side) -> None:
    phone = await payer(side, funds=999)
    assert state_and_reason(await scan(side, await order_under_reference(side), phone.code())) == POOR
    order = await side.order(phone.identity_id)
    payment = await pay_at_till(side, order)
    assert state_and_reason(payment) == WAITS
    await phone.sign_in()
    told = await say_yes(side, phone, payment)
    assert state_and_reason(told) == POOR  # payers are told what is wrong
    with acting(TILL):
        assert await side.state(payment.payment_id) == ("VOIDED", "DECLINED")
    assert await reasons(side, payment, TILL) == ["", "", "DECLINED", "DECLINED"]


async def test_a_store_sees_that_the_payer_did_it_and_not_on_which_phone(side: Side) -> None:
    phone = await payer(side, threshold=None)
    payment = await scan(side, await order_under_reference(side), phone.code())
    await phone.sign_in()
    await say_yes(side, phone, payment)
    server = side.settings.own_uri(Role.PAYMENTS)
    assert await actors(side, payment, PLATFORM) == [TILL.uri, server, phone.certified.uri, server]
    assert await actors(side, payment, TILL) == [TILL.uri, server, "payer", server]


async def test_where_in_the_store_a_payment_was_asked_for_is_kept(side: Side) -> None:
    phone = await payer(side)
    request = asked(order := await order_under_reference(side))
    request.pay_code, request.terminal_id, request.lane, request.cashier_id = phone.code(), "t-1", "lane 1", "Zoë"
    with acting(TILL), refused(CommonReason.INVALID_FIELD):
        await side.payments.CreatePayment(request)
    request.lane = "lane-1"
    with acting(TILL):
        payment = await side.payments.CreatePayment(request)
    assert (payment.terminal_id, payment.lane, payment.cashier_id) == ("t-1", "lane-1", "Zoë")
    assert (await side.order_now(order)).payment_id == payment.payment_id
    await phone.sign_in()
    mine = asked(await side.order(phone.identity_id))
    mine.lane = "lane-1"
    with acting(await phone.admitted()), refused(CommonReason.INVALID_FIELD):
        await side.payments.CreatePayment(mine)


async def say_yes(side: Side, phone: Phone, payment: payment_pb2.Payment) -> payment_pb2.Payment:
    request = payments_api.ConfirmPaymentRequest(
        request_id=new_request_id(), payment_id=payment.payment_id, store_id=payment.store_id, amount=payment.amount
    )
    with acting(await phone.admitted()):
        return await side.payments.ConfirmPayment(request)


async def events(side: Side, payment: payment_pb2.Payment, who: Caller) -> list[payment_pb2.PaymentEvent]:
    """What somebody sees of a payment's history."""
    with acting(who):
        request = payments_api.ListPaymentEventsRequest(payment_id=payment.payment_id)
        return list((await side.payments.ListPaymentEvents(request)).events)


async def reasons(side: Side, payment: payment_pb2.Payment, who: Caller) -> list[str]:
    return [event.reason for event in await events(side, payment, who)]


async def actors(side: Side, payment: payment_pb2.Payment, who: Caller) -> list[str]:
    return [event.actor for event in await events(side, payment, who)]
