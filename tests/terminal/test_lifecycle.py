"""Every state meets every event, in the database as in the table."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from store_terminal import operations, outcomes, store
from store_terminal.errors import Reason
from store_terminal.lifecycle import CHECKOUT, CheckoutEvent, CheckoutState
from store_terminal.model import Attempt, Checkout, Line, LineItem, NewLine, OrderCopy, Verdict, verdict
from store_terminal.tables import METADATA, checkouts
from store_terminal.transitions import advance, begin
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.runtime.database import open_engine, parse_url
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.history import NO_HISTORY
from tillmesh.runtime.money import Money
from tillmesh.runtime.schema import prepare
from tillmesh.runtime.statements import Connection, Statements

S, E = CheckoutState, CheckoutEvent
TEA = LineItem("TEA", "Tea", 2, 125)
NOW_MS = 1_800_000_000_000


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    engine = open_engine(parse_url(database_url))
    prepare(engine, METADATA)
    driver = engine.raw_connection()
    yield Connection(driver.cursor(), Statements(engine.dialect))
    driver.close()
    engine.dispose()


def in_state(state: CheckoutState, busy: bool = False) -> Checkout:
    """A checkout as it is in that state."""
    attempt = Attempt("pay-1", "", NOW_MS + 60_000, canceling=False)
    return Checkout(
        checkout_id="c-1",
        store_id="store-1",
        payer_id="ada",
        payer_display_name="",
        lines=(Line(1, TEA),),
        last_line_number=1,
        amount=Money("GBP", 250),
        state=state,
        order_version=0 if state is S.BASKET else 1,
        unanswered="pay-1" if state is S.PAYING else "ask-1" if busy else "",
        attempt=None if state is S.BASKET else attempt,
        paid_by="pay-1" if state is S.PAID else "",
        paid_at_ms=NOW_MS if state is S.PAID else 0,
        refunded_minor=0,
        event_count=1,
        history_hash=NO_HISTORY,
        created_at_ms=NOW_MS,
        updated_at_ms=NOW_MS,
    )


def test_every_state_meets_every_event() -> None:
    assert set(CHECKOUT.rows) == set(product(CheckoutState, CheckoutEvent))
    assert [state for state in S if CHECKOUT.is_final(state)] == [S.PAID, S.CANCELED]
    assert {f"STATE_{state}" for state in S} == set(checkout_pb2.Checkout.State.keys()) - {"STATE_UNSPECIFIED"}
    assert {f"VERDICT_{verdict}" for verdict in Verdict} == set(checkout_pb2.Verdict.keys())


@pytest.mark.parametrize(("state", "event"), CHECKOUT.rows)
def test_a_checkout_goes_where_the_table_says_or_nowhere(
    connection: Connection, state: CheckoutState, event: CheckoutEvent
) -> None:
    row = CHECKOUT[state, event]
    before = begin(connection, in_state(state), "OPENED")
    if row.target is None:
        with pytest.raises(Refusal) as raised:
            advance(connection, before, before, event, NOW_MS)
        assert raised.value.reason == row.error
        assert raised.value.code == Reason[row.error].code
    else:
        advance(connection, before, in_state(row.target), event, NOW_MS, reason="WHY")
    after = operations.get_checkout(connection, "c-1")
    assert after.state == (row.target or state)
    history = store.list_history(connection, "c-1", 0, 10)
    assert [(entry.number, entry.event) for entry in history] == [(1, "OPENED"), (2, event)][: after.event_count]
    assert len(history) == (2 if row.target else 1)
    assert (history[-1].to_state, history[-1].reason) == (after.state, "WHY" if row.target else "")


@pytest.mark.parametrize("state", [S.BASKET, S.PENDING])
def test_what_waits_for_an_answer_is_not_changed(connection: Connection, state: CheckoutState) -> None:
    before = begin(connection, in_state(state, busy=True), "OPENED")
    line = NewLine("TEA", 1, 1, "")
    changes: dict[CheckoutEvent, Callable[[], object]] = {
        E.CHANGED: lambda: operations.add_lines(
            connection, request_id="r", checkout_id="c-1", lines=[line], now_ms=NOW_MS
        ),
        E.SUBMITTED: lambda: operations.submit_checkout(connection, request_id="r", checkout_id="c-1", now_ms=NOW_MS),
        E.CANCELED: lambda: operations.cancel_checkout(connection, request_id="r", checkout_id="c-1", now_ms=NOW_MS),
        E.PAYMENT_STARTED: lambda: operations.pay_checkout(
            connection,
            payment_id="r",
            checkout_id="c-1",
            order_version=1,
            amount=Money("GBP", 250),
            wait_ms=1,
            now_ms=NOW_MS,
        ),
    }
    for event, change in changes.items():
        with pytest.raises(Refusal) as raised:
            change()
        assert raised.value.reason == CHECKOUT[state, event].error
    assert operations.get_checkout(connection, "c-1") == before


def test_a_checkout_waits_for_one_answer_at_a_time(connection: Connection) -> None:
    """What the code forbids already, the database forbids as well."""
    begin(connection, in_state(S.PENDING), "OPENED")
    operations.cancel_checkout(connection, request_id="r-1", checkout_id="c-1", now_ms=NOW_MS)
    connection.execute(update(checkouts).values(unanswered=""))
    with pytest.raises(IntegrityError):
        operations.cancel_checkout(connection, request_id="r-2", checkout_id="c-1", now_ms=NOW_MS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "LOST"},
        {"state": "PAID"},
        {"paid_by": "pay-1"},
        {"state": "PAYING", "unanswered": "ask-1"},
        {"state": "CANCELED", "unanswered": "ask-1"},
        {"refunded_minor": 1},
    ],
)
def test_the_database_refuses_a_checkout_that_contradicts_itself(
    connection: Connection, wrong: dict[str, object]
) -> None:
    begin(connection, in_state(S.PENDING), "OPENED")
    with pytest.raises(IntegrityError):
        connection.execute(update(checkouts).values(wrong))


def order(**changes: object) -> OrderCopy:
    copy = OrderCopy("c-1", "store-1", "ada", (TEA,), Money("GBP", 250), 1, "", canceled=False)
    return replace(copy, **changes)  # type: ignore[arg-type]


def test_news_of_an_order_never_turn_a_checkout_back(connection: Connection) -> None:
    known = begin(connection, replace(in_state(S.PENDING), order_version=3), "OPENED")
    assert outcomes.refresh(connection, known, order(version=2, canceled=True), NOW_MS) == known
    assert outcomes.refresh(connection, known, order(version=3), NOW_MS) == known
    newer = outcomes.refresh(connection, known, order(version=4, items=(TEA, TEA)), NOW_MS)
    assert [line.number for line in newer.lines] == [1, 2]
    paid = outcomes.refresh(connection, newer, order(version=4, paid_by="phone-1"), NOW_MS)
    assert (paid.state, paid.paid_by) == (S.PAID, "phone-1")
    assert outcomes.refresh(connection, paid, order(version=5, canceled=True), NOW_MS) == paid


@pytest.mark.parametrize("state", [S.BASKET, S.PAYING])
def test_news_of_an_order_wait_while_the_till_asks_for_something(connection: Connection, state: CheckoutState) -> None:
    known = begin(connection, in_state(state), "OPENED")
    assert outcomes.refresh(connection, known, order(version=9, paid_by="phone-1"), NOW_MS) == known


def test_a_late_refusal_of_one_payment_does_not_give_up_the_next(connection: Connection) -> None:
    begin(connection, in_state(S.PENDING), "OPENED")
    for payment_id in ("pay-2", "pay-3"):
        operations.pay_checkout(
            connection,
            payment_id=payment_id,
            checkout_id="c-1",
            order_version=1,
            amount=Money("GBP", 250),
            wait_ms=1,
            now_ms=NOW_MS,
        )
        if payment_id == "pay-2":
            outcomes.payment_ended(connection, payment_id="pay-2", reason="CANCELED", order=order(), now_ms=NOW_MS)
    under_way = operations.get_checkout(connection, "c-1")
    outcomes.payment_given_up(connection, payment_id="pay-2", reason="REFUSED", now_ms=NOW_MS)
    assert operations.get_checkout(connection, "c-1") == under_way
    given_up = outcomes.payment_given_up(connection, payment_id="pay-3", reason="REFUSED", now_ms=NOW_MS)
    attempt = given_up.of_checkout().attempt
    assert attempt is not None
    assert (attempt.payment_id, attempt.canceling) == ("pay-3", True)


def test_an_answer_that_comes_twice_or_too_late_changes_nothing(connection: Connection) -> None:
    begin(connection, in_state(S.PENDING), "OPENED")
    operations.pay_checkout(
        connection,
        payment_id="pay-2",
        checkout_id="c-1",
        order_version=1,
        amount=Money("GBP", 250),
        wait_ms=1,
        now_ms=NOW_MS,
    )
    outcomes.payment_paid(connection, payment_id="pay-2", payer_display_name="", now_ms=NOW_MS)
    paid = operations.get_checkout(connection, "c-1")
    outcomes.payment_paid(connection, payment_id="pay-2", payer_display_name="", now_ms=NOW_MS + 1)
    outcomes.payment_ended(connection, payment_id="pay-2", reason="LATE", order=order(), now_ms=NOW_MS + 1)
    outcomes.awaiting_payer(
        connection, payment_id="pay-2", payer_display_name="", until_ms=NOW_MS + 9, now_ms=NOW_MS + 1
    )
    assert operations.get_checkout(connection, "c-1") == paid

    operations.refund_checkout(
        connection, refund_id="ref-1", checkout_id="c-1", amount=None, items=(), note="", now_ms=NOW_MS
    )
    for _ in range(2):
        outcomes.refund_done(connection, refund_id="ref-1", amount=Money("GBP", 250), now_ms=NOW_MS)
    no = Reason.CHECKOUT_NOT_PAID(checkout_id="c-1")
    outcomes.refund_refused(connection, refund_id="ref-1", refusal=no, now_ms=NOW_MS)
    assert operations.get_checkout(connection, "c-1").refunded_minor == 250
    assert operations.get_refund(connection, "ref-1").reason == ""


def test_an_order_that_was_answered_is_not_answered_again(connection: Connection) -> None:
    begin(connection, in_state(S.BASKET), "OPENED")
    operations.submit_checkout(connection, request_id="r-1", checkout_id="c-1", now_ms=NOW_MS)
    outcomes.order_done(connection, request_id="r-1", order=order(), now_ms=NOW_MS)
    pending = operations.get_checkout(connection, "c-1")
    outcomes.order_done(connection, request_id="r-1", order=order(version=2), now_ms=NOW_MS + 1)
    no = Reason.CHECKOUT_EMPTY(checkout_id="c-1")
    outcomes.order_refused(
        connection, request_id="r-1", refusal=no, order=order(version=2, canceled=True), now_ms=NOW_MS + 1
    )
    assert operations.get_checkout(connection, "c-1") == pending
    assert pending.state is S.PENDING


@pytest.mark.parametrize(
    ("state", "attempted", "late_ms", "expected"),
    [
        (S.BASKET, False, 0, Verdict.UNSPECIFIED),
        (S.PENDING, False, 0, Verdict.UNSPECIFIED),
        (S.PENDING, True, 0, Verdict.SAFE_TO_RETRY),
        (S.PENDING, True, 1, Verdict.SAFE_TO_RETRY),
        (S.PAYING, True, -1, Verdict.WAIT),
        (S.PAYING, True, 0, Verdict.DO_NOT_RETRY),
        (S.PAID, False, 0, Verdict.HAND_OVER_GOODS),
        (S.PAID, True, 1, Verdict.HAND_OVER_GOODS),
        (S.CANCELED, False, 0, Verdict.UNSPECIFIED),
        (S.CANCELED, True, 0, Verdict.SAFE_TO_RETRY),
    ],
)
def test_the_verdict_follows_from_state_and_clock(
    state: CheckoutState, attempted: bool, late_ms: int, expected: Verdict
) -> None:
    attempt = Attempt("pay-1", "", NOW_MS, canceling=False) if attempted else None
    assert verdict(replace(in_state(state), attempt=attempt), NOW_MS + late_ms) is expected
