"""Money given back: amounts of a payment and all that is left of it, and without a sale within the store's limit."""

from dataclasses import replace

import pytest

from tests.payments.phones import OTHER_TILL, PLATFORM, TILL, Phone, acting, payer
from tests.payments.side import STORE, Side, gbp, named, refused
from thirdparty_server.errors import DOMAIN, Reason
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_pb2, store_pb2
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.payment.v1 import store_service_pb2 as stores_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Caller
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id

LOCK_MS = 900_000


# Of a payment


async def test_refunds_in_part_add_up_and_the_rest_is_what_is_left(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    payment = await side.captured(payer_id, 1000)
    first = await side.refund(payment.payment_id, 300)
    assert (first.payer, first.store_id, first.amount) == (named(payer_id), STORE, gbp(300))
    assert not first.lines
    with refused(Reason.REFUND_EXCEEDS_PAYMENT) as refusals:
        await side.refund(payment.payment_id, 701)
    assert (refusals[0].metadata["left"], refusals[0].metadata["wanted"]) == ("7.00 GBP", "7.01 GBP")
    assert (await side.refund(payment.payment_id, None)).amount == gbp(700)
    for minor in (None, 1, 1001):
        with refused(Reason.PAYMENT_ALREADY_REFUNDED) as refusals:
            await side.refund(payment.payment_id, minor)
        assert refusals[0].text == f"Payment {payment.payment_id} is already refunded in full."
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
    first = await side.refund(payment.payment_id, None, refund_id := new_request_id())
    assert await side.refund(payment.payment_id, None, refund_id) == first
    assert await side.refunds.GetRefund(refunds_api.GetRefundRequest(refund_id=refund_id)) == first
    with refused(CommonReason.REQUEST_ID_REUSED):
        await side.refund(payment.payment_id, 1000, refund_id)
    assert await side.wallet(payer_id) == (1000, 0)


async def test_a_refund_says_who_made_it_and_where(side: Side) -> None:
    payment = await side.captured(await side.shopper(funds=1000))
    request = refunds_api.RefundPaymentRequest(
        refund_id=new_request_id(),
        payment_id=payment.payment_id,
        note="broken",
        terminal_id="t-1",
        lane="lane-1",
        cashier_id="Zoë",
        approval_id="a-1",
    )
    with acting(TILL):
        refund = await side.refunds.RefundPayment(request)
        assert await side.refunds.RefundPayment(request) == refund
    assert (refund.note, refund.terminal_id, refund.lane, refund.cashier_id) == ("broken", "t-1", "lane-1", "Zoë")
    assert (refund.actor, refund.create_time.ToMilliseconds()) == (TILL.uri, side.clock.now_ms())


async def test_a_payment_that_took_no_money_is_not_refunded(side: Side) -> None:
    payment_id = await side.record(await side.order(await side.shopper(funds=1)))
    assert await side.finish(payment_id) == ("VOIDED", "INSUFFICIENT_FUNDS")
    for minor in (1, None):
        with refused(Reason.PAYMENT_NOT_CAPTURED):
            await side.refund(payment_id, minor)
    with refused(Reason.PAYMENT_NOT_CAPTURED):
        await side.refund_lines(payment_id, {1: 1})


async def test_a_refund_of_what_is_not_decided_is_not_decided_and_works_once_it_is(side: Side) -> None:
    order = await side.order(payer_id := await side.shopper(funds=1000, threshold=0))
    payment = await side.pay(order)
    with refused(Reason.PAYMENT_NOT_SETTLED):
        await side.refund(payment.payment_id, 400, refund_id := new_request_id())
    await side.payments.ConfirmPayment(
        payments_api.ConfirmPaymentRequest(
            request_id=new_request_id(), payment_id=payment.payment_id, store_id=STORE, amount=payment.amount
        )
    )
    await side.refund(payment.payment_id, 400, refund_id)
    assert await side.wallet(payer_id) == (400, 0)


async def test_a_refund_finishes_a_capture_that_is_still_missing(side: Side) -> None:
    order = await side.order(payer_id := await side.shopper(funds=1000))
    payment_id = await side.record(order)
    assert await side.step(payment_id) == "AUTHORIZED"
    await side.orders.CompleteOrderPayment(
        orders_api.CompleteOrderPaymentRequest(payment_id=payment_id, order_id=order.order_id, epoch=1)
    )
    await side.refund_lines(payment_id, {1: 1})
    assert await side.state(payment_id) == ("CAPTURED", "")
    assert await side.wallet(payer_id) == (1000, 0)


async def test_a_payment_is_refunded_by_its_own_store_alone(side: Side) -> None:
    payment = await side.captured(await side.shopper(funds=1000))
    with acting(OTHER_TILL), refused(CommonReason.STORE_DENIED):
        await side.refund(payment.payment_id, None)
    with acting(OTHER_TILL), refused(CommonReason.STORE_DENIED):
        await side.refund("no-such-payment", None)
    with acting(TILL):
        assert (await side.refund(payment.payment_id, None)).amount == gbp(1000)


@pytest.mark.parametrize("refunded", [0, 400, 1000])
async def test_a_refund_in_another_currency_is_that_and_nothing_else(side: Side, refunded: int) -> None:
    payment = await side.captured(await side.shopper(funds=1000))
    if refunded:
        await side.refund(payment.payment_id, refunded)
    request = refunds_api.RefundPaymentRequest(
        refund_id=new_request_id(), payment_id=payment.payment_id, amount=Money(currency_code="EUR", minor_units=1)
    )
    with refused(Reason.CURRENCY_MISMATCH):
        await side.refunds.RefundPayment(request)
    assert (await side.payment(payment.payment_id)).refunded == gbp(refunded)


LINE = refund_pb2.RefundLine(line_number=1, quantity=1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (refunds_api.RefundPaymentRequest(refund_id="no spaces"), "refund_id"),
        (refunds_api.RefundPaymentRequest(payment_id="no spaces"), "payment_id"),
        (refunds_api.RefundPaymentRequest(amount=gbp(0)), "amount.minor_units"),
        (refunds_api.RefundPaymentRequest(amount=gbp(-1)), "amount.minor_units"),
        (refunds_api.RefundPaymentRequest(amount=gbp(2**63 - 1)), "amount.minor_units"),
        (refunds_api.RefundPaymentRequest(amount=gbp(1), lines=[LINE]), "lines"),
        (refunds_api.RefundPaymentRequest(lines=[refund_pb2.RefundLine(quantity=1)]), "lines[0].line_number"),
        (refunds_api.RefundPaymentRequest(lines=[refund_pb2.RefundLine(line_number=1)]), "lines[0].quantity"),
        (
            refunds_api.RefundPaymentRequest(lines=[refund_pb2.RefundLine(line_number=1, quantity=-1)]),
            "lines[0].quantity",
        ),
        (refunds_api.RefundPaymentRequest(lines=[LINE, LINE]), "lines[1].line_number"),
        (refunds_api.RefundPaymentRequest(lines=[LINE] * 2001), "lines"),
        (refunds_api.RefundPaymentRequest(note="x" * 257), "note"),
        (refunds_api.RefundPaymentRequest(approval_id="x" * 65), "approval_id"),
        (refunds_api.RefundPaymentRequest(cashier_id="x" * 65), "cashier_id"),
    ],
)
async def test_a_refund_that_makes_no_sense_is_refused_by_field(
    side: Side, change: refunds_api.RefundPaymentRequest, field: str
) -> None:
    request = refunds_api.RefundPaymentRequest(refund_id="r-1", payment_id="p-1")
    request.MergeFrom(change)
    with pytest.raises(Refusal) as raised:
        await side.refunds.RefundPayment(request)
    assert field in [violation.field for violation in raised.value.violations]


