"""Every state meets every event, in the database as in the table."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from store_terminal.checkouts import moves, parking
from store_terminal.checkouts import operations as checkout_operations
from store_terminal.checkouts.lifecycle import CHECKOUT, CheckoutEvent, CheckoutState
from store_terminal.checkouts.model import Attempt, Call, Checkout, Line, NewLine, NewPayment
from store_terminal.checkouts.moves import advance
from store_terminal.checkouts.queries import HISTORY
from store_terminal.checkouts.tables import checkouts
from store_terminal.checkouts.verdicts import Verdict
from store_terminal.errors import Reason
from store_terminal.outbox import queries, replies
from store_terminal.outbox.model import OrderCopy, Refunded
from store_terminal.outbox.pay_codes import PayCodes
from store_terminal.refunds import operations as refund_operations
from store_terminal.refunds import queries as refund_queries
from store_terminal.refunds.model import NewRefund
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.lines import LineItem
from tillmesh.origin import Origin
from tillmesh.payer import identity
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import Money
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.statements import Transaction

S, E = CheckoutState, CheckoutEvent
TEA = LineItem("TEA", "Tea", 2, 125)
NOW_MS = 1_800_000_000_000
TILL = Origin("till-1", "lane-3", "c-17")


def call(request_id: str) -> Call:
    return Call(request_id, "", NOW_MS)


def attempt(payment_id: str = "pay-1") -> Attempt:
    return Attempt(payment_id, "", NOW_MS + 60_000, 0, canceling=False, cancel_unanswered=False)


def pay(transaction: Transaction, payment_id: str) -> None:
    checkout_operations.pay_checkout(
        transaction,
        call(payment_id),
        NewPayment("c-1", 1, Money("GBP", 250), TILL, pay_code=None, wait_ms=1),
        PayCodes(),
    )


def in_state(state: CheckoutState, busy: bool = False) -> Checkout:
    """A checkout as it is in that state."""
    return Checkout(
        checkout_id="c-1",
        store_id="store-1",
        origin=TILL,
        payer=identity("ada"),
        payer_display_name="",
        lines=(Line(1, TEA),),
        last_line_number=1,
        prices_include_tax=True,
        amount=Money("GBP", 250),
        labels={"table": "7"},
        basket_version=1,
        state=state,
        order_version=0 if state is S.BASKET else 1,
        unanswered="pay-1" if state is S.PAYING else "ask-1" if busy else "",
        attempt=None if state is S.BASKET else attempt(),
        paid_by="pay-1" if state is S.PAID else "",
        paid_at_ms=NOW_MS if state is S.PAID else 0,
        sold_at_ms=NOW_MS - 1 if state is S.PAID else 0,
        refunded_minor=0,
        confirmed_at_ms=0,
        created_at_ms=NOW_MS,
        updated_at_ms=NOW_MS,
    )


def test_every_state_meets_every_event() -> None:
    assert all(CHECKOUT.is_legal(state, event) or CHECKOUT.reason(state, event) for state, event in product(S, E))
    assert [state for state in S if CHECKOUT.is_final(state)] == [S.PAID, S.CANCELED]
    assert {f"STATE_{state}" for state in S} == set(checkout_pb2.Checkout.State.keys()) - {"STATE_UNSPECIFIED"}
    assert {f"VERDICT_{verdict}" for verdict in Verdict} == set(checkout_pb2.Verdict.keys()) - {"VERDICT_UNSPECIFIED"}
    events = {f"TYPE_{event}" for event in CheckoutEvent} | {"TYPE_OPENED", "TYPE_RESUMED"}
    assert events == set(checkout_pb2.CheckoutEvent.Type.keys()) - {"TYPE_UNSPECIFIED"}


@pytest.mark.parametrize(("state", "event"), list(product(CheckoutState, CheckoutEvent)))
def test_a_checkout_goes_where_the_table_says_or_nowhere(
    transaction: Transaction, state: CheckoutState, event: CheckoutEvent
) -> None:
    target = CHECKOUT.target(state, event) if CHECKOUT.is_legal(state, event) else None
    before = HISTORY.begin(transaction, in_state(state), "OPENED")
    if target is None:
        with pytest.raises(Refusal) as raised:
            advance(transaction, before, before, event, NOW_MS)
        assert raised.value.reason == CHECKOUT.reason(state, event)
        assert raised.value.code == Reason[CHECKOUT.reason(state, event)].code
    else:
        advance(transaction, before, in_state(target), event, NOW_MS, reason="WHY")
    after = moves.get_checkout(transaction, "c-1")
    assert after.state == (target or state)
    history = HISTORY.list(transaction, "c-1", None, 10)
    assert [(entry.number, entry.event) for entry in history] == [(1, "OPENED"), (2, event)][: after.event_count]
    assert len(history) == (2 if target else 1)
    assert (history[-1].to_state, history[-1].reason) == (after.state, "WHY" if target else "")


@pytest.mark.parametrize("state", [S.BASKET, S.SUBMITTED])
def test_what_waits_for_an_answer_is_not_changed(transaction: Transaction, state: CheckoutState) -> None:
    before = HISTORY.begin(transaction, in_state(state, busy=True), "OPENED")
    line = NewLine("TEA", 1, 1, "")
    changes: dict[CheckoutEvent, Callable[[], object]] = {
        E.CHANGED: lambda: checkout_operations.add_lines(
            transaction, call("r"), checkout_id="c-1", basket_version=1, lines=[line]
        ),
        E.SUBMITTED: lambda: checkout_operations.submit_checkout(
            transaction, call("r"), checkout_id="c-1", basket_version=1
        ),
        E.PARKED: lambda: parking.park_checkout(
            transaction, call("r"), checkout_id="c-1", basket_version=1, owner="", label="", parked_ms=0
        ),
        E.CANCELED: lambda: checkout_operations.cancel_checkout(transaction, call("r"), checkout_id="c-1"),
        E.PAYMENT_STARTED: lambda: pay(transaction, "r"),
    }
    for event, change in changes.items():
        with pytest.raises(Refusal) as raised:
            change()
        assert raised.value.reason == (
            CHECKOUT.rows[state, event].error if CHECKOUT.is_legal(state, event) else CHECKOUT.reason(state, event)
        )
        assert raised.value.retry_after_ms is None  # what is refused under an id is refused for ever
    assert moves.get_checkout(transaction, "c-1") == before


def test_a_checkout_waits_for_one_answer_at_a_time(transaction: Transaction) -> None:
    """What the code forbids already, the database forbids as well."""
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    checkout_operations.cancel_checkout(transaction, call("r-1"), checkout_id="c-1")
    transaction.execute(update(checkouts).values(unanswered=""))
    with pytest.raises(IntegrityError):
        checkout_operations.cancel_checkout(transaction, call("r-2"), checkout_id="c-1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "LOST"},
        {"state": "PAID"},
        {"paid_by": "pay-1"},
        {"state": "PAYING", "unanswered": "ask-1"},
        {"state": "CANCELED", "unanswered": "ask-1"},
        {"refunded_minor": 1},
        {"amount_minor": -1},
        {"basket_version": 0},
        {"payer_kind": "PHONE"},
        {"state": "BASKET", "order_version": 0, "locked_by": "phone-1"},
    ],
)
def test_the_database_refuses_a_checkout_that_contradicts_itself(
    transaction: Transaction, wrong: dict[str, object]
) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    with pytest.raises(IntegrityError):
        transaction.execute(update(checkouts).values(wrong))


def test_only_what_came_to_nothing_is_paid_without_a_payment(transaction: Transaction) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    transaction.execute(update(checkouts).values(state="PAID", amount_minor=0))
    with pytest.raises(IntegrityError):
        transaction.execute(update(checkouts).values(amount_minor=1))


def test_a_checkout_is_read_as_it_was_written(transaction: Transaction) -> None:
    waiting = Attempt("pay-1", "", NOW_MS + 9, NOW_MS + 5, canceling=True, cancel_unanswered=True)
    written = HISTORY.begin(
        transaction, replace(in_state(S.PAYING), attempt=waiting, confirmed_at_ms=NOW_MS - 1), "OPENED"
    )
    assert moves.get_checkout(transaction, "c-1") == written


def order(**changes: object) -> OrderCopy:
    copy = OrderCopy(
        order_id="c-1",
        store_id="store-1",
        origin=TILL,
        payer=identity("ada"),
        items=(TEA,),
        prices_include_tax=True,
        amount=Money("GBP", 250),
        labels={},
        version=1,
        paid=False,
        paid_by="",
        paid_at_ms=0,
        payer_display_name=None,
        canceled=False,
        epoch=0,
        locked_by="",
        lease_remaining_ms=0,
    )
    return replace(copy, **changes)  # type: ignore[arg-type]


def test_news_of_an_order_never_turn_a_checkout_back(transaction: Transaction) -> None:
    known = HISTORY.begin(transaction, replace(in_state(S.SUBMITTED), order_version=3), "OPENED")
    assert replies.refresh(transaction, known, order(version=2, canceled=True), NOW_MS) == known
    assert replies.refresh(transaction, known, order(version=3), NOW_MS) == known
    newer = replies.refresh(transaction, known, order(version=4, items=(TEA, TEA)), NOW_MS)
    assert ([line.number for line in newer.lines], newer.basket_version) == ([1, 2], 2)
    paid = replies.refresh(transaction, newer, order(version=4, paid=True, paid_by="phone-1"), NOW_MS)
    assert (paid.state, paid.paid_by) == (S.PAID, "phone-1")
    assert replies.refresh(transaction, paid, order(version=5, canceled=True), NOW_MS) == paid


@pytest.mark.parametrize("way", ["refreshed", "resumed", "looked", "answered", "unknown"])
def test_the_time_of_a_sale_is_when_it_was_paid_and_not_when_this_till_learnt_it(
    transaction: Transaction, way: str
) -> None:
    news = order(paid=True, paid_by="pay-2", paid_at_ms=NOW_MS - 5_000)
    if way == "resumed":
        replies.resume_checkout(transaction, order=news, store_id="store-1", now_ms=NOW_MS)
    else:
        known = HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    if way == "refreshed":
        replies.refresh(transaction, known, news, NOW_MS)
    elif way != "resumed":
        pay(transaction, "pay-2")
    if way == "looked":
        replies.order_read(transaction, checkout_id="c-1", order=news, now_ms=NOW_MS)
    elif way in ("answered", "unknown"):
        at_ms = NOW_MS - 5_000 if way == "answered" else 0
        replies.payment_paid(transaction, payment_id="pay-2", payer_display_name="", sold_at_ms=at_ms, now_ms=NOW_MS)
    paid = moves.get_checkout(transaction, "c-1")
    assert (paid.state, paid.paid_at_ms) == (S.PAID, NOW_MS)
    assert paid.sold_at_ms == (NOW_MS if way == "unknown" else NOW_MS - 5_000)


@pytest.mark.parametrize(("state", "busy"), [(S.BASKET, False), (S.SUBMITTED, True)])
def test_news_of_an_order_wait_while_the_till_asks_for_something(
    transaction: Transaction, state: CheckoutState, busy: bool
) -> None:
    known = HISTORY.begin(transaction, in_state(state, busy), "OPENED")
    news = order(version=9, paid=True, paid_by="phone-1")
    assert replies.order_read(transaction, checkout_id="c-1", order=news, now_ms=NOW_MS) == known


@pytest.mark.parametrize(
    ("news", "state", "paid_by", "reason"),
    [
        (order(), S.PAYING, "", ""),
        (order(paid=True, paid_by="pay-2"), S.PAID, "pay-2", ""),
        (order(paid=True, paid_by="phone-1"), S.PAID, "phone-1", "ORDER_ALREADY_PAID"),
        (order(canceled=True), S.CANCELED, "", "ORDER_CANCELED"),
    ],
)
def test_an_order_that_is_final_decides_the_payment_under_way(
    transaction: Transaction, news: OrderCopy, state: CheckoutState, paid_by: str, reason: str
) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    trace_id.set("of the payment")
    pay(transaction, "pay-2")
    trace_id.set("of who looked")
    read = replies.order_read(transaction, checkout_id="c-1", order=news, now_ms=NOW_MS)
    assert {entry.trace_id for entry in HISTORY.list(transaction, "c-1", None, 9)[1:]} == {"of the payment"}
    assert (read.state, read.paid_by, read.attempt and read.attempt.reason) == (state, paid_by, reason)
    assert queries.get_exchange(transaction, "pay-2").pending == (state is S.PAYING)


def test_a_late_refusal_of_one_payment_does_not_give_up_the_next(transaction: Transaction) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    for payment_id in ("pay-2", "pay-3"):
        pay(transaction, payment_id)
        if payment_id == "pay-2":
            replies.payment_ended(transaction, payment_id="pay-2", reason="CANCELED", order=order(), now_ms=NOW_MS)
    under_way = moves.get_checkout(transaction, "c-1")
    replies.payment_given_up(transaction, payment_id="pay-2", reason="REFUSED", now_ms=NOW_MS)
    assert moves.get_checkout(transaction, "c-1") == under_way
    given_up = replies.payment_given_up(transaction, payment_id="pay-3", reason="REFUSED", now_ms=NOW_MS)
    last = given_up.of_checkout().attempt
    assert last is not None
    assert (last.payment_id, last.canceling) == ("pay-3", True)


def test_an_answer_that_comes_twice_or_too_late_changes_nothing(transaction: Transaction) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    pay(transaction, "pay-2")
    replies.payment_paid(transaction, payment_id="pay-2", payer_display_name="", sold_at_ms=0, now_ms=NOW_MS)
    paid = moves.get_checkout(transaction, "c-1")
    replies.payment_paid(transaction, payment_id="pay-2", payer_display_name="", sold_at_ms=0, now_ms=NOW_MS + 1)
    replies.payment_ended(transaction, payment_id="pay-2", reason="LATE", order=order(), now_ms=NOW_MS + 1)
    replies.awaiting_payer(
        transaction, payment_id="pay-2", payer_display_name="", remaining_ms=9, patience_ms=9, now_ms=NOW_MS + 1
    )
    replies.payer_acted(transaction, payment_id="pay-2", wait_ms=9, now_ms=NOW_MS + 1)
    replies.cancellation_unanswered(transaction, payment_id="pay-2", now_ms=NOW_MS + 1)
    assert moves.get_checkout(transaction, "c-1") == paid

    refund_operations.refund_checkout(
        transaction, call("ref-1"), new=NewRefund("", TILL), checkout_id="c-1", amount=None, lines=()
    )
    all_of_it = Refunded(Money("GBP", 250), [(1, 2, 250)], ())
    for _ in range(2):
        replies.refund_done(transaction, refund_id="ref-1", refunded=all_of_it, now_ms=NOW_MS)
    no = Reason.CHECKOUT_NOT_PAID(checkout_id="c-1")
    replies.refund_refused(transaction, refund_id="ref-1", refusal=no, now_ms=NOW_MS)
    assert moves.get_checkout(transaction, "c-1").refunded_minor == 250
    assert refund_queries.get_refund(transaction, "ref-1").reason == ""


def test_an_order_that_was_answered_is_not_answered_again(transaction: Transaction) -> None:
    HISTORY.begin(transaction, in_state(S.BASKET), "OPENED")
    checkout_operations.submit_checkout(transaction, call("r-1"), checkout_id="c-1", basket_version=1)
    replies.order_done(transaction, request_id="r-1", order=order(), wait_ms=1, now_ms=NOW_MS)
    submitted = moves.get_checkout(transaction, "c-1")
    replies.order_done(transaction, request_id="r-1", order=order(version=2), wait_ms=1, now_ms=NOW_MS + 1)
    no = Reason.CHECKOUT_EMPTY(checkout_id="c-1")
    replies.order_refused(
        transaction, request_id="r-1", refusal=no, order=order(version=2, canceled=True), now_ms=NOW_MS + 1
    )
    assert moves.get_checkout(transaction, "c-1") == submitted
    assert submitted.state is S.SUBMITTED


@pytest.mark.parametrize(
    ("answer", "state", "amount"),
    [
        (order(version=2, items=(TEA, TEA), amount=Money("GBP", 500)), S.SUBMITTED, 500),
        (order(paid=True, paid_by="phone-1"), S.PAID, 250),
        (order(canceled=True), S.CANCELED, 250),
    ],
)
def test_an_order_whose_creation_is_answered_late_is_taken_over_as_it_is_by_then(
    transaction: Transaction, answer: OrderCopy, state: CheckoutState, amount: int
) -> None:
    """A repeated request gets the order as it is now, and others may have been there."""
    HISTORY.begin(transaction, in_state(S.BASKET), "OPENED")
    checkout_operations.submit_checkout(transaction, call("r-1"), checkout_id="c-1", basket_version=1)
    taken = replies.order_done(transaction, request_id="r-1", order=answer, wait_ms=1, now_ms=NOW_MS).of_checkout()
    assert (taken.state, taken.amount.minor, taken.order_version) == (state, amount, answer.version)
    assert moves.get_checkout(transaction, "c-1") == taken


def test_a_change_that_is_answered_late_does_not_mix_up_the_lines(transaction: Transaction) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    cake, mug = NewLine("CAKE", 1, 75, "Cake"), LineItem("MUG", "Mug", 1, 900)
    checkout_operations.add_lines(transaction, call("r-1"), checkout_id="c-1", basket_version=1, lines=[cake])
    changed_since = order(version=3, items=(mug, TEA), amount=Money("GBP", 1150))
    taken = replies.order_done(
        transaction, request_id="r-1", order=changed_since, wait_ms=1, now_ms=NOW_MS
    ).of_checkout()
    assert [(line.number, line.item.sku) for line in taken.lines] == [(2, "MUG"), (1, "TEA")]
    assert (taken.order_version, taken.basket_version, taken.amount.minor) == (3, 2, 1150)
