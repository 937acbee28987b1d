"""Queries on checkouts. A change of a checkout is compare-and-set on what was read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import bindparam, select, update

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Attempt, Checkout, CheckoutChange, Line, Parking
from store_terminal.checkouts.tables import (
    ABANDONED,
    NAMED,
    OVERDUE,
    PARKED,
    PENDING,
    checkout_history,
    checkouts,
    pruned,
)
from tillmesh import line_rows
from tillmesh.payer import Payer
from tillmesh.storage.columns import ORIGIN, PAYER
from tillmesh.storage.feeds import Feed
from tillmesh.storage.history import History
from tillmesh.storage.lists import PAYER_COLUMNS, After, By, NewestFirst, Partial, Slice
from tillmesh.storage.records import AMOUNT, Part, Records, as_long_text
from tillmesh.storage.statements import Row, Transaction

_NO_ATTEMPT = Attempt("", "", 0, 0, canceling=False, cancel_unanswered=False)
_NOT_PARKED = Parking("", "", 0, 0)


def lines_text(lines: Sequence[Line]) -> str:
    """Lines as JSON."""
    rows = line_rows.to_rows([line.item for line in lines])
    return orjson.dumps([[line.number, line.deposit_of, *row] for line, row in zip(lines, rows, strict=True)]).decode()


def _lines(text: str) -> tuple[Line, ...]:
    rows = orjson.loads(text)
    items = line_rows.from_rows([row[2:] for row in rows])
    return tuple(Line(row[0], item, row[1]) for row, item in zip(rows, items, strict=True))


def _labels_text(labels: Mapping[str, str]) -> str:
    return orjson.dumps(labels).decode()


def _attempt(row: Row) -> Attempt | None:
    if not row["payment_id"]:
        return None
    return Attempt(
        payment_id=row["payment_id"],
        reason=row["payment_reason"],
        deadline_at_ms=row["payment_deadline_at_ms"],
        payer_until_ms=row["payer_until_ms"],
        canceling=row["payment_canceling"],
        cancel_unanswered=row["cancel_unanswered"],
    )


def _attempt_columns(attempt: Attempt | None) -> dict[str, Any]:
    attempt = attempt or _NO_ATTEMPT
    return {
        "payment_id": attempt.payment_id,
        "payment_reason": attempt.reason,
        "payment_deadline_at_ms": attempt.deadline_at_ms,
        "payer_until_ms": attempt.payer_until_ms,
        "payment_canceling": attempt.canceling,
        "cancel_unanswered": attempt.cancel_unanswered,
    }


def _parking(row: Row) -> Parking | None:
    if not row["parked_at_ms"]:
        return None
    return Parking(row["park_owner"], row["park_label"], row["parked_at_ms"], row["parked_until_ms"])


def _parking_columns(parking: Parking | None) -> dict[str, Any]:
    parking = parking or _NOT_PARKED
    return {
        "park_owner": parking.owner,
        "park_label": parking.label,
        "parked_at_ms": parking.parked_at_ms,
        "parked_until_ms": parking.parked_until_ms,
    }


CHECKOUTS = Records(
    Checkout,
    checkouts,
    parts={
        "origin": ORIGIN,
        "payer": PAYER,
        "amount": AMOUNT,
        "lines": as_long_text("lines", _lines, lines_text),
        "labels": as_long_text("labels", orjson.loads, _labels_text),
        "attempt": Part(_attempt, _attempt_columns),
        "parking": Part(_parking, _parking_columns),
    },
    guard=("state", "order_version", "unanswered", "event_count"),
    fixed=("store_id", "created_at_ms"),
)
HISTORY = History(CHECKOUTS, CheckoutChange, checkout_history, {"amount": AMOUNT})
FEED = Feed(checkout_history, pruned)
_LIST = NewestFirst(
    select(checkouts),
    checkouts.c.checkout_id,
    [By(partial=Partial("parked", [True], PARKED)), By(PAYER_COLUMNS), By(("cashier_id",)), By(("lane",)), By()],
    lengths=("lines_length", "labels_length"),
)

_WAS_PRUNED = select(pruned.c.number).where(pruned.c.record_id == bindparam("key")).limit(1)
_EVENT_FROM = (
    select(checkout_history.c.number, checkout_history.c.at_ms, checkout_history.c.chain_hash)
    .where(checkout_history.c.checkout_id == bindparam("key"), checkout_history.c.number >= bindparam("number"))
    .order_by(checkout_history.c.number)
    .limit(1)
)
_IDLE_BASKETS = (
    select(checkouts)
    .where(ABANDONED, checkouts.c.updated_at_ms <= bindparam("until_ms"))
    .order_by(checkouts.c.updated_at_ms)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True)  # what another replica is at is left to it
)
_PENDING = (
    select(checkouts)
    .where(PENDING, checkouts.c.checkout_id > bindparam("after"))
    .order_by(checkouts.c.checkout_id)
    .limit(bindparam("at_most"))
)
_OVERDUE = (
    select(checkouts)
    .where(OVERDUE, checkouts.c.parked_until_ms <= bindparam("now_ms"))
    .order_by(checkouts.c.parked_until_ms)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True)
)
_NAMED = (
    select(checkouts.c.checkout_id)
    .where(NAMED, checkouts.c.paid_at_ms <= bindparam("until_ms"))
    .order_by(checkouts.c.paid_at_ms)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True)
)
_FORGET_NAMES = update(checkouts).where(checkouts.c.checkout_id.in_(_NAMED)).values(payer_display_name="")


def checkouts_of(transaction: Transaction, rows: Sequence[Row]) -> dict[str, Checkout]:
    """The checkouts that rows of the history are about, by id."""
    return find_checkouts(transaction, {row["checkout_id"] for row in rows})


def find_checkouts(transaction: Transaction, checkout_ids: Iterable[str]) -> dict[str, Checkout]:
    """The checkouts that are there, by id."""
    found = (CHECKOUTS.find(transaction, checkout_id) for checkout_id in checkout_ids)
    return {checkout.checkout_id: checkout for checkout in found if checkout}


def pending_checkouts(transaction: Transaction, after: str, at_most: int) -> list[Checkout]:
    """Checkouts whose orders are neither paid nor canceled, by id, those that follow the given one."""
    return [CHECKOUTS.of(row) for row in transaction.execute(_PENDING, {"after": after, "at_most": at_most})]


def was_pruned(transaction: Transaction, checkout_id: str) -> bool:
    """True for a basket that is gone."""
    return transaction.execute(_WAS_PRUNED, {"key": checkout_id}).first() is not None


def event_from(transaction: Transaction, checkout_id: str, number: int) -> Row | None:
    """The first event of a history that has this number or a larger one: its number, time and hash."""
    return transaction.execute(_EVENT_FROM, {"key": checkout_id, "number": number}).first()


def idle_baskets(transaction: Transaction, until_ms: int, at_most: int) -> list[Checkout]:
    """Baskets that nobody changed since then and no server owes an answer for, longest unchanged first."""
    return [CHECKOUTS.of(row) for row in transaction.execute(_IDLE_BASKETS, {"until_ms": until_ms, "at_most": at_most})]


def overdue_parked(transaction: Transaction, now_ms: int, at_most: int) -> list[Checkout]:
    """Checkouts that are parked for too long and no server owes an answer for, longest overdue first."""
    return [CHECKOUTS.of(row) for row in transaction.execute(_OVERDUE, {"now_ms": now_ms, "at_most": at_most})]


def forget_names(transaction: Transaction, until_ms: int, at_most: int) -> int:
    """Drops the names of those who had paid by then; returns of how many checkouts."""
    return transaction.execute(_FORGET_NAMES, {"until_ms": until_ms, "at_most": at_most}).rowcount


def list_checkouts(
    transaction: Transaction,
    payer: Payer | None,
    states: list[CheckoutState],
    lane: str,
    cashier_id: str,
    parked: bool,
    after: After,
    at_most: int,
) -> Slice[Checkout]:
    """Checkouts newest first, those that follow the given (created_at_ms, checkout_id)."""
    found = _LIST.read(
        transaction, after, at_most, payer, state=states, lane=lane, cashier_id=cashier_id, parked=parked or None
    )
    return found.map(CHECKOUTS.of)