async def test_what_is_unknown_is_not_found(side: Side) -> None:
    for minor in (1, None):
        with refused(Reason.PAYMENT_NOT_FOUND):
            await side.refund("no-such-payment", minor)
    with refused(Reason.REFUND_NOT_FOUND):
        await side.refunds.GetRefund(refunds_api.GetRefundRequest(refund_id="no-such-refund"))


# Without a sale


async def test_money_is_given_back_without_a_sale_up_to_the_limit(side: Side) -> None:
    payer_id = await side.shopper()
    await side.store(limit=500)
    refund = await side.give_back(payer_id, 499)
    assert (refund.payer, refund.payment_id, refund.store_id, refund.amount) == (named(payer_id), "", STORE, gbp(499))
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED):
        await side.give_back(payer_id, 2)
    await side.give_back(payer_id, 1)
    assert await side.wallet(payer_id) == (500, 0)
    assert await side.balance(f"returns/{STORE}/GBP") == (-500, 0)
    books = (await side.books())["GBP"]
    assert (books.wallets, books.stores, books.external) == (gbp(500), gbp(-500), gbp(0))


async def test_a_copy_of_a_refused_refund_that_comes_late_gives_nothing_away(side: Side) -> None:
    """The till was told no: what it shows as refused must stay refused, whatever becomes possible later."""
    payer_id, refund_id = await side.shopper(), new_request_id()
    store = await side.store(limit=100)
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED):
        await side.give_back(payer_id, 101, refund_id=refund_id)
    store.unreferenced_refund_limit.minor_units = 500
    await side.stores.UpdateStore(update_of(store, "unreferenced_refund_limit"))
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED):
        await side.give_back(payer_id, 101, refund_id=refund_id)
    assert await side.wallet(payer_id) == (0, 0)
    await side.give_back(payer_id, 101)
    assert await side.wallet(payer_id) == (101, 0)


