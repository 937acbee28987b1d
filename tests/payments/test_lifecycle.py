"""Every state meets every event, through the operations and against the table."""

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, inspect
from structlog.testing import capture_logs

from tests.databases import KINDS, databases
from tests.payments.books import Books
from thirdparty_server.errors import INSUFFICIENT_FUNDS, Reason
from thirdparty_server.ledger.model import AccountKind, Phase, Purpose
from thirdparty_server.payments import lifecycle
from thirdparty_server.payments.lifecycle import FINAL, PAYMENT, PaymentEvent, PaymentState
from thirdparty_server.payments.model import Payment
from thirdparty_server.stores.model import StoreState
from thirdparty_server.tables import METADATA
from tillmesh.api.payment.v1 import account_pb2, payment_pb2, store_pb2
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import Money
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.schema import prepare

S, E = PaymentState, PaymentEvent
EVERY = [(state, event) for state in S for event in E]
LEGAL = [pair for pair in EVERY if PAYMENT.is_legal(*pair)]
NOT_LEGAL = [pair for pair in EVERY if not PAYMENT.is_legal(*pair)]


@pytest.fixture(scope="module", params=KINDS)
def books(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    with databases(request, tmp_path_factory.mktemp("lifecycle")) as new_database:
        books = Books.open(new_database(METADATA))
        yield books
        books.check()
        books.close()


def payer(payment: Payment) -> str:
    assert payment.identity_id is not None
    return payment.identity_id


def empty_wallet(books: Books, payment: Payment) -> None:
    """Spends elsewhere what the payment would have needed."""
    account = f"wallet/{payer(payment)}/GBP"
    posted, held = books.balance(account)
    if posted > held:
        other = books.create(payer(payment), Money("GBP", posted - held))
        other = books.lock(other.payment_id)
        if other.state is S.AWAITING_PAYER:
            books.confirm(other)


def happen(books: Books, payment: Payment, event: PaymentEvent) -> None:
    """Makes the event happen the way it happens in the server."""
    match event:
        case E.FUNDS_HELD if payment.state is not S.PENDING:
            books.confirm(payment)
        case E.DECLINED if payment.state is S.AWAITING_PAYER:
            books.confirm(payment)
        case E.LOCKED_FOR_PAYER | E.FUNDS_HELD | E.DECLINED:
            books.lock(payment.payment_id)
        case E.CANCELED:
            books.cancel(payment.payment_id)
        case E.EXPIRED:
            books.expire(payment.payment_id)
        case E.ORDER_PAID:
            books.capture(payment.payment_id)
        case E.ORDER_RELEASED:
            books.release(payment.payment_id)
        case E.SUPERSEDED if payment.state is S.PENDING:  # its own lock is known after that of the other
            other = books.create(payer(payment), payment.amount, payment.order_id)
            books.lock(other.payment_id, epoch=2)
            books.lock(payment.payment_id, epoch=1)
        case E.SUPERSEDED:
            other = books.create(payer(payment), payment.amount, payment.order_id)
            books.lock(other.payment_id, epoch=2)
        case E.REFUNDED:
            books.refund(payment.payment_id, Money("GBP", 1))
        case E.VOIDED_BY_OPERATOR:
            books.void(payment.payment_id)
        case E.PIN_REJECTED:
            books.reject_pin(payment.payment_id)


def arrange(books: Books, state: PaymentState, event: PaymentEvent) -> Payment:
    """A payment in `state`, so that nothing but the table keeps `event` from happening."""
    payment = books.in_state(state, confirm=event is E.LOCKED_FOR_PAYER or state is S.AWAITING_PAYER)
    if event is E.DECLINED:
        empty_wallet(books, payment)
    if (state, event) == (S.VOIDING, E.SUPERSEDED):  # given up after it had its lock
        waiting = books.in_state(S.AWAITING_PAYER, confirm=True)
        payment = books.cancel(waiting.payment_id)
    assert payment.state is state
    return payment


def transfers(books: Books, payment: Payment) -> list[object]:
    """What the ledger did for the payment."""
    rows = books.sql("SELECT phase FROM transfers WHERE reference = ? ORDER BY transfer_id", payment.payment_id)
    return [phase for (phase,) in rows]


def reason_heard(books: Books, payment: Payment, event: PaymentEvent) -> str:
    """Makes an event happen; the reason with which it was refused, if it was."""
    try:
        happen(books, payment, event)
    except Refusal as refusal:
        return refusal.reason
    return ""


def seen(books: Books, payment: Payment) -> tuple[object, ...]:
    """All that an event could change."""
    wallet = books.balance(f"wallet/{payer(payment)}/GBP")
    return books.payment(payment.payment_id), books.history(payment.payment_id), wallet


@pytest.mark.parametrize(("state", "event"), LEGAL)
def test_a_legal_event_leads_to_its_target_and_into_the_history(
    books: Books, state: PaymentState, event: PaymentEvent
) -> None:
    payment = arrange(books, state, event)
    happen(books, payment, event)
    after = books.payment(payment.payment_id)
    assert after.state is PAYMENT.target(state, event)
    last = books.history(payment.payment_id)[-1]
    assert (last.number, last.event) == (payment.event_count + 1, event)
    assert (last.from_state, last.to_state, last.reason) == (state, after.state, after.reason)
    assert bool(after.reason) == (after.state in (S.VOIDING, S.VOIDED))
    held = ["HOLD"] if S.AUTHORIZED in (state, after.state) or state is S.CAPTURED else []
    ended = {S.CAPTURED: ["POST"], S.VOIDED: ["VOID"]}.get(after.state, []) if held else []
    assert transfers(books, payment) == held + ended


def refusal_of(state: PaymentState, event: PaymentEvent) -> str:
    """The reason that a caller hears who asks for what is not legal; the order and the clock are simply too late."""
    asked = {
        E.FUNDS_HELD: PAYMENT.refused[state],
        E.REFUNDED: Reason.PAYMENT_NOT_CAPTURED.name,
        E.VOIDED_BY_OPERATOR: Reason.PAYMENT_NOT_VOIDABLE.name,
    }
    return asked.get(event, "")


@pytest.mark.parametrize(("state", "event"), NOT_LEGAL)
def test_a_refused_event_changes_nothing_or_raises_its_reason(
    books: Books, state: PaymentState, event: PaymentEvent
) -> None:
    payment = arrange(books, state, event)
    before = seen(books, payment)
    assert reason_heard(books, payment, event) == refusal_of(state, event)
    if event is not E.SUPERSEDED:  # there another payment of the same wallet moves
        assert seen(books, payment) == before
    assert books.payment(payment.payment_id) == payment


@pytest.mark.parametrize(("state", "event"), NOT_LEGAL)
def test_no_code_moves_a_payment_where_it_is_not_legal(state: PaymentState, event: PaymentEvent) -> None:
    with pytest.raises(ValueError, match=f"{event} is not legal in {state}"):
        PAYMENT.target(state, event)


def test_the_table_has_each_move_once_and_every_reason_is_known() -> None:
    assert len(PAYMENT.rows) == len(lifecycle.LEGAL)
    errors = {row.error for row in PAYMENT.rows.values()} - {"", INSUFFICIENT_FUNDS}
    assert errors | set(PAYMENT.refused.values()) <= set(Reason.__members__)


def test_captured_and_voided_are_final_and_nothing_else_is() -> None:
    assert {S.CAPTURED, S.VOIDED} == FINAL


def test_money_that_is_held_is_ended_by_the_order_or_by_a_person_for_whom_the_order_is_none(books: Books) -> None:
    ends = {event for event in E if PAYMENT.is_legal(S.AUTHORIZED, event)}
    assert ends == {E.ORDER_PAID, E.ORDER_RELEASED, E.SUPERSEDED, E.VOIDED_BY_OPERATOR}
    payment = books.in_state(S.AUTHORIZED)
    with pytest.raises(Refusal, match=Reason.PAYMENT_NOT_VOIDABLE.name):
        books.void(payment.payment_id, disowned=False)
    assert books.payment(payment.payment_id) == payment


def test_every_attempt_that_is_given_up_asks_the_order_before_it_is_final() -> None:
    for state in (S.PENDING, S.AWAITING_PAYER):
        for event in (E.DECLINED, E.CANCELED, E.EXPIRED):
            assert PAYMENT.target(state, event) is S.VOIDING


def checked_values(engine: Engine, table: str, column: str) -> set[str]:
    """The values that the database's own CHECK allows."""
    prepare(engine, METADATA)
    checks = {check["name"]: check["sqltext"] for check in inspect(engine).get_check_constraints(table)}
    return set(re.findall(r"'(\w+)'", checks[f"{column}_is_known"]))


@pytest.mark.parametrize(
    ("enum", "names", "table", "column"),
    [
        (PaymentState, payment_pb2.Payment.State.keys(), "payments", "state"),
        (AccountKind, account_pb2.Account.Kind.keys(), "accounts", "kind"),
        (Phase, account_pb2.AccountEntry.Phase.keys(), "transfers", "phase"),
        (Purpose, account_pb2.AccountEntry.Purpose.keys(), "transfers", "purpose"),
        (StoreState, store_pb2.Store.State.keys(), "stores", "state"),
    ],
)
def test_model_contract_and_database_have_the_same_values(
    database_url: str, enum: type[PaymentState], names: list[str], table: str, column: str
) -> None:
    values = set(enum)
    assert {name.partition("_")[2] for name in names} == values | {"UNSPECIFIED"}
    assert checked_values(open_engine(parse_url(database_url)), table, column) == values


def test_every_event_is_named_in_the_contract() -> None:
    assert set(payment_pb2.PaymentEvent.Type.keys()) == {f"TYPE_{name}" for name in ("UNSPECIFIED", "CREATED", *E)}


@pytest.mark.parametrize("state", [S.PENDING, S.AWAITING_PAYER, S.VOIDING, S.VOIDED])
def test_a_yes_of_the_order_to_a_payment_without_a_hold_is_an_alarm_and_changes_nothing(
    books: Books, state: PaymentState
) -> None:
    payment = books.in_state(state, confirm=state is S.AWAITING_PAYER)
    with capture_logs() as logs:
        assert books.capture(payment.payment_id) == payment
    alarm = {"event": "captured_without_hold", "log_level": "error", "state": state}
    assert logs == [alarm | {"payment_id": payment.payment_id, "order_id": payment.order_id}]


def test_a_yes_of_the_order_that_comes_twice_is_no_alarm(books: Books) -> None:
    payment = books.in_state(S.CAPTURED)
    with capture_logs() as logs:
        assert books.capture(payment.payment_id) == payment
    assert logs == []


def test_a_larger_epoch_of_somebody_unknown_ends_what_is_under_way_as_well(books: Books) -> None:
    """An attempt may be older than its identity: then it has none, and a later one of the same order has."""
    unknown, known = (books.create(who, Money("GBP", 1000), "order-of-new") for who in ("nobody", books.shopper(1000)))
    assert books.lock(known.payment_id, epoch=1).state is S.AUTHORIZED
    declined = books.lock(unknown.payment_id, epoch=2)
    assert (declined.state, declined.reason, declined.epoch) == (S.VOIDING, "IDENTITY_NOT_FOUND", 2)
    assert books.payment(known.payment_id).state is S.VOIDED
    third = books.create(books.shopper(1000), Money("GBP", 1000), "order-of-new")
    assert books.lock(third.payment_id, epoch=3).state is S.AUTHORIZED
    assert books.payment(unknown.payment_id).reason == "SUPERSEDED"
    books.release(third.payment_id)


@pytest.mark.parametrize("ended", [False, True])
def test_a_smaller_epoch_that_comes_late_holds_nothing(books: Books, ended: bool) -> None:
    """Rule 9 from the other side: its answer arrives when that of a larger epoch is recorded, in whatever state."""
    payer_id = books.shopper(5000)
    early, late = (books.create(payer_id, Money("GBP", 1000), "order-late") for _ in range(2))
    if ended:
        early, late = (books.create(payer_id, Money("GBP", 1000), "order-ended") for _ in range(2))
    assert books.lock(late.payment_id, epoch=2).state is S.AUTHORIZED
    if ended:
        books.release(late.payment_id)
    locked = books.lock(early.payment_id, epoch=1)
    assert (locked.state, locked.reason, locked.epoch) == (S.VOIDED, "SUPERSEDED", 1)
    assert transfers(books, early) == []
    assert [entry.event for entry in books.history(early.payment_id)] == ["CREATED", "SUPERSEDED"]
    assert books.payment(late.payment_id).state is (S.VOIDED if ended else S.AUTHORIZED)
    books.release(late.payment_id)
