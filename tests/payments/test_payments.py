"""Payments that wait for nobody: identity, transaction number and amount due in, money moved or not."""

import pytest

from tests.payments.side import STORE, Side, asked, gbp, line, named, refused, state_and_reason
from thirdparty_server.errors import Reason
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.type.v1 import payer_pb2
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id


async def test_an_instant_payment_moves_the_money_and_pays_the_order(side: Side) -> None:
    payer_id = await side.shopper(funds=1500)
    order = await side.order(payer_id, 1000)
    payment = await side.pay(order)
    assert state_and_reason(payment) == ("CAPTURED", "")
    assert (payment.store_id, payment.amount, payment.refunded) == (STORE, gbp(1000), gbp(0))
    paid = await side.order_now(order)
    assert (paid.state, paid.payment_id, paid.epoch) == (order_pb2.Order.STATE_PAID, payment.payment_id, payment.epoch)
    assert await side.wallet(payer_id) == (500, 0)
    assert await side.balance(f"sales/{STORE}/GBP") == (1000, 0)
    assert await side.events(payment.payment_id) == ["CREATED", "FUNDS_HELD", "ORDER_PAID"]
    await side.books()


async def test_a_wallet_can_be_emptied_to_the_penny(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    await side.captured(payer_id, 1000)
    assert await side.wallet(payer_id) == (0, 0)


async def test_insufficient_funds_take_nothing_and_leave_the_order_open_to_be_paid(side: Side) -> None:
    payer_id = await side.shopper(funds=999)
    order = await side.order(payer_id, 1000)
    declined = await side.pay(order)
    assert state_and_reason(declined) == ("VOIDED", "INSUFFICIENT_FUNDS")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert await side.wallet(payer_id) == (999, 0)
    assert await side.events(declined.payment_id) == ["CREATED", "DECLINED", "ORDER_RELEASED"]
    await side.deposit(payer_id, 1)
    assert state_and_reason(await side.pay(order)) == ("CAPTURED", "")


async def test_an_unknown_identity_is_declined_and_remembered_at_the_order(side: Side) -> None:
    order = await side.order("nobody")
    payment = await side.pay(order)
    assert (state_and_reason(payment), payment.epoch) == (("VOIDED", "IDENTITY_NOT_FOUND"), 1)
    assert await side.events(payment.payment_id) == ["CREATED", "DECLINED", "ORDER_RELEASED"]
    answer = await side.orders.CancelOrderPayment(
        orders_api.CancelOrderPaymentRequest(payment_id=payment.payment_id, order_id=order.order_id)
    )
    assert answer.state == order_payment_pb2.OrderPayment.STATE_RELEASED


async def test_nothing_is_converted(side: Side) -> None:
    payer_id = await side.shopper(funds=1_000_000, currency="JPY")
    order = await side.order(payer_id, 1000, "GBP")
    assert state_and_reason(await side.pay(order)) == ("VOIDED", "WALLET_NOT_FOUND")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert await side.wallet(payer_id, "JPY") == (1_000_000, 0)


async def test_the_right_number_in_the_wrong_currency_is_another_amount(side: Side) -> None:
    payer_id = await side.shopper(funds=1_000_000, currency="JPY")
    request = asked(await side.order(payer_id, 1000, "GBP"))
    request.amount.currency_code = "JPY"
    assert state_and_reason(await side.payments.CreatePayment(request)) == ("VOIDED", "AMOUNT_MISMATCH")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (payments_api.CreatePaymentRequest(order_version=2), "VERSION_MISMATCH"),
        (payments_api.CreatePaymentRequest(amount=gbp(999)), "AMOUNT_MISMATCH"),
        (payments_api.CreatePaymentRequest(order_id="no-such-order"), "ORDER_NOT_FOUND"),
    ],
    ids=["version", "amount", "order"],
)
async def test_consent_to_something_else_takes_nothing(
    side: Side, change: payments_api.CreatePaymentRequest, reason: str
) -> None:
    payer_id = await side.shopper(funds=5000)
    order = await side.order(payer_id)
    request = asked(order)
    request.MergeFrom(change)
    payment = await side.payments.CreatePayment(request)
    assert state_and_reason(payment) == ("VOIDED", reason)
    assert await side.events(payment.payment_id) == ["CREATED", "ORDER_RELEASED"]
    assert await side.wallet(payer_id) == (5000, 0)
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN


async def test_nobody_pays_another_identitys_order(side: Side) -> None:
    order = await side.order(await side.shopper(funds=5000))
    request = asked(order)
    request.payer.identity_id = await side.shopper(funds=5000)
    assert state_and_reason(await side.payments.CreatePayment(request)) == ("VOIDED", "PAYER_MISMATCH")
    assert await side.wallet(request.payer.identity_id) == (5000, 0)


async def test_equal_amounts_of_another_version_are_another_order(side: Side) -> None:
    payer_id = await side.shopper(funds=5000)
    shown = await side.order(payer_id, 1000)
    await side.orders.ReplaceOrderLines(
        orders_api.ReplaceOrderLinesRequest(
            request_id=new_request_id(), order_id=shown.order_id, version=1, lines=[line(400), line(600)]
        )
    )
    assert state_and_reason(await side.pay(shown)) == ("VOIDED", "VERSION_MISMATCH")
    assert state_and_reason(await side.pay(await side.order_now(shown))) == ("CAPTURED", "")


async def test_a_paid_order_is_not_paid_again(side: Side) -> None:
    payer_id = await side.shopper(funds=5000)
    order = await side.order(payer_id)
    await side.pay(order)
    assert state_and_reason(await side.pay(order)) == ("VOIDED", "ORDER_ALREADY_PAID")
    assert await side.wallet(payer_id) == (4000, 0)


async def test_a_canceled_order_is_not_paid(side: Side) -> None:
    payer_id = await side.shopper(funds=5000)
    order = await side.order(payer_id)
    await side.orders.CancelOrder(
        orders_api.CancelOrderRequest(request_id=new_request_id(), order_id=order.order_id, version=1)
    )
    assert state_and_reason(await side.pay(order)) == ("VOIDED", "ORDER_CANCELED")


async def test_the_same_request_is_the_same_payment_for_ever(side: Side) -> None:
    payer_id = await side.shopper(funds=5000)
    order = await side.order(payer_id)
    first = await side.pay(order, payment_id := new_request_id())
    assert await side.pay(order, payment_id) == first
    await side.refund(payment_id, 400)
    again = await side.pay(order, payment_id)
    assert (again.payment_id, again.refunded) == (payment_id, gbp(400))
    assert await side.wallet(payer_id) == (4400, 0)


@pytest.mark.parametrize(
    "change",
    [
        payments_api.CreatePaymentRequest(amount=gbp(999)),
        payments_api.CreatePaymentRequest(order_version=2),
        payments_api.CreatePaymentRequest(order_id="another"),
        payments_api.CreatePaymentRequest(payer=named("another")),
    ],
    ids=["amount", "version", "order", "payer"],
)
async def test_other_content_under_the_same_request_id_is_refused(
    side: Side, change: payments_api.CreatePaymentRequest
) -> None:
    payer_id = await side.shopper(funds=5000)
    request = asked(await side.order(payer_id))
    await side.payments.CreatePayment(request)
    request.MergeFrom(change)
    with refused(CommonReason.REQUEST_ID_REUSED):
        await side.payments.CreatePayment(request)
    assert await side.wallet(payer_id) == (4000, 0)