def update_of(store: store_pb2.Store, path: str) -> stores_api.UpdateStoreRequest:
    request = stores_api.UpdateStoreRequest(request_id=new_request_id(), store=store, version=store.version)
    request.update_mask.paths.append(path)
    return request


async def test_a_refund_without_a_sale_sent_twice_is_made_once(side: Side) -> None:
    payer_id, refund_id = await side.shopper(), new_request_id()
    await side.store(limit=500)
    first = await side.give_back(payer_id, 300, refund_id=refund_id)
    assert await side.give_back(payer_id, 300, refund_id=refund_id) == first
    assert await side.wallet(payer_id) == (300, 0)


async def test_a_till_that_names_somebody_learns_nothing_of_identities_and_wallets(side: Side) -> None:
    yen_id = await side.shopper(currency="JPY")
    await side.store(limit=500)
    for payee, reason in (("nobody", Reason.IDENTITY_NOT_FOUND), (yen_id, Reason.WALLET_NOT_FOUND)):
        with acting(TILL), refused(Reason.DECLINED) as refusals:
            await side.give_back(payee, 1)
        assert not refusals[0].metadata
        with acting(PLATFORM), refused(reason):
            await side.give_back(payee, 1)


async def by_code(
    side: Side, code: str, minor: int = 300, till: Caller = TILL, refund_id: str = "", currency: str = "GBP"
) -> refund_pb2.Refund:
    request = refunds_api.CreateUnreferencedRefundRequest(
        refund_id=refund_id or new_request_id(),
        store_id=STORE,
        pay_code=code,
        amount=Money(currency_code=currency, minor_units=minor),
    )
    with acting(till):
        return await side.refunds.CreateUnreferencedRefund(request)


async def test_whoever_shows_a_code_is_given_back_and_the_store_does_not_learn_who_it_is(side: Side) -> None:
    phone = await payer(side, funds=0)
    await side.store(limit=1000)
    refund = await by_code(side, phone.code())
    assert refund.payer == Payer()
    assert phone.identity_id not in f"{refund}"
    assert await side.wallet(phone.identity_id) == (300, 0)
    get = refunds_api.GetRefundRequest(refund_id=refund.refund_id)
    with acting(PLATFORM):
        assert (await side.refunds.GetRefund(get)).payer == named(phone.identity_id)
    listing = refunds_api.ListRefundsRequest(store_id=STORE)
    of_payer = refunds_api.ListRefundsRequest(store_id=STORE, payer=named(phone.identity_id))
    with acting(TILL):
        assert (await side.refunds.GetRefund(get)).payer == Payer()
        assert [each.payer for each in (await side.refunds.ListRefunds(listing)).refunds] == [Payer()]
        assert not (await side.refunds.ListRefunds(of_payer)).refunds  # or a till would find out by asking for names
    with acting(PLATFORM):
        assert len((await side.refunds.ListRefunds(of_payer)).refunds) == 1


async def test_a_code_that_is_given_back_to_is_used_up_and_one_that_is_refused_is_not(side: Side) -> None:
    phone = await payer(side, funds=0)
    await side.store(limit=1000)
    with refused(Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED):
        await by_code(side, code := phone.code(), 1001)
    refund_id = new_request_id()
    first = await by_code(side, code, refund_id=refund_id)
    assert await by_code(side, code, refund_id=refund_id) == first
    wrong = "27123456789465650088"  # a till that keeps no code repeats its request with whatever it has
    assert await by_code(side, wrong, refund_id=refund_id) == first
    with refused(Reason.PAY_CODE_USED):
        await by_code(side, code)
    assert await side.wallet(phone.identity_id) == (300, 0)


async def test_wrong_codes_are_counted_although_their_refund_is_refused(side: Side) -> None:
    phone, other = await payer(side, funds=0), await payer(side)
    await side.store(limit=1000)
    wrong: Phone = replace(phone, key=other.key)
    refund_id = new_request_id()
    for _ in range(10):  # the same request many times is one try
        with refused(Reason.PAY_CODE_INVALID):
            await by_code(side, wrong.code(), refund_id=refund_id)
    for _ in range(4):
        with refused(Reason.PAY_CODE_INVALID):
            await by_code(side, wrong.code())
    with refused(Reason.PAY_CODE_LOCKED):
        await by_code(side, phone.code())
    side.clock.advance(LOCK_MS)
    assert (await by_code(side, phone.code())).amount == gbp(300)
    with refused(Reason.PAY_CODE_INVALID):
        await by_code(side, "27123456789465650088")


