"""The verdict follows from the checkout, from when its order was last read, and from the clock."""

from dataclasses import replace

import pytest

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Attempt
from store_terminal.checkouts.verdicts import Told, Verdict, verdict
from tests.terminal.test_lifecycle import NOW_MS, in_state

S, V = CheckoutState, Verdict


def attempt(reason: str = "", *, payer_ms: int = 0, canceling: bool = False, unanswered: bool = False) -> Attempt:
    until_ms = NOW_MS + payer_ms if payer_ms else 0
    return Attempt("pay-1", reason, NOW_MS, until_ms, canceling=canceling, cancel_unanswered=unanswered)


@pytest.mark.parametrize(
    ("state", "tried", "locked_ms", "late_ms", "expected"),
    [
        (S.BASKET, None, 0, 0, Told(V.NOT_TRIED, "", None, 0)),
        (S.SUBMITTED, None, 0, 0, Told(V.NOT_TRIED, "", None, 700)),
        (S.SUBMITTED, None, 500, 0, Told(V.WAIT, "ORDER_LOCKED", 500, 700)),
        (S.SUBMITTED, None, 500, 900, Told(V.WAIT, "ORDER_LOCKED", 0, 1600)),
        (S.SUBMITTED, attempt("DECLINED"), 0, 0, Told(V.SAFE_TO_RETRY, "DECLINED", None, 700)),
        (S.SUBMITTED, attempt("ORDER_LOCKED"), 9, 0, Told(V.WAIT, "ORDER_LOCKED", 9, 700)),
        (S.PAYING, attempt(), 0, -300, Told(V.WAIT, "", 300, 400)),
        (S.PAYING, attempt(), 0, 300, Told(V.WAIT, "", 0, 1000)),
        (S.PAYING, attempt(), 9, -300, Told(V.WAIT, "ORDER_LOCKED", 300, 400)),
        (S.PAYING, attempt(payer_ms=400), 0, 100, Told(V.ASK_PAYER, "", 300, 800)),
        (S.PAYING, attempt(payer_ms=400), 0, 500, Told(V.ASK_PAYER, "", 0, 1200)),
        (S.PAYING, attempt(payer_ms=400, canceling=True), 0, -5, Told(V.WAIT, "", 5, 695)),
        (S.PAYING, attempt(canceling=True), 0, 5, Told(V.WAIT, "", 0, 705)),
        (S.PAYING, attempt(canceling=True, unanswered=True), 0, -1, Told(V.WAIT, "", 1, 699)),
        (S.PAYING, attempt(canceling=True, unanswered=True), 0, 0, Told(V.DO_NOT_RETRY, "", None, 700)),
        (S.PAID, None, 0, 0, Told(V.HAND_OVER_GOODS, "PAID_BY_ANOTHER_PAYMENT", None, 0)),
        (S.PAID, attempt(), 0, 9, Told(V.HAND_OVER_GOODS, "PAID_BY_ANOTHER_PAYMENT", None, 0)),
        (S.CANCELED, None, 0, 0, Told(V.CLOSED, "", None, 0)),
        (S.CANCELED, attempt("DECLINED"), 0, 0, Told(V.CLOSED, "", None, 0)),
    ],
)
def test_every_verdict(
    state: CheckoutState, tried: Attempt | None, locked_ms: int, late_ms: int, expected: Told
) -> None:
    checkout = replace(in_state(state), attempt=tried, confirmed_at_ms=NOW_MS - 700)
    if locked_ms:
        checkout = replace(checkout, locked_by="phone-1", locked_until_ms=NOW_MS + locked_ms)
    if state is S.PAID:
        checkout = replace(checkout, paid_by="phone-1")
    assert verdict(checkout, 0, NOW_MS + late_ms) == expected


@pytest.mark.parametrize(("read_ms_ago", "age_ms"), [(200, 200), (900, 700)])
def test_a_verdict_is_as_old_as_the_last_word_of_the_order(read_ms_ago: int, age_ms: int) -> None:
    submitted = replace(in_state(S.SUBMITTED), attempt=None, confirmed_at_ms=NOW_MS - 700)
    assert verdict(submitted, NOW_MS - read_ms_ago, NOW_MS).age_ms == age_ms


def test_goods_are_handed_over_without_a_reason_where_the_own_payment_paid_or_none_had_to() -> None:
    paid = in_state(S.PAID)
    assert verdict(paid, 0, NOW_MS) == Told(V.HAND_OVER_GOODS, "", None, 0)
    assert verdict(replace(paid, paid_by=""), 0, NOW_MS).reason == ""


@pytest.mark.parametrize("tried", [None, attempt("DECLINED")])
@pytest.mark.parametrize("locked_by", ["", "phone-1"])
def test_an_order_that_is_being_changed_canceled_or_completed_is_waited_for(
    tried: Attempt | None, locked_by: str
) -> None:
    submitted = replace(in_state(S.SUBMITTED, busy=True), attempt=tried, locked_by=locked_by)
    assert verdict(submitted, NOW_MS, NOW_MS) == Told(V.WAIT, "", None, 0)
    basket = in_state(S.BASKET, busy=True)
    assert verdict(basket, 0, NOW_MS) == Told(V.WAIT, "", None, 0)  # a payment may wait for its order
