"""The verdict follows from the checkout, from what its order said last, and from the clock."""

from dataclasses import replace

import pytest

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Attempt
from store_terminal.checkouts.verdicts import Reading, Told, Verdict, verdict
from tests.terminal.test_lifecycle import NOW_MS, in_state

S, V = CheckoutState, Verdict


def attempt(reason: str = "", *, payer_ms: int = 0, canceling: bool = False, unanswered: bool = False) -> Attempt:
    until_ms = NOW_MS + payer_ms if payer_ms else 0
    return Attempt("pay-1", reason, NOW_MS, until_ms, canceling=canceling, cancel_unanswered=unanswered)


def reading(locked_by: str = "", lease_ms: int = 0, *, age_ms: int = 0, event_count: int = 1) -> Reading:
    at_ms = NOW_MS - age_ms
    return Reading(at_ms, event_count, locked_by, at_ms + lease_ms)


@pytest.mark.parametrize(
    ("state", "tried", "read", "late_ms", "expected"),
    [
        (S.BASKET, None, None, 0, Told(V.NOT_TRIED, "", None, 0)),
        (S.SUBMITTED, None, None, 0, Told(V.NOT_TRIED, "", None, 700)),
        (S.SUBMITTED, None, reading(age_ms=200), 0, Told(V.NOT_TRIED, "", None, 200)),
        (S.SUBMITTED, None, reading(age_ms=900), 0, Told(V.NOT_TRIED, "", None, 700)),
        (S.SUBMITTED, None, reading("phone-1", 500), 0, Told(V.WAIT, "ORDER_LOCKED", 500, 0)),
        (S.SUBMITTED, None, reading("phone-1", 500), 900, Told(V.WAIT, "ORDER_LOCKED", 0, 900)),
        (S.SUBMITTED, None, reading("phone-1", 500, event_count=0), 0, Told(V.NOT_TRIED, "", None, 700)),
        (S.SUBMITTED, attempt("DECLINED"), None, 0, Told(V.SAFE_TO_RETRY, "DECLINED", None, 700)),
        (S.SUBMITTED, attempt("ORDER_LOCKED"), reading("phone-1", 9), 0, Told(V.WAIT, "ORDER_LOCKED", 9, 0)),
        (S.PAYING, attempt(), None, -300, Told(V.WAIT, "", 300, 400)),
        (S.PAYING, attempt(), None, 300, Told(V.WAIT, "", 0, 1000)),
        (S.PAYING, attempt(), reading("pay-1", 9), -300, Told(V.WAIT, "", 300, 0)),
        (S.PAYING, attempt(), reading("phone-1", 9), -300, Told(V.WAIT, "ORDER_LOCKED", 300, 0)),
        (S.PAYING, attempt(payer_ms=400), None, 100, Told(V.ASK_PAYER, "", 300, 800)),
        (S.PAYING, attempt(payer_ms=400), None, 500, Told(V.ASK_PAYER, "", 0, 1200)),
        (S.PAYING, attempt(payer_ms=400, canceling=True), None, -5, Told(V.WAIT, "", 5, 695)),
        (S.PAYING, attempt(canceling=True), None, 5, Told(V.WAIT, "", 0, 705)),
        (S.PAYING, attempt(canceling=True, unanswered=True), None, -1, Told(V.WAIT, "", 1, 699)),
        (S.PAYING, attempt(canceling=True, unanswered=True), None, 0, Told(V.DO_NOT_RETRY, "", None, 700)),
        (S.PAID, None, None, 0, Told(V.HAND_OVER_GOODS, "PAID_BY_ANOTHER_PAYMENT", None, 0)),
        (S.PAID, attempt(), None, 9, Told(V.HAND_OVER_GOODS, "PAID_BY_ANOTHER_PAYMENT", None, 0)),
        (S.CANCELED, None, None, 0, Told(V.CLOSED, "", None, 0)),
        (S.CANCELED, attempt("DECLINED"), reading("phone-1", 9), 0, Told(V.CLOSED, "", None, 0)),
    ],
)
def test_every_verdict(
    state: CheckoutState, tried: Attempt | None, read: Reading | None, late_ms: int, expected: Told
) -> None:
    checkout = replace(in_state(state), attempt=tried, confirmed_at_ms=NOW_MS - 700)
    if state is S.PAID:
        checkout = replace(checkout, paid_by="phone-1")
    assert verdict(checkout, read, NOW_MS + late_ms) == expected


def test_goods_are_handed_over_without_a_reason_where_the_own_payment_paid_or_none_had_to() -> None:
    paid = in_state(S.PAID)
    assert verdict(paid, None, NOW_MS) == Told(V.HAND_OVER_GOODS, "", None, 0)
    assert verdict(replace(paid, paid_by=""), None, NOW_MS).reason == ""


@pytest.mark.parametrize("tried", [None, attempt("DECLINED")])
@pytest.mark.parametrize("read", [None, reading(), reading("phone-1", 500)])
def test_an_order_that_is_being_changed_canceled_or_completed_is_waited_for(
    tried: Attempt | None, read: Reading | None
) -> None:
    submitted = replace(in_state(S.SUBMITTED), attempt=tried, confirmed_at_ms=NOW_MS - 700, unanswered="req-1")
    assert verdict(submitted, read, NOW_MS) == Told(V.WAIT, "", None, 0 if read else 700)
    basket = replace(in_state(S.BASKET), unanswered="req-1")
    assert verdict(basket, None, NOW_MS) == Told(V.WAIT, "", None, 0)  # a payment may wait for its order