async def test_who_shows_a_code_hears_of_a_wallet_that_is_missing_and_the_store_does_not_hear_whose(side: Side) -> None:
    phone = await payer(side, funds=0)
    await side.store(limit=500)
    with refused(Reason.NO_WALLET_IN_CURRENCY) as refusals:
        await by_code(side, phone.code(), 1, currency="JPY")
    assert phone.identity_id.encode() not in refusals[0].to_status(DOMAIN).SerializeToString()


async def test_a_till_that_has_lost_the_code_finds_its_refund_or_uses_up_its_id(side: Side) -> None:
    phone = await payer(side, funds=0)
    await side.store(limit=1000)
    made, lost = new_request_id(), new_request_id()
    refund = await by_code(side, phone.code(), refund_id=made)
    assert await by_code(side, "", refund_id=made) == refund
    with refused(Reason.PAY_CODE_REQUIRED):
        await by_code(side, "", refund_id=lost)
    side.clock.advance(60_000)
    with refused(Reason.PAY_CODE_REQUIRED):  # a copy with the code that comes late
        await by_code(side, code := phone.code(), refund_id=lost)
    assert await side.wallet(phone.identity_id) == (300, 0)
    assert (await by_code(side, code)).amount == gbp(300)


async def test_a_till_gives_back_for_its_own_store_alone(side: Side) -> None:
    phone = await payer(side, funds=0)
    await side.store(limit=500)
    with refused(CommonReason.STORE_DENIED):
        await by_code(side, phone.code(), till=OTHER_TILL)
    assert (await by_code(side, phone.code())).amount == gbp(300)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (refunds_api.CreateUnreferencedRefundRequest(refund_id="no spaces"), "refund_id"),
        (refunds_api.CreateUnreferencedRefundRequest(store_id="no spaces"), "store_id"),
        (refunds_api.CreateUnreferencedRefundRequest(identity_id=""), "payee"),
        (refunds_api.CreateUnreferencedRefundRequest(pay_code=""), "payee"),
        (
            refunds_api.CreateUnreferencedRefundRequest(identity_id="d1b0f0a8-7c40-4b8a-9c2d-7f1b2c3d4e5f"),
            "identity_id",
        ),
        (refunds_api.CreateUnreferencedRefundRequest(amount=gbp(0)), "amount.minor_units"),
        (refunds_api.CreateUnreferencedRefundRequest(amount=gbp(-1)), "amount.minor_units"),
        (refunds_api.CreateUnreferencedRefundRequest(note="x" * 257), "note"),
    ],
)
async def test_a_refund_without_a_sale_that_makes_no_sense_is_refused_by_field(
    side: Side, change: refunds_api.CreateUnreferencedRefundRequest, field: str
) -> None:
    request = refunds_api.CreateUnreferencedRefundRequest(
        refund_id="r-1", store_id=STORE, identity_id="p-1", amount=gbp(1)
    )
    if change.HasField("amount"):
        request.ClearField("amount")
    if change.WhichOneof("payee"):
        request.ClearField("identity_id")
    request.MergeFrom(change)
    with acting(PLATFORM), pytest.raises(Refusal) as raised:
        await side.refunds.CreateUnreferencedRefund(request)
    assert field in [violation.field for violation in raised.value.violations]


# Lists


async def test_refunds_are_listed_newest_first_page_by_page(side: Side) -> None:
    payer_id = await side.shopper(funds=1000)
    await side.store(limit=100)
    payment = await side.captured(payer_id, 1000)
    made = []
    for _ in range(5):
        side.clock.advance(1)
        made.append((await side.refund(payment.payment_id, 10)).refund_id)
    side.clock.advance(1)
    without_sale = await side.give_back(payer_id, 10)
    request = refunds_api.ListRefundsRequest(payment_id=payment.payment_id, page_size=3)
    first = await side.refunds.ListRefunds(request)
    request.page_token = first.next_page_token
    second = await side.refunds.ListRefunds(request)
    assert [refund.refund_id for refund in (*first.refunds, *second.refunds)] == made[::-1]
    assert not second.next_page_token
    of_payer = await side.refunds.ListRefunds(refunds_api.ListRefundsRequest(payer=named(payer_id)))
    assert of_payer.refunds[0] == without_sale
    request.payer.CopyFrom(named(payer_id))
    with refused(CommonReason.INVALID_FIELD):
        await side.refunds.ListRefunds(request)
