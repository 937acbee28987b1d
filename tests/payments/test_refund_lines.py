"""Refunds by lines: however goods come back, all of them together are worth exactly what was paid."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from tests.clocks import ManualClock
from tests.payments.books import Books
from tests.payments.side import Side, gbp, line, payment_side, refused
from tests.processes import Server
from thirdparty_server.errors import Reason
from thirdparty_server.payments.model import PaidVersion
from thirdparty_server.payments.refunds import operations as refund_operations
from thirdparty_server.payments.refunds.model import Everything, GivenBack, Wanted
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import payment_pb2, refund_pb2
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.type.v1 import line_item_pb2, tax_total_pb2
from tillmesh.lines import Adjustment, LineItem, Unit, totals
from tillmesh.runtime.deadlines import set_deadline
from tillmesh.runtime.errors import Unanswered
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money

TEA = line_item_pb2.LineItem(
    sku="TEA", title="Tea", quantity=3, unit_price_minor=100, tax_code="S", tax_rate_ppm=200_000
)
CHEESE = line_item_pb2.LineItem(
    sku="CHEESE", quantity=432, unit=line_item_pb2.LineItem.UNIT_GRAM, unit_price_minor=1290, tax_code="Z"
)
CUP = line_item_pb2.LineItem(
    sku="CUP",
    quantity=2,
    unit_price_minor=400,
    tax_code="S",
    tax_rate_ppm=200_000,
    adjustments=[line_item_pb2.Adjustment(reason_code="COUPON", amount_minor=-75)],
)
BASKET = (TEA, CHEESE, CUP)
BASKET_MINOR = 300 + 557 + 725


async def paid(
    side: Side, lines: Sequence[line_item_pb2.LineItem] = BASKET, *, prices_include_tax: bool = True
) -> payment_pb2.Payment:
    """A payment of an order with these lines."""
    payer_id = await side.shopper(funds=1_000_000)
    payment = await side.pay(await side.order_of(payer_id, lines, prices_include_tax=prices_include_tax))
    assert payment.state == payment_pb2.Payment.STATE_CAPTURED
    return payment


def told(refund: refund_pb2.Refund) -> list[tuple[int, int, int]]:
    """Lines of a refund: number, quantity, amount."""
    return [(each.line_number, each.quantity, each.amount_minor) for each in refund.lines]


def tax(code: str, rate_ppm: int, net: int, tax_minor: int) -> tax_total_pb2.TaxTotal:
    return tax_total_pb2.TaxTotal(
        tax_code=code, tax_rate_ppm=rate_ppm, net_minor=net, tax_minor=tax_minor, gross_minor=net + tax_minor
    )


async def test_lines_come_back_at_what_they_cost(side: Side) -> None:
    payment = await paid(side)
    assert payment.amount == gbp(BASKET_MINOR)
    one = await side.refund_lines(payment.payment_id, {1: 1})
    assert (one.amount, told(one)) == (gbp(100), [(1, 1, 100)])
    assert list(one.taxes) == [tax("S", 200_000, 83, 17)]
    some = await side.refund_lines(payment.payment_id, {3: 1, 2: 200})
    assert (some.amount, told(some)) == (gbp(258 + 362), [(2, 200, 258), (3, 1, 362)])
    assert [each.tax_code for each in some.taxes] == ["S", "Z"]
    get = refunds_api.GetRefundRequest(refund_id=some.refund_id)
    assert await side.refunds.GetRefund(get) == some
    listed = await side.refunds.ListRefunds(refunds_api.ListRefundsRequest(payment_id=payment.payment_id))
    assert {each.refund_id: told(each) for each in listed.refunds} == {
        one.refund_id: told(one),
        some.refund_id: told(some),
    }
    rest = await side.refund(payment.payment_id, None)
    assert (rest.amount, told(rest)) == (gbp(BASKET_MINOR - 720), [(1, 2, 200), (2, 232, 299), (3, 1, 363)])
    assert (await side.payment(payment.payment_id)).refunded == payment.amount


async def test_a_refund_of_all_that_is_left_carries_every_line_and_tax(side: Side) -> None:
    payment = await paid(side, prices_include_tax=False)
    order_taxes = [tax("S", 200_000, 1025, 205), tax("Z", 0, 557, 0)]
    assert payment.amount == gbp(1025 + 205 + 557)
    refund = await side.refund(payment.payment_id, None)
    assert (refund.amount, list(refund.taxes)) == (payment.amount, order_taxes)
    assert told(refund) == [(1, 3, 300), (2, 432, 557), (3, 2, 725)]


async def test_what_was_never_sold_does_not_come_back(side: Side) -> None:
    payment = await paid(side)
    with refused(Reason.REFUND_EXCEEDS_LINE) as refusals:
        await side.refund_lines(payment.payment_id, {1: 99})
    assert refusals[0].metadata["left"] == "3"
    with refused(Reason.LINE_NOT_FOUND) as refusals:
        await side.refund_lines(payment.payment_id, {1: 1, 4: 1})
    assert (refusals[0].metadata["line_number"], refusals[0].metadata["lines"]) == ("4", "3")
    await side.refund_lines(payment.payment_id, {1: 2})
    with refused(Reason.REFUND_EXCEEDS_LINE) as refusals:
        await side.refund_lines(payment.payment_id, {2: 1, 1: 2})
    assert (refusals[0].metadata["left"], refusals[0].metadata["wanted"]) == ("1", "2")
    assert (await side.payment(payment.payment_id)).refunded == gbp(200)


async def test_a_refund_by_lines_is_answered_the_same_for_ever_and_refused_for_ever(side: Side) -> None:
    payment, refund_id, too_many = await paid(side), new_request_id(), new_request_id()
    first = await side.refund_lines(payment.payment_id, {1: 2}, refund_id)
    for _ in range(2):
        with refused(Reason.REFUND_EXCEEDS_LINE):
            await side.refund_lines(payment.payment_id, {1: 2}, too_many)
        assert await side.refund_lines(payment.payment_id, {1: 2}, refund_id) == first
    assert (await side.payment(payment.payment_id)).refunded == gbp(200)


@pytest.mark.parametrize("everything", [False, True])
async def test_a_slip_for_less_than_the_lines_are_worth_carries_less_of_their_taxes(
    side: Side, everything: bool
) -> None:
    pot = line_item_pb2.LineItem(sku="POT", quantity=1, unit_price_minor=1200, tax_code="S", tax_rate_ppm=200_000)
    payment = await paid(side, [pot])
    await side.refund(payment.payment_id, 1100)
    rest = await (
        side.refund(payment.payment_id, None) if everything else side.refund_lines(payment.payment_id, {1: 1})
    )
    assert (rest.amount, told(rest), list(rest.taxes)) == (gbp(100), [(1, 1, 100)], [tax("S", 200_000, 83, 17)])


async def test_amounts_mark_no_line_and_lines_give_back_no_more_than_is_left(side: Side) -> None:
    payment = await paid(side)
    await side.refund(payment.payment_id, BASKET_MINOR - 250)
    two = await side.refund_lines(payment.payment_id, {1: 2})
    assert (two.amount, told(two)) == (gbp(200), [(1, 2, 200)])
    third = await side.refund_lines(payment.payment_id, {1: 1})
    assert (third.amount, told(third)) == (gbp(50), [(1, 1, 50)])  # all that is left
    with refused(Reason.PAYMENT_ALREADY_REFUNDED):
        await side.refund_lines(payment.payment_id, {2: 1})
    with refused(Reason.PAYMENT_ALREADY_REFUNDED):
        await side.refund(payment.payment_id, None)
    assert (await side.payment(payment.payment_id)).refunded == payment.amount


async def test_after_all_came_back_no_piece_does(side: Side) -> None:
    payment = await paid(side)
    await side.refund(payment.payment_id, 1)
    await side.refund(payment.payment_id, None)
    with refused(Reason.REFUND_EXCEEDS_LINE) as refusals:
        await side.refund_lines(payment.payment_id, {1: 1})
    assert refusals[0].metadata["left"] == "0"


async def test_a_piece_that_is_worth_less_than_half_a_penny_comes_back_for_nothing(side: Side) -> None:
    sweets = line_item_pb2.LineItem(sku="SWEET", quantity=3, unit_price_minor=1, price_quantity=3)
    payment = await paid(side, [sweets, line(5)])
    before = await transfers_of(side, payment)
    first = await side.refund_lines(payment.payment_id, {1: 1})
    assert (first.amount, told(first)) == (gbp(0), [(1, 1, 0)])
    assert await transfers_of(side, payment) == before  # nothing moved
    events = await side.events(payment.payment_id)
    assert events[-1] == "REFUNDED"
    second = await side.refund_lines(payment.payment_id, {1: 1})
    third = await side.refund_lines(payment.payment_id, {1: 1})
    assert second.amount.minor_units + third.amount.minor_units == 1
    with refused(Reason.REFUND_EXCEEDS_LINE):
        await side.refund_lines(payment.payment_id, {1: 1})


async def transfers_of(side: Side, payment: payment_pb2.Payment) -> int:
    """How many lines the statement of the store's sales has."""
    request = accounts_api.ListAccountEntriesRequest(account_id=f"sales/{payment.store_id}/GBP")
    return len((await side.accounts.ListAccountEntries(request)).entries)


