"""Money given back: of a payment, in full and in part, and without a sale within the store's limit."""

import pytest

from tests.payments.side import STORE, Side, gbp, line, refused
from thirdparty_server.errors import Reason
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id


def a_return(payer_id: str, minor: int, currency: str = "GBP", store_id: str = "") -> refunds_api.CreateRefundRequest:
    """Goods came back whose sale nobody finds."""
    return refunds_api.CreateRefundRequest(
        request_id=new_request_id(),
        store_id=store_id or STORE,
        payer_id=payer_id,
        amount=Money(currency_code=currency, minor_units=minor),
    )


async def set_limit(side: Side, minor: int, currency: str = "GBP", store_id: str = STORE) -> accounts_api.Account:
    return await side.accounts.SetReturnLimit(
        accounts_api.SetReturnLimitRequest(
            request_id=new_request_id(),
            store_id=store_id,
            limit=Money(currency_code=currency, minor_units=minor),
        )
    )


async def test_refunds_in_part_add_up_and_the_rest_is_what_is_left(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    payment = await side.captured(payer_id, 1000)
    first = await side.refund(payment.payment_id, 300)
    assert (first.payer_id, first.store_id, first.amount) == (payer_id, STORE, gbp(300))
    with refused(Reason.REFUND_EXCEEDS_PAYMENT):
        await side.refund(payment.payment_id, 701)
    assert (await side.refund(payment.payment_id, None)).amount == gbp(700)
    with refused(Reason.REFUND_EXCEEDS_PAYMENT):
        await side.refund(payment.payment_id, None)
    with refused(Reason.REFUND_EXCEEDS_PAYMENT):
        await side.refund(payment.payment_id, 1)
    assert await side.wallet(payer_id) == (1000, 0)
    assert await side.balance(f"sales/{STORE}/GBP") == (0, 0)
    assert (await side.payment(payment.payment_id)).refunded == gbp(1000)
    assert await side.events(payment.payment_id) == ["CREATED", "FUNDS_HELD", "ORDER_PAID", "REFUNDED", "REFUNDED"]


async def test_a_refund_in_full_leaves_the_order_paid_for_good(side: Side) -> None:
    payer_id = await side.shopper(funds=5000)
    order = await side.order(payer_id)
    payment = await side.pay(order)
    await side.refund(payment.payment_id, None)
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_PAID
    assert (await side.pay(order)).reason == "ORDER_ALREADY_PAID"
    assert await side.wallet(payer_id) == (5000, 0)


async def test_the_same_refund_is_answered_the_same_for_ever(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    payment = await side.captured(payer_id, 1000)
    first = await side.refund(payment.payment_id, None, request_id := new_request_id())
    assert await side.refund(payment.payment_id, None, request_id) == first
    assert await side.refunds.GetRefund(refunds_api.GetRefundRequest(refund_id=request_id)) == first
    with refused(CommonReason.REQUEST_ID_REUSED):
        await side.refund(payment.payment_id, 1000, request_id)
    assert await side.wallet(payer_id) == (1000, 0)


async def test_a_copy_of_a_refused_return_that_comes_late_gives_nothing_away(side: Side) -> None:
    """The till was told no: what it shows as refused must stay refused, whatever becomes possible later."""
    payer_id = await side.shopper()
    too_much = side.settings.return_limit_minor + 1
    asked_too_early = a_return(payer_id, too_much)
    with refused(Reason.RETURN_LIMIT_EXCEEDED):
        await side.refunds.CreateRefund(asked_too_early)
    await set_limit(side, too_much)
    with refused(Reason.RETURN_LIMIT_EXCEEDED):
        await side.refunds.CreateRefund(asked_too_early)
    assert await side.wallet(payer_id) == (0, 0)
    await side.refunds.CreateRefund(a_return(payer_id, too_much))
    assert await side.wallet(payer_id) == (too_much, 0)


async def test_a_payment_that_took_no_money_is_not_refunded(side: Side) -> None:
    payment_id = await side.record(await side.order(await side.shopper(funds=1)))
    assert await side.finish(payment_id) == ("VOIDED", "INSUFFICIENT_FUNDS")
    with refused(Reason.PAYMENT_NOT_CAPTURED):
        await side.refund(payment_id, 1)


async def test_a_refund_of_what_is_not_decided_is_not_decided_and_works_once_it_is(side: Side) -> None:
    order = await side.order(payer_id := await side.shopper(funds=1000, instant_limit=0))
    payment = await side.pay(order)
    with refused(Reason.PAYMENT_NOT_SETTLED):
        await side.refund(payment.payment_id, 400, request_id := new_request_id())
    await side.payments.ConfirmPayment(
        payments_api.ConfirmPaymentRequest(
            request_id=new_request_id(), payment_id=payment.payment_id, store_id=STORE, amount=payment.amount
        )
    )
    await side.refund(payment.payment_id, 400, request_id)
    assert await side.wallet(payer_id) == (400, 0)


async def test_a_refund_finishes_a_capture_that_is_still_missing(side: Side) -> None:
    order = await side.order(payer_id := await side.shopper(funds=1000))
    payment_id = await side.record(order)
    assert await side.step(payment_id) == "AUTHORIZED"
    await side.orders.CompleteOrderPayment(
        orders_api.CompleteOrderPaymentRequest(payment_id=payment_id, order_id=order.order_id, epoch=1)
    )
    await side.refund(payment_id, 400)
    assert await side.state(payment_id) == ("CAPTURED", "")
    assert await side.wallet(payer_id) == (400, 0)


@pytest.mark.parametrize("field", ["store_id", "payer_id"])
async def test_a_refund_goes_from_the_payments_store_to_its_payer(side: Side, field: str) -> None:
    payment = await side.captured(await side.shopper(funds=1000))
    other_id = await side.shopper()
    request = refunds_api.CreateRefundRequest(request_id=new_request_id(), payment_id=payment.payment_id)
    setattr(request, field, other_id)
    with pytest.raises(Refusal) as raised:
        await side.refunds.CreateRefund(request)
    assert [violation.field for violation in raised.value.violations] == [field]


async def test_a_refund_in_another_currency_is_more_than_there_is(side: Side) -> None:
    payment = await side.captured(await side.shopper(funds=1000))
    request = refunds_api.CreateRefundRequest(
        request_id=new_request_id(), payment_id=payment.payment_id, amount=Money(currency_code="JPY", minor_units=1)
    )
    with refused(Reason.REFUND_EXCEEDS_PAYMENT):
        await side.refunds.CreateRefund(request)
    assert (await side.payment(payment.payment_id)).refunded.minor_units == 0


async def test_what_is_unknown_is_not_found(side: Side) -> None:
    with refused(Reason.PAYMENT_NOT_FOUND):
        await side.refund("no-such-payment", 1)
    with refused(Reason.REFUND_NOT_FOUND):
        await side.refunds.GetRefund(refunds_api.GetRefundRequest(refund_id="no-such-refund"))
    with refused(Reason.IDENTITY_NOT_FOUND):
        await side.refunds.CreateRefund(a_return("nobody", 1))


async def test_a_return_without_a_sale_is_paid_up_to_the_default_limit(side: Side) -> None:
    payer_id = await side.shopper()
    limit = side.settings.return_limit_minor
    await side.refunds.CreateRefund(a_return(payer_id, limit - 1))
    with refused(Reason.RETURN_LIMIT_EXCEEDED):
        await side.refunds.CreateRefund(a_return(payer_id, 2))
    await side.refunds.CreateRefund(a_return(payer_id, 1))
    assert await side.wallet(payer_id) == (limit, 0)
    assert await side.balance(f"returns/{STORE}/GBP") == (-limit, 0)
    books = await side.books()
    assert (books["GBP"].wallets_minor, books["GBP"].stores_minor, books["GBP"].external_minor) == (limit, -limit, 0)


async def test_the_operator_raises_the_limit_and_does_not_lower_it_below_what_is_used(side: Side) -> None:
    payer_id = await side.shopper()
    assert (await set_limit(side, 100)).credit_limit == gbp(100)
    with refused(Reason.RETURN_LIMIT_EXCEEDED):
        await side.refunds.CreateRefund(a_return(payer_id, 101))
    await set_limit(side, 300)
    await side.refunds.CreateRefund(a_return(payer_id, 101))
    with refused(Reason.LIMIT_IN_USE):
        await set_limit(side, 100)
    assert (await set_limit(side, 101)).credit_limit == gbp(101)
    with refused(Reason.RETURN_LIMIT_EXCEEDED):
        await side.refunds.CreateRefund(a_return(payer_id, 1))


async def test_a_limit_of_nothing_allows_no_return(side: Side) -> None:
    payer_id = await side.shopper()
    await set_limit(side, 0)
    with refused(Reason.RETURN_LIMIT_EXCEEDED):
        await side.refunds.CreateRefund(a_return(payer_id, 1))
    assert await side.wallet(payer_id) == (0, 0)


async def test_each_store_and_currency_has_its_own_limit(side: Side) -> None:
    pounds_id, yen_id = await side.shopper(), await side.shopper(currency="JPY")
    await set_limit(side, 0)
    await side.refunds.CreateRefund(a_return(pounds_id, 1, store_id="store-2"))
    await side.refunds.CreateRefund(a_return(yen_id, 1, "JPY"))
    with refused(Reason.CURRENCY_MISMATCH):
        await side.refunds.CreateRefund(a_return(yen_id, 1, "GBP"))
    assert await side.wallet(pounds_id) == await side.wallet(yen_id) == (1, 0)


async def test_sales_do_not_raise_what_a_store_may_give_back_without_a_sale(side: Side) -> None:
    payer_id = await side.shopper(funds=100_000)
    await set_limit(side, 10)
    await side.captured(payer_id, 100_000)
    with refused(Reason.RETURN_LIMIT_EXCEEDED):
        await side.refunds.CreateRefund(a_return(payer_id, 11))
    assert await side.wallet(payer_id) == (0, 0)


async def test_a_return_sent_twice_is_paid_once(side: Side) -> None:
    request = a_return(payer_id := await side.shopper(), 500)
    assert await side.refunds.CreateRefund(request) == await side.refunds.CreateRefund(request)
    assert await side.wallet(payer_id) == (500, 0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (refunds_api.CreateRefundRequest(amount=gbp(0)), "amount.minor_units"),
        (refunds_api.CreateRefundRequest(amount=gbp(-1)), "amount.minor_units"),
        (refunds_api.CreateRefundRequest(amount=gbp(2**63 - 1)), "amount.minor_units"),
        (refunds_api.CreateRefundRequest(store_id="no spaces"), "store_id"),
        (refunds_api.CreateRefundRequest(note="x" * 257), "note"),
    ],
)
async def test_a_return_that_makes_no_sense_is_refused_by_field(
    side: Side, change: refunds_api.CreateRefundRequest, field: str
) -> None:
    request = a_return("p-1", 1)
    if change.HasField("amount"):
        request.ClearField("amount")
    request.MergeFrom(change)
    with pytest.raises(Refusal) as raised:
        await side.refunds.CreateRefund(request)
    assert field in [violation.field for violation in raised.value.violations]


async def test_refunds_are_listed_newest_first_page_by_page(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    payment = await side.captured(payer_id, 1000)
    made = []
    for _ in range(5):
        side.clock.advance(1)
        made.append((await side.refund(payment.payment_id, 10)).refund_id)
    side.clock.advance(1)
    returned = await side.refunds.CreateRefund(a_return(payer_id, 10))
    request = refunds_api.ListRefundsRequest(payment_id=payment.payment_id, page_size=3)
    first = await side.refunds.ListRefunds(request)
    request.page_token = first.next_page_token
    second = await side.refunds.ListRefunds(request)
    assert [refund.refund_id for refund in (*first.refunds, *second.refunds)] == made[::-1]
    assert not second.next_page_token
    of_payer = await side.refunds.ListRefunds(refunds_api.ListRefundsRequest(payer_id=payer_id))
    assert of_payer.refunds[0] == returned
    request.payer_id = payer_id
    with refused(CommonReason.INVALID_FIELD):
        await side.refunds.ListRefunds(request)


async def test_an_exchange_that_the_shop_owes_nothing_for_is_paid_and_refunded_as_any_order(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    order = await side.orders.CreateOrder(
        orders_api.CreateOrderRequest(
            request_id=new_request_id(),
            store_id=STORE,
            payer_id=payer_id,
            currency_code="GBP",
            lines=[line(900), line(-300)],
        )
    )
    payment = await side.pay(order)
    assert payment.amount == gbp(600)
    await side.refund(payment.payment_id, None)
    assert await side.wallet(payer_id) == (1000, 0)
