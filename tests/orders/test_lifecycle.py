"""The transition table is what really happens, in every state, on every event."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import product

import pytest
from sqlalchemy.exc import IntegrityError

from order_service.errors import Reason
from order_service.lifecycle import ORDER, OrderEvent, OrderState, PaymentState
from order_service.operations import expire_idle
from tests.orders.shop import GIFT, LEASE_MS, Shop, event_name, state
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.statements import Transaction

S, E = OrderState, OrderEvent


@dataclass
class Case:
    """An order in a state, and the payment that an event of that order is about."""

    payment_id: str
    epoch: int
    version: int = 1


async def bring_to(shop: Shop, target: OrderState) -> Case:
    """Every order has seen one attempt before, which was given up."""
    await shop.create()
    await shop.lock("dead")
    await shop.cancel_payment("dead")
    if target is S.CANCELED:
        await shop.cancel(version=1)
    if target in (S.OPEN, S.CANCELED):
        return Case("dead", 1)
    await shop.lock("holder")
    if target is S.PAID:
        await shop.complete("holder", 2)
    return Case("holder", 2)


async def lines_replaced(shop: Shop, case: Case) -> str:
    await shop.replace_lines(case.version)
    return ""


async def locked(shop: Shop, _case: Case) -> str:
    payment = await shop.lock("newcomer")
    assert state(payment) == ("REFUSED" if payment.reason else "GRANTED")
    return payment.reason


async def paid(shop: Shop, case: Case) -> str:
    return state(await shop.complete(case.payment_id, case.epoch))


async def completed_free(shop: Shop, case: Case) -> str:
    await shop.complete_free(case.version)
    return ""


async def lease_expired(shop: Shop, _case: Case) -> str:
    shop.clock.advance(LEASE_MS)
    return f"{await shop.sweep()} unlocked"


async def payment_canceled(shop: Shop, case: Case) -> str:
    return state(await shop.cancel_payment(case.payment_id))


async def canceled(shop: Shop, case: Case) -> str:
    await shop.cancel(case.version)
    return ""


async def expired(shop: Shop, _case: Case) -> str:
    now_ms = shop.clock.now_ms()
    return f"{len(await shop.database.run(expire_idle, open_max_ms=0, now_ms=now_ms, at_most=9))} expired"


CAUSES: dict[OrderEvent, Callable[[Shop, Case], Awaitable[str]]] = {
    E.LINES_REPLACED: lines_replaced,
    E.LOCKED: locked,
    E.PAID: paid,
    E.COMPLETED_FREE: completed_free,
    E.LEASE_EXPIRED: lease_expired,
    E.PAYMENT_CANCELED: payment_canceled,
    E.CANCELED: canceled,
    E.EXPIRED: expired,
}

# Who asks about an attempt that is over is told its verdict again, and nothing happens.
TOLD_AGAIN = {
    E.PAID: {S.OPEN: "RELEASED", S.CANCELED: "RELEASED", S.PAID: "PAID"},
    E.PAYMENT_CANCELED: {S.OPEN: "RELEASED", S.CANCELED: "RELEASED", S.PAID: "PAID"},
    E.LEASE_EXPIRED: {S.OPEN: "0 unlocked", S.CANCELED: "0 unlocked", S.PAID: "0 unlocked"},
    E.EXPIRED: {S.LOCKED: "0 expired", S.CANCELED: "0 expired", S.PAID: "0 expired"},
}


LEGAL = list(ORDER.rows)
REFUSED = [key for key in product(OrderState, OrderEvent) if key not in ORDER.rows]


def test_every_event_is_caused_in_every_state() -> None:
    assert {event for _, event in [*LEGAL, *REFUSED]} == set(CAUSES) == set(OrderEvent)


@pytest.mark.parametrize(("before", "event"), LEGAL)
async def test_a_legal_event_leads_where_the_table_says(shop: Shop, before: OrderState, event: OrderEvent) -> None:
    case = await bring_to(shop, before)
    if event is E.COMPLETED_FREE:
        case.version = (await shop.replace_lines(1, GIFT)).version
    number = (await shop.history())[-1].number
    await CAUSES[event](shop, case)
    order, last = await shop.order(), (await shop.history())[-1]
    assert state(order) == ORDER.target(before, event)
    assert (last.number, event_name(last)) == (number + 1, event)
    assert last.from_state == order_pb2.Order.State.Value(f"STATE_{before}")
    assert last.to_state == order.state


@pytest.mark.parametrize(("before", "event"), REFUSED)
async def test_a_refused_event_changes_nothing_and_says_why(shop: Shop, before: OrderState, event: OrderEvent) -> None:
    case = await bring_to(shop, before)
    order, history = await shop.order(), await shop.history()
    try:
        told = await CAUSES[event](shop, case)
    except Refusal as refusal:
        told = refusal.reason
    assert told == TOLD_AGAIN.get(event, {}).get(before, ORDER.refused.get(before))
    assert await shop.order() == order
    assert await shop.history() == history


@pytest.mark.parametrize("cause", [lines_replaced, completed_free, canceled])
async def test_a_change_of_a_version_that_is_not_the_callers_is_refused(
    shop: Shop, cause: Callable[[Shop, Case], Awaitable[str]]
) -> None:
    case = await bring_to(shop, S.OPEN)
    await shop.replace_lines(version=1)
    with pytest.raises(Refusal, match="Order o-1 is at version 2, not at 1") as raised:
        await cause(shop, case)
    assert await shop.events() == ["CREATED", "LOCKED", "PAYMENT_CANCELED", "LINES_REPLACED"]
    assert raised.value.reason == ORDER.rows[S.OPEN, E.LINES_REPLACED].error == ORDER.rows[S.OPEN, E.CANCELED].error


async def test_a_completion_with_another_epoch_is_refused(shop: Shop) -> None:
    await bring_to(shop, S.LOCKED)
    with pytest.raises(Refusal, match="Payment holder has epoch 2, not 1") as raised:
        await shop.complete("holder", 1)
    assert raised.value.reason == ORDER.rows[S.LOCKED, E.PAID].error
    assert state(await shop.order()) == "LOCKED"


async def test_who_meets_a_lock_is_told_its_holder_and_the_seconds_left(shop: Shop) -> None:
    await bring_to(shop, S.LOCKED)
    shop.clock.advance(1_001)
    with pytest.raises(Refusal) as raised:
        await shop.replace_lines(version=1)
    refusal = raised.value
    assert refusal.metadata == {"order_id": "o-1", "payment_id": "holder", "seconds_left": "59"}
    assert "under a new request id" in refusal.text


def test_the_words_of_the_table_are_those_of_the_contract() -> None:
    def with_prefix(states: type[OrderState] | type[PaymentState]) -> set[str]:
        return {"STATE_UNSPECIFIED", *(f"STATE_{state}" for state in states)}

    assert set(order_pb2.Order.State.keys()) == with_prefix(OrderState)
    assert set(order_payment_pb2.OrderPayment.State.keys()) == with_prefix(PaymentState)
    types = {"TYPE_UNSPECIFIED", "TYPE_CREATED", *(f"TYPE_{event}" for event in OrderEvent)}
    assert set(order_pb2.OrderEvent.Type.keys()) == types


def test_every_refusal_of_the_table_has_words() -> None:
    errors = {row.error for row in ORDER.rows.values() if row.error}
    assert errors | set(ORDER.refused.values()) <= {reason.name for reason in Reason}


def test_final_states_are_those_that_nothing_leaves() -> None:
    assert [state for state in OrderState if ORDER.is_final(state)] == [S.PAID, S.CANCELED]


def test_the_diagram_shows_every_legal_event_and_no_other() -> None:
    arrows = {line.strip() for line in ORDER.mermaid().splitlines() if "-->" in line and "[*]" not in line}
    assert arrows == {f"{before} --> {ORDER.target(before, event)}: {event}" for before, event in LEGAL}


class Accepted(Exception):
    """Undoes what the database would have taken."""


async def database_accepts(shop: Shop, statement: str) -> bool:
    def execute(transaction: Transaction) -> None:
        transaction.exec_driver_sql(statement)
        raise Accepted

    try:
        await shop.database.run(execute)
    except Accepted:
        return True
    except IntegrityError:
        return False
    raise AssertionError(f"{statement} was neither refused nor undone")


@pytest.mark.parametrize(
    ("statement", "accepted"),
    [
        *((f"UPDATE orders SET state = '{state}', payment_id = ''", True) for state in (S.OPEN, S.CANCELED)),
        *((f"UPDATE orders SET state = '{state}', payment_id = 'p'", True) for state in (S.LOCKED, S.PAID)),
        *((f"UPDATE orders SET state = '{state}', payment_id = 'p'", False) for state in (S.OPEN, S.CANCELED)),
        *((f"UPDATE orders SET state = '{state}', payment_id = ''", False) for state in (S.LOCKED, S.PAID)),
        *(
            (f"UPDATE orders SET state = '{state}', payment_id = '', amount_minor = 0", True)
            for state in (S.OPEN, S.PAID)
        ),
        *(
            (f"UPDATE orders SET state = '{state}', payment_id = 'p', amount_minor = 0", False)
            for state in (S.OPEN, S.PAID)
        ),
        ("UPDATE orders SET state = 'LOCKED', payment_id = '', amount_minor = 0", False),
        ("UPDATE orders SET state = 'PENDING', payment_id = ''", False),
        ("UPDATE orders SET payer_kind = 'CARD'", False),
        ("UPDATE orders SET amount_minor = -1", False),
        *((f"UPDATE order_payments SET state = '{state}' WHERE payment_id = 'holder'", True) for state in PaymentState),
        ("UPDATE order_payments SET state = 'OPEN'", False),
        ("UPDATE order_payments SET state = 'PAID' WHERE payment_id = 'dead'", False),
        ("UPDATE order_payments SET state = 'GRANTED' WHERE payment_id = 'dead'", False),
        ("UPDATE order_versions SET lines = '[]'", False),
        ("DELETE FROM order_versions", False),
    ],
)
async def test_the_database_itself_refuses_what_the_table_does_not_know(
    shop: Shop, statement: str, accepted: bool
) -> None:
    await bring_to(shop, S.LOCKED)
    assert await database_accepts(shop, statement) is accepted