async def test_lines_are_read_of_the_version_that_was_paid(side: Side) -> None:
    payer_id = await side.shopper(funds=5000)
    order = await side.order_of(payer_id, [line(999), line(1)])
    changed = await side.orders.ReplaceOrderLines(
        orders_api.ReplaceOrderLinesRequest(
            request_id=new_request_id(), order_id=order.order_id, version=1, lines=[TEA]
        )
    )
    payment = await side.pay(changed)
    with refused(Reason.LINE_NOT_FOUND):
        await side.refund_lines(payment.payment_id, {2: 1})
    assert (await side.refund_lines(payment.payment_id, {1: 3})).amount == gbp(300)


async def test_while_the_order_service_is_away_lines_wait_and_what_was_answered_is_answered(
    database_url: str, tmp_path: Path, order_service: Server, clock: ManualClock
) -> None:
    async with payment_side(database_url, tmp_path, order_service.address, clock) as side:
        payment, refund_id = await paid(side), new_request_id()
        first = await side.refund_lines(payment.payment_id, {1: 1}, refund_id)
        with refused(Reason.REFUND_EXCEEDS_LINE):
            await side.refund_lines(payment.payment_id, {1: 3}, too_many := new_request_id())
    later = new_request_id()
    async with payment_side(database_url, tmp_path, "127.0.0.1:1", clock) as side:
        set_deadline(1.0)
        for attempt in (side.refund_lines(payment.payment_id, {1: 1}, later), side.refund(payment.payment_id, None)):
            with pytest.raises(Unanswered):
                await attempt
        set_deadline(None)
        assert await side.refund_lines(payment.payment_id, {1: 1}, refund_id) == first
        with refused(Reason.REFUND_EXCEEDS_LINE):
            await side.refund_lines(payment.payment_id, {1: 3}, too_many)
        assert (await side.refund(payment.payment_id, 7)).amount == gbp(7)
    async with payment_side(database_url, tmp_path, order_service.address, clock) as side:
        assert (await side.refund_lines(payment.payment_id, {1: 1}, later)).amount == gbp(100)  # nothing was remembered