async def test_a_payment_id_that_another_order_knows_ends_without_taking_money(side: Side) -> None:
    """Two payment servers may hand one id to the order service, which keeps the first."""
    payer_id = await side.shopper(funds=5000)
    first, second = await side.order(payer_id), await side.order(payer_id)
    payment_id = await side.record(second)
    await side.orders.CancelOrderPayment(
        orders_api.CancelOrderPaymentRequest(payment_id=payment_id, order_id=first.order_id)
    )
    side.clock.advance(side.settings.timing().lock_patience_ms)
    assert await side.finish(payment_id) == ("VOIDED", "ORDER_UNREACHABLE")
    assert await side.wallet(payer_id) == (5000, 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("payment_id", ""),
        ("payment_id", "x" * 65),
        ("order_id", "no spaces"),
        ("order_version", 0),
        ("order_version", -1),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_by_field(side: Side, field: str, value: object) -> None:
    request = payments_api.CreatePaymentRequest(
        payment_id="r-1", order_id="o-1", order_version=1, payer=named("p-1"), amount=gbp(1000)
    )
    setattr(request, field, value)
    with pytest.raises(Refusal) as raised:
        await side.payments.CreatePayment(request)
    assert [violation.field for violation in raised.value.violations] == [field]
    assert not (await side.payments.ListPayments(payments_api.ListPaymentsRequest())).payments


NOBODY = payer_pb2.Payer()
NO_REFERENCES = ("ada", "D1B0F0A8-7C40-4B8A-9C2D-7F1B2C3D4E5F", "d1b0f0a87c404b8a9c2d7f1b2c3d4e5f", "")
NO_IDENTITIES = ("", "no spaces", "d1b0f0a8-7c40-4b8a-9c2d-7f1b2c3d4e5f", "D1B0F0A8-7C40-4B8A-9C2D-7F1B2C3D4E5F")


@pytest.mark.parametrize(
    ("payer", "field"),
    [
        (NOBODY, "payer"),
        *((payer_pb2.Payer(reference=value), "payer.reference") for value in NO_REFERENCES),
        *((payer_pb2.Payer(identity_id=value), "payer.identity_id") for value in NO_IDENTITIES),
    ],
    ids=str,
)
async def test_a_reference_is_a_uuid_and_an_identity_never_is(side: Side, payer: payer_pb2.Payer, field: str) -> None:
    request = payments_api.CreatePaymentRequest(
        payment_id="r-1", order_id="o-1", order_version=1, payer=payer, amount=gbp(1000)
    )
    with pytest.raises(Refusal) as raised:
        await side.payments.CreatePayment(request)
    assert {violation.field for violation in raised.value.violations} == {field}


@pytest.mark.parametrize(
    "amount",
    [gbp(0), gbp(-1), gbp(2**63 - 1), gbp(-(2**63)), Money(currency_code="XAU", minor_units=1), Money(minor_units=1)],
    ids=["zero", "negative", "largest", "smallest", "no-minor-unit", "no-currency"],
)
async def test_an_amount_that_is_no_payment_is_refused(side: Side, amount: Money) -> None:
    request = payments_api.CreatePaymentRequest(
        payment_id="r-1", order_id="o-1", order_version=1, payer=named("p-1"), amount=amount
    )
    with refused(CommonReason.INVALID_FIELD):
        await side.payments.CreatePayment(request)
    assert not (await side.payments.ListPayments(payments_api.ListPaymentsRequest())).payments


async def test_payments_are_listed_newest_first_page_by_page(side: Side) -> None:
    payer_id, other_id = await side.shopper(funds=5000), await side.shopper(funds=5000)
    made = []
    for _ in range(5):
        side.clock.advance(1)
        made.append((await side.captured(payer_id, 100)).payment_id)
    await side.captured(other_id, 100)
    seen: list[str] = []
    token = ""
    while True:
        page = await side.payments.ListPayments(
            payments_api.ListPaymentsRequest(payer=named(payer_id), page_size=2, page_token=token)
        )
        assert len(page.payments) <= 2
        seen += [payment.payment_id for payment in page.payments]
        token = page.next_page_token
        if not token:
            break
    assert seen == made[::-1]


async def test_payments_are_found_by_order_store_and_state(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    order = await side.order(payer_id, 2000)
    await side.pay(order)
    captured = await side.captured(payer_id, 1000)
    cases = [
        (payments_api.ListPaymentsRequest(order_id=captured.order_id), 1),
        (payments_api.ListPaymentsRequest(store_id=STORE), 2),
        (payments_api.ListPaymentsRequest(store_id="another"), 0),
        (payments_api.ListPaymentsRequest(states=[payment_pb2.Payment.STATE_VOIDED]), 1),
        (payments_api.ListPaymentsRequest(states=[payment_pb2.Payment.STATE_PENDING]), 0),
    ]
    for request, count in cases:
        assert len((await side.payments.ListPayments(request)).payments) == count, request


async def test_an_unknown_payment_is_not_found(side: Side) -> None:
    with refused(Reason.PAYMENT_NOT_FOUND):
        await side.payment("no-such-payment")
    with refused(Reason.PAYMENT_NOT_FOUND):
        await side.events("no-such-payment")
    with refused(Reason.PAYMENT_NOT_FOUND):
        await side.payments.CancelPayment(
            payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id="no-such-payment")
        )
