"""Money given back: of a checkout, and for goods whose sale the till does not have."""

import pytest
from grpc import StatusCode

from tests.processes import DEADLINE_S
from tests.terminal.phones import shopper_with_phone
from tests.terminal.till import (
    COFFEE,
    TEA,
    TEA_MINOR,
    Behind,
    Till,
    gbp,
    goods,
    payer,
    refund_state,
    refused,
    said,
)
from tillmesh.api.terminal.v1 import checkout_pb2, receipt_pb2, till_refund_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as api
from tillmesh.api.type.v1 import line_item_pb2, payer_pb2
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import MINOR_UNITS_MAX

HAM = checkouts_api.NewLine(
    sku="HAM",
    title="Ham",
    quantity=432,
    unit=line_item_pb2.LineItem.UNIT_GRAM,
    unit_price_minor=1290,
    tax_code="A",
    tax_rate_ppm=200_000,
)


def came_back(refund: till_refund_pb2.TillRefund) -> list[tuple[str, int, int]]:
    """Article, quantity and amount of each line that came back."""
    return [(item.sku, item.quantity, item.amount_minor) for item in refund.lines]


def test_a_checkout_is_refunded_in_parts_and_then_all_that_is_left(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    paid = till.pay(till.submitted(shopper, [TEA, COFFEE]))
    part = till.refund(paid, gbp(125), note="one cup was cold")
    assert (refund_state(part), part.amount, part.note) == ("DONE", gbp(125), "one cup was cold")
    assert (came_back(part), part.lane, part.cashier_id) == ([], "lane-9", "returns")
    rest = till.refund(paid)
    assert (refund_state(rest), rest.amount) == ("DONE", gbp(525))
    told = till.get(paid)
    assert (said(told), told.refunded) == ("PAID HAND_OVER_GOODS", gbp(650))
    assert behind.wallet(shopper) == (100_000, 0)
    assert till.get_refund(rest.refund_id) == rest
    assert till.events(paid)[-4:] == ["REFUND_STARTED", "REFUNDED"] * 2
    events = till.history(paid)[-4:]
    assert [(event.amount, event.reference) for event in events[1::2]] == [
        (gbp(125), part.refund_id),
        (gbp(525), rest.refund_id),
    ]


def test_lines_come_back_by_their_numbers_and_the_slip_shows_what_they_came_to(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    basket = till.create(shopper, [COFFEE, TEA, HAM])
    basket = till.remove(basket, 1)  # the tea is line 2, and the first line of the order
    paid = till.pay(till.submit(till.adjust(basket, -100)))
    assert paid.amount == gbp(TEA_MINOR + 557 - 100)
    amounts = {line.item.sku: line.item.amount_minor for line in paid.lines}
    tea = till.refund(paid, lines={2: 1})
    assert came_back(tea) == [("TEA", 1, amounts["TEA"] // 2)]
    assert tea.amount == gbp(amounts["TEA"] // 2)
    ham = till.refund(paid, lines={3: 432})
    assert came_back(ham) == [("HAM", 432, amounts["HAM"])]
    assert ham.lines[0] == paid.lines[1].item
    assert [(tax.tax_code, tax.gross_minor) for tax in ham.taxes] == [("A", amounts["HAM"])]
    rest = till.refund(paid)
    assert came_back(rest) == [("TEA", 1, amounts["TEA"] - amounts["TEA"] // 2)]
    assert till.get(paid).refunded == paid.amount
    assert behind.wallet(shopper) == (100_000, 0)
    slip = till.receipt(paid).text
    assert f"REFUND GBP {-ham.amount.minor_units / 100:>31.2f}\n" in slip
    assert slip.count("Tea\n") == 3
    assert slip.count("Ham\n") == 2


def test_a_full_refund_shows_the_goods_with_their_quantities_and_amounts(till: Till, behind: Behind) -> None:
    paid = till.pay(till.submitted(behind.shopper(), [TEA, COFFEE]))
    refund = till.refund(paid)
    assert came_back(refund) == [("TEA", 2, 250), ("COFFEE", 1, 400)]
    slip = till.receipt(paid).text.partition("Payment")[2]
    assert "Tea\n  2 × 1.25                            2.50\n" in slip
    assert "Coffee\n  1 × 4.00                            4.00\n" in slip
    assert "REFUND GBP                           -6.50\n" in slip
    assert " 0.00" not in slip


def test_no_piece_is_given_back_that_was_not_sold_or_has_come_back(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    paid = till.pay(till.submitted(shopper, [TEA, COFFEE]))
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.refund(paid, lines={1: 99})
    assert [violation.field for violation in refusals[0].violations] == ["lines[0].quantity"]
    with refused("LINE_NOT_FOUND", StatusCode.NOT_FOUND):
        till.refund(paid, lines={3: 1})
    till.refund(paid, lines={1: 2})
    with refused("REFUND_EXCEEDS_LINE", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
        till.refund(paid, lines={1: 1})
    assert behind.wallet(shopper) == (100_000 - 400, 0)
    assert till.events(paid)[-2:] == ["REFUND_STARTED", "REFUND_REFUSED"]


def test_a_refund_that_is_repeated_gives_the_money_once(till: Till, behind: Behind) -> None:
    shopper, refund_id = behind.shopper(), new_request_id()
    paid = till.pay(till.submitted(shopper))
    first = till.refund(paid, gbp(100), refund_id=refund_id)
    assert till.refund(paid, gbp(100), refund_id=refund_id) == first
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR + 100, 0)
    with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
        till.refund(paid, gbp(101), refund_id=refund_id)


def test_more_than_was_paid_is_not_given_back(till: Till, behind: Behind) -> None:
    shopper, refund_id = behind.shopper(), new_request_id()
    paid = till.pay(till.submitted(shopper))
    for _ in range(2):  # the repetition is told the same
        with refused("REFUND_EXCEEDS_PAYMENT", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
            till.refund(paid, gbp(TEA_MINOR + 1), refund_id=refund_id)
    no = till.get_refund(refund_id)
    assert (refund_state(no), no.reason) == ("REFUSED", "REFUND_EXCEEDS_PAYMENT")
    assert not no.HasField("amount")
    assert till.get(paid).refunded == gbp(0)
    assert till.events(paid)[-2:] == ["REFUND_STARTED", "REFUND_REFUSED"]
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_only_a_paid_checkout_is_refunded_and_has_a_receipt(till: Till) -> None:
    for checkout in (till.create(), till.submitted(), till.cancel(till.create())):
        with refused("CHECKOUT_NOT_PAID", StatusCode.FAILED_PRECONDITION):
            till.refund(checkout)
        with refused("CHECKOUT_NOT_PAID", StatusCode.FAILED_PRECONDITION):
            till.receipt(checkout, kind=receipt_pb2.Receipt.KIND_SALE)


def test_a_checkout_that_the_phone_paid_is_refunded_to_that_payment(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    pending = till.submitted(shopper)
    behind.pay_from_phone(pending)
    till.refund(till.resume(pending.checkout_id))
    assert behind.wallet(shopper) == (100_000, 0)


@pytest.mark.parametrize(
    ("amount", "lines", "field"),
    [
        (gbp(0), {}, "amount.minor_units"),
        (gbp(-1), {}, "amount.minor_units"),
        (gbp(2**63 - 1), {}, "amount.minor_units"),
        (None, {1: 0}, "lines[0].quantity"),
        (None, {1: -1}, "lines[0].quantity"),
        (gbp(1), {1: 1}, "amount"),
    ],
)
def test_a_refund_that_makes_no_sense_is_refused(
    till: Till, behind: Behind, amount: Money | None, lines: dict[int, int], field: str
) -> None:
    paid = till.pay(till.submitted(behind.shopper()))
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.refund(paid, amount, lines=lines)
    assert [violation.field for violation in refusals[0].violations] == [field]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.refund(paid, note="x" * 257)
    twice = [api.ReturnedLine(line_number=1, quantity=1)] * 2
    request = api.RefundCheckoutRequest(refund_id=new_request_id(), checkout_id=paid.checkout_id, lines=twice)
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.refunds.RefundCheckout(request, timeout=DEADLINE_S)


def test_a_refund_is_in_the_currency_that_was_paid(till: Till, behind: Behind) -> None:
    paid = till.pay(till.submitted(behind.shopper()))
    with refused("CURRENCY_MISMATCH", StatusCode.INVALID_ARGUMENT) as refusals:
        till.refund(paid, Money(currency_code="EUR", minor_units=1))
    assert refusals[0].metadata["wanted"] == "GBP"


def test_what_the_store_writes_of_a_refund_stands_in_no_history(till: Till, behind: Behind) -> None:
    paid = till.pay(till.submitted(behind.shopper()))
    refund = till.refund(paid, note="the shopper is Ada Lovelace")
    assert till.get_refund(refund.refund_id).note == "the shopper is Ada Lovelace"
    assert [event.reason for event in till.history(paid)][-2:] == ["", ""]


def test_goods_without_a_sale_are_taken_back_within_the_limit(till: Till, behind: Behind) -> None:
    shopper, refund_id = behind.shopper(funds=0), new_request_id()
    taxed = goods(600)
    taxed.tax_rate_ppm = 200_000
    returned = till.give_back(shopper, goods(50, quantity=2), taxed, refund_id=refund_id)
    assert (refund_state(returned), returned.amount, returned.checkout_id) == ("DONE", gbp(700), "")
    assert came_back(returned) == [("TEA", 2, 100), ("TEA", 1, 600)]
    assert [(tax.net_minor, tax.tax_minor) for tax in returned.taxes] == [(500, 100)]
    assert returned.payer == payer(shopper)
    assert till.give_back(shopper, goods(50, quantity=2), taxed, refund_id=refund_id) == returned
    assert behind.wallet(shopper) == (700, 0)
    refused_id = new_request_id()
    with refused("UNREFERENCED_REFUND_LIMIT_EXCEEDED", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
        till.give_back(shopper, goods(MINOR_UNITS_MAX), refund_id=refused_id)
    assert refund_state(till.get_refund(refused_id)) == "REFUSED"
    with refused("IDENTITY_NOT_FOUND", StatusCode.NOT_FOUND, "payment.tillmesh"):
        till.give_back("nobody", goods(1))


def test_goods_without_a_sale_are_taken_back_from_whoever_shows_a_pay_code(till: Till, behind: Behind) -> None:
    phone, refund_id = shopper_with_phone(behind, funds=0), new_request_id()
    code = phone.code()
    returned = till.give_back("", goods(30), code=code, refund_id=refund_id)
    assert (refund_state(returned), returned.amount) == ("DONE", gbp(30))
    assert not returned.HasField("payer")
    assert till.give_back("", goods(30), code=phone.code(), refund_id=refund_id) == returned
    assert behind.wallet(phone.identity_id) == (30, 0)
    with refused("PAY_CODE_USED", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
        till.give_back("", goods(30), code=code)


def test_a_return_has_goods_that_are_worth_something_and_somebody_who_receives(till: Till) -> None:
    for lines in ([], [goods(0)]):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            till.give_back("ada", *lines)
        assert {violation.field for violation in refusals[0].violations} == {"lines"}
    for wrong, field in ((goods(-5), "unit_price_minor"), (goods(1, quantity=-1), "quantity")):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            till.give_back("ada", wrong)
        assert f"lines[0].{field}" in {violation.field for violation in refusals[0].violations}
    nobody = api.ReturnGoodsRequest(refund_id=new_request_id(), lines=[goods(1)])
    for request, field in (
        (nobody, "payee"),
        (api.ReturnGoodsRequest(refund_id=new_request_id(), lines=[goods(1)], pay_code=""), "pay_code"),
        (
            api.ReturnGoodsRequest(refund_id=new_request_id(), lines=[goods(1)], identity_id=new_request_id()),
            "identity_id",
        ),
    ):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            till.refunds.ReturnGoods(request, timeout=DEADLINE_S)
        assert [violation.field for violation in refusals[0].violations] == [field]


def test_an_unknown_refund_is_not_found(till: Till) -> None:
    with refused("REFUND_NOT_FOUND", StatusCode.NOT_FOUND):
        till.get_refund("no-such-refund")


def test_refunds_are_listed_by_checkout_and_payer(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    paid = till.pay(till.submitted(shopper))
    of_checkout = [till.refund(paid, gbp(10)).refund_id for _ in range(3)]
    returned = till.give_back(shopper, goods(1)).refund_id

    def listed(checkout_id: str = "", payer: payer_pb2.Payer | None = None) -> list[str]:
        seen: list[str] = []
        token = ""
        while True:
            request = api.ListTillRefundsRequest(page_size=2, page_token=token, checkout_id=checkout_id, payer=payer)
            answer = till.refunds.ListTillRefunds(request, timeout=DEADLINE_S)
            seen += [refund.refund_id for refund in answer.refunds]
            token = answer.next_page_token
            if not token:
                return seen

    assert sorted(listed(checkout_id=paid.checkout_id)) == sorted(of_checkout)
    assert sorted(listed(payer=payer(shopper))) == sorted([*of_checkout, returned])


def test_the_receipt_of_a_paid_checkout_shows_what_was_given_back(till: Till, behind: Behind) -> None:
    paid = till.pay(till.submitted(behind.shopper(), [TEA, COFFEE]))
    till.refund(paid, gbp(400))
    receipt = till.receipt(paid)
    assert receipt.checkout_id == paid.checkout_id
    assert receipt.receipt_time.ToMilliseconds() >= paid.create_time.ToMilliseconds()
    assert "TOTAL GBP                             6.50\n" in receipt.text
    assert "REFUND GBP                           -4.00\n" in receipt.text


def test_what_came_to_nothing_is_not_given_back(till: Till) -> None:
    free = till.pay(till.submitted(lines=[checkouts_api.NewLine(sku="GIFT", quantity=1, unit_price_minor=0)]))
    assert free.state == checkout_pb2.Checkout.STATE_PAID
    for lines in ({}, {1: 1}):
        with refused("NOTHING_WAS_PAID", StatusCode.FAILED_PRECONDITION):
            till.refund(free, lines=lines)