# Whatever is sold, and in whatever order it comes back


@st.composite
def sold(draw: st.DrawFn) -> LineItem:
    """A line of any kind of goods, with or without a discount."""
    tax_code, rate = draw(st.sampled_from((("S", 200_000), ("S", 88_750), ("R", 50_000), ("", 0))))
    plain = LineItem(
        sku="A",
        title="",
        quantity=draw(st.integers(1, 2_000)),
        unit_price_minor=draw(st.integers(0, 2_000)),
        unit=draw(st.sampled_from(Unit)),
        price_quantity=draw(st.sampled_from((1, 3, 1_000))),
        tax_code=tax_code,
        tax_rate_ppm=rate,
    )
    change = draw(st.integers(-plain.amount_minor, 50))
    return plain._replace(adjustments=(Adjustment("A", "", change),)) if change else plain


@pytest.fixture(scope="module")
def ledger() -> Iterator[Books]:
    with tempfile.TemporaryDirectory() as folder:
        books = Books.open(f"sqlite:///{folder}/payments.db")
        yield books
        books.check()
        books.close()


def give_back(books: Books, payment_id: str, wanted: Wanted, paid_version: PaidVersion) -> GivenBack:
    refund = books.run(refund_operations.refund_payment, books.new_refund(), payment_id, wanted, paid_version)
    return refund.given


@settings(max_examples=60, deadline=None, phases=[Phase.generate])
@given(st.lists(sold(), min_size=1, max_size=5), st.booleans(), st.booleans(), st.data())
def test_whatever_comes_back_in_whatever_order_adds_up_to_what_was_paid(
    ledger: Books, lines: list[LineItem], prices_include_tax: bool, ends_with_all: bool, data: st.DataObject
) -> None:
    due = totals(lines, prices_include_tax=prices_include_tax)
    assume(due.amount_minor > 0)
    amount = Money("GBP", due.amount_minor)
    payment = ledger.create(ledger.shopper(due.amount_minor), amount)
    ledger.lock(payment.payment_id)
    ledger.capture(payment.payment_id)
    version = PaidVersion(tuple(lines), prices_include_tax)
    has = {number: each.quantity for number, each in enumerate(lines, 1)}
    given: list[GivenBack] = []
    while has and not (ends_with_all and len(given) > 2):
        numbers = data.draw(st.sets(st.sampled_from(sorted(has)), min_size=1))
        wanted = {number: data.draw(st.integers(max(1, has[number] // 2), has[number])) for number in numbers}
        given.append(give_back(ledger, payment.payment_id, wanted, version))
        has = {number: left - wanted.get(number, 0) for number, left in has.items() if left > wanted.get(number, 0)}
    if ledger.payment(payment.payment_id).left.minor:
        assert ends_with_all
        given.append(give_back(ledger, payment.payment_id, Everything(), version))
    assert all(each.amount.minor >= 0 for each in given)
    assert sum(each.amount.minor for each in given) == due.amount_minor
    taxes = Counter[tuple[str, int, str]]()
    for each in given:
        for one in each.taxes:
            taxes[one.tax_code, one.tax_rate_ppm, "net"] += one.net_minor
            taxes[one.tax_code, one.tax_rate_ppm, "tax"] += one.tax_minor
    for one in due.taxes:
        assert taxes[one.tax_code, one.tax_rate_ppm, "net"] == one.net_minor
        assert taxes[one.tax_code, one.tax_rate_ppm, "tax"] == one.tax_minor
