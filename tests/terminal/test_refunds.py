"""Money given back: of a checkout, and for goods whose sale the till does not have."""

import pytest
from grpc import StatusCode

from tests.terminal.till import (
    COFFEE,
    DEADLINE_S,
    TEA,
    TEA_MINOR,
    Behind,
    Till,
    gbp,
    goods,
    refund_state,
    refused,
    said,
)
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import MINOR_UNITS_MAX


def test_a_checkout_is_refunded_in_parts_and_then_all_that_is_left(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    paid = till.pay(till.pending(shopper, [TEA, COFFEE]))
    part = till.refund(paid, gbp(125), lines=[goods(125)], note="one cup was cold")
    assert (refund_state(part), part.amount, part.note) == ("DONE", gbp(125), "one cup was cold")
    rest = till.refund(paid)
    assert (refund_state(rest), rest.amount) == ("DONE", gbp(525))
    told = till.get(paid)
    assert (said(told), told.refunded) == ("PAID HAND_OVER_GOODS", gbp(650))
    assert behind.wallet(shopper) == (100_000, 0)
    assert till.get_refund(rest.refund_id) == rest
    events = till.history(paid)[-4:]
    assert [event.event for event in events] == ["REFUND_STARTED", "REFUNDED"] * 2
    assert [(event.amount, event.reference) for event in events[1::2]] == [
        (gbp(125), part.refund_id),
        (gbp(525), rest.refund_id),
    ]


def test_a_refund_that_is_repeated_gives_the_money_once(till: Till, behind: Behind) -> None:
    shopper, request_id = behind.shopper(), new_request_id()
    paid = till.pay(till.pending(shopper))
    first = till.refund(paid, gbp(100), request_id=request_id)
    assert till.refund(paid, gbp(100), request_id=request_id) == first
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR + 100, 0)
    with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
        till.refund(paid, gbp(101), request_id=request_id)


def test_more_than_was_paid_is_not_given_back(till: Till, behind: Behind) -> None:
    shopper, request_id = behind.shopper(), new_request_id()
    paid = till.pay(till.pending(shopper))
    for _ in range(2):  # the repetition is told the same
        with refused("REFUND_EXCEEDS_PAYMENT", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
            till.refund(paid, gbp(TEA_MINOR + 1), request_id=request_id)
    no = till.get_refund(request_id)
    assert (refund_state(no), no.reason) == ("REFUSED", "REFUND_EXCEEDS_PAYMENT")
    assert till.get(paid).refunded == gbp(0)
    assert till.events(paid)[-2:] == ["REFUND_STARTED", "REFUND_REFUSED"]
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_only_a_paid_checkout_is_refunded_and_has_a_receipt(till: Till) -> None:
    for checkout in (till.create(), till.pending(), till.cancel(till.create())):
        for call in (till.refund, till.receipt):
            with refused("CHECKOUT_NOT_PAID", StatusCode.FAILED_PRECONDITION):
                call(checkout)


def test_a_checkout_that_the_phone_paid_is_refunded_to_that_payment(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    pending = till.pending(shopper)
    behind.pay_from_phone(pending)
    till.refund(till.resume(pending.checkout_id))
    assert behind.wallet(shopper) == (100_000, 0)


@pytest.mark.parametrize(
    ("amount", "line", "reason", "field"),
    [
        (gbp(0), goods(1), "INVALID_FIELD", "amount.minor_units"),
        (gbp(-1), goods(1), "INVALID_FIELD", "amount.minor_units"),
        (gbp(2**63 - 1), goods(1), "INVALID_FIELD", "amount.minor_units"),
        (gbp(1), goods(1, quantity=-1), "INVALID_FIELD", "lines[0].quantity"),
        (Money(currency_code="EUR", minor_units=1), goods(1), "CURRENCY_MISMATCH", ""),
    ],
)
def test_a_refund_that_makes_no_sense_is_refused(
    till: Till, behind: Behind, amount: Money, line: line_item_pb2.LineItem, reason: str, field: str
) -> None:
    paid = till.pay(till.pending(behind.shopper()))
    with refused(reason, StatusCode.INVALID_ARGUMENT) as refusals:
        till.refund(paid, amount, lines=[line])
    assert [violation.field for violation in refusals[0].violations] == [field][: bool(field)]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.refund(paid, note="x" * 257)


def test_goods_without_a_sale_are_taken_back_within_the_limit(till: Till, behind: Behind) -> None:
    shopper, request_id = behind.shopper(funds=0), new_request_id()
    returned = till.give_back(shopper, goods(250, quantity=3), goods(-50), request_id=request_id)
    assert (refund_state(returned), returned.amount, returned.checkout_id) == ("DONE", gbp(700), "")
    assert till.give_back(shopper, goods(250, quantity=3), goods(-50), request_id=request_id) == returned
    assert behind.wallet(shopper) == (700, 0)
    refused_id = new_request_id()
    with refused("RETURN_LIMIT_EXCEEDED", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
        till.give_back(shopper, goods(MINOR_UNITS_MAX), request_id=refused_id)
    assert refund_state(till.get_refund(refused_id)) == "REFUSED"
    with refused("IDENTITY_NOT_FOUND", StatusCode.NOT_FOUND, "payment.tillmesh"):
        till.give_back("nobody", goods(1))


def test_a_return_has_goods_that_are_worth_something(till: Till) -> None:
    for lines in ([], [goods(0)], [goods(5), goods(-5)], [goods(MINOR_UNITS_MAX, 2)]):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            till.give_back("ada", *lines)
        assert {violation.field for violation in refusals[0].violations} == {"lines"}


def test_an_unknown_refund_is_not_found(till: Till) -> None:
    with refused("REFUND_NOT_FOUND", StatusCode.NOT_FOUND):
        till.get_refund("no-such-refund")


def test_refunds_are_listed_by_checkout_and_payer(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    paid = till.pay(till.pending(shopper))
    of_checkout = [till.refund(paid, gbp(10)).refund_id for _ in range(3)]
    returned = till.give_back(shopper, goods(1)).refund_id

    def listed(**filters: str) -> list[str]:
        seen: list[str] = []
        token = ""
        while True:
            request = api.ListTillRefundsRequest(page_size=2, page_token=token, **filters)
            answer = till.refunds.ListTillRefunds(request, timeout=DEADLINE_S)
            seen += [refund.refund_id for refund in answer.refunds]
            token = answer.next_page_token
            if not token:
                return seen

    assert sorted(listed(checkout_id=paid.checkout_id)) == sorted(of_checkout)
    assert sorted(listed(payer_id=shopper)) == sorted([*of_checkout, returned])


def test_the_receipt_of_a_paid_checkout_shows_what_was_given_back(till: Till, behind: Behind) -> None:
    paid = till.pay(till.pending(behind.shopper(), [TEA, COFFEE]))
    till.refund(paid, gbp(400), lines=[goods(400, sku="COFFEE")])
    receipt = till.receipt(paid)
    assert receipt.checkout == till.get(paid)
    assert receipt.paid_time.ToMilliseconds() >= paid.create_time.ToMilliseconds()
    assert "TOTAL GBP                             6.50\n" in receipt.text
    assert "REFUND GBP                           -4.00\n" in receipt.text
