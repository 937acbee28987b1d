"""Queries. A change of a checkout is compare-and-set on what was read."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Select, bindparam, delete, func, insert, select, tuple_, update

from store_terminal.lifecycle import CheckoutState
from store_terminal.model import (
    Attempt,
    CatalogueItem,
    Checkout,
    EntryState,
    HistoryEntry,
    JournalEntry,
    Kind,
    Line,
    LineItem,
    TillRefund,
)
from store_terminal.tables import catalogue, checkout_history, checkouts, journal, till_refunds
from tillmesh.runtime.claims import Claims
from tillmesh.runtime.database import require_one_row
from tillmesh.runtime.history import HistoryRow, chained
from tillmesh.runtime.money import Money
from tillmesh.runtime.statements import Connection, Row

_FIND_CHECKOUT = select(checkouts).where(checkouts.c.checkout_id == bindparam("key"))
_INSERT_CHECKOUT = insert(checkouts)
_CHANGE_CHECKOUT = update(checkouts).where(
    checkouts.c.checkout_id == bindparam("key"),
    checkouts.c.state == bindparam("state_read"),
    checkouts.c.order_version == bindparam("order_version_read"),
    checkouts.c.unanswered == bindparam("unanswered_read"),
    checkouts.c.event_count == bindparam("event_count_read"),
)
_INSERT_HISTORY = insert(checkout_history)
_FIND_ENTRY = select(journal).where(journal.c.request_id == bindparam("key"))
_INSERT_ENTRY = insert(journal)
_END_ENTRY = update(journal).where(journal.c.request_id == bindparam("key"), journal.c.state == EntryState.PENDING)
_CLAIMS = Claims(journal.c.request_id, journal.c.state == EntryState.PENDING, journal.c.created_at_ms)
_REFUNDS = select(till_refunds, journal.c.state, journal.c.reason).join(journal)
_FIND_REFUND = _REFUNDS.where(till_refunds.c.refund_id == bindparam("key"))
_INSERT_REFUND = insert(till_refunds)
_SET_REFUND_AMOUNT = update(till_refunds).where(till_refunds.c.refund_id == bindparam("key"))
_FIND_ITEM = select(catalogue).where(catalogue.c.sku == bindparam("key"))
_DROP_ITEM = delete(catalogue).where(catalogue.c.sku == bindparam("key"))
_INSERT_ITEM = insert(catalogue)


def find_checkout(connection: Connection, checkout_id: str) -> Checkout | None:
    """The checkout of that number."""
    row = connection.execute(_FIND_CHECKOUT, {"key": checkout_id}).one_or_none()
    return None if row is None else _checkout(row)


def insert_checkout(connection: Connection, checkout: Checkout) -> None:
    """Adds a checkout; its number must be free."""
    connection.execute(_INSERT_CHECKOUT, _checkout_values(checkout))


def change_checkout(connection: Connection, before: Checkout, after: Checkout) -> None:
    """Replaces `before` by `after` if nobody changed it since it was read; else CONCURRENT_CHANGE."""
    guard = {
        "key": before.checkout_id,
        "state_read": before.state,
        "order_version_read": before.order_version,
        "unanswered_read": before.unanswered,
        "event_count_read": before.event_count,
    }
    values = _changing_values(after)
    if after.lines is not before.lines:
        values["lines"] = _lines_text(after)
    require_one_row(connection.execute(_CHANGE_CHECKOUT, guard | values))


def list_checkouts(
    connection: Connection, *, payer_id: str, states: Sequence[CheckoutState], before: list[Any] | None, at_most: int
) -> list[Checkout]:
    """Checkouts newest first, those before the given (created_at_ms, checkout_id)."""
    query = select(checkouts)
    if payer_id:
        query = query.where(checkouts.c.payer_id == payer_id)
    if states:
        query = query.where(checkouts.c.state.in_(states))
    rows = connection.execute(_newest(query, checkouts.c.checkout_id, checkouts.c.created_at_ms, before, at_most))
    return [_checkout(row) for row in rows]


def next_history_row(checkout: Checkout, entry: HistoryEntry) -> tuple[bytes, HistoryRow]:
    """Hash of the entry as the next row of the checkout's history, and that row."""
    return chained(checkout.history_hash, _history_values(entry))


def insert_history(connection: Connection, row: HistoryRow) -> None:
    """Adds a row that is never changed."""
    connection.execute(_INSERT_HISTORY, row)


def list_history(connection: Connection, checkout_id: str, after_number: int, at_most: int) -> list[HistoryEntry]:
    """A checkout's history, oldest first."""
    query = (
        select(checkout_history)
        .where(checkout_history.c.checkout_id == checkout_id, checkout_history.c.number > after_number)
        .order_by(checkout_history.c.number)
        .limit(at_most)
    )
    return [_history(row) for row in connection.execute(query)]


def find_entry(connection: Connection, request_id: str) -> JournalEntry | None:
    """The journal row of that request."""
    row = connection.execute(_FIND_ENTRY, {"key": request_id}).one_or_none()
    return None if row is None else _entry(row)


def insert_entry(connection: Connection, entry: JournalEntry) -> None:
    """Writes down what is about to be asked."""
    values = {
        "request_id": entry.request_id,
        "checkout_id": entry.checkout_id,
        "kind": entry.kind,
        "request": entry.request,
        "line_numbers": orjson.dumps(list(entry.line_numbers)).decode(),
        "state": entry.state,
        "reason": entry.reason,
        "refusal": entry.refusal,
        "trace_id": entry.trace_id,
        "created_at_ms": entry.created_at_ms,
    }
    connection.execute(_INSERT_ENTRY, values)


def end_entry(
    connection: Connection, entry: JournalEntry, state: EntryState, reason: str = "", refusal: bytes = b""
) -> JournalEntry:
    """Moves a journal row from PENDING to its final state; CONCURRENT_CHANGE if it is not PENDING."""
    values = {"key": entry.request_id, "state": state, "reason": reason, "refusal": refusal}
    require_one_row(connection.execute(_END_ENTRY, values))
    return replace(entry, state=state, reason=reason, refusal=refusal)


def due_requests(connection: Connection, replica: str, now_ms: int) -> list[str]:
    """Request ids that other servers have owed an answer to for a while, oldest first: this replica's share."""
    return _CLAIMS.take(connection, replica, now_ms)


def insert_refund(connection: Connection, refund: TillRefund) -> None:
    """Adds a refund; its journal row must be there."""
    values = {
        "refund_id": refund.refund_id,
        "checkout_id": refund.checkout_id,
        "payer_id": refund.payer_id,
        "items": orjson.dumps([_item_values(item) for item in refund.items]).decode(),
        "currency": refund.currency,
        "amount_minor": refund.amount_minor,
        "note": refund.note,
        "created_at_ms": refund.created_at_ms,
    }
    connection.execute(_INSERT_REFUND, values)


def set_refund_amount(connection: Connection, refund_id: str, amount_minor: int) -> None:
    """Notes how much "all that is left" was."""
    require_one_row(connection.execute(_SET_REFUND_AMOUNT, {"key": refund_id, "amount_minor": amount_minor}))


def find_refund(connection: Connection, refund_id: str) -> TillRefund | None:
    """The refund of that id."""
    row = connection.execute(_FIND_REFUND, {"key": refund_id}).one_or_none()
    return None if row is None else _refund(row)


def list_refunds(
    connection: Connection, *, checkout_id: str, payer_id: str, before: list[Any] | None, at_most: int
) -> list[TillRefund]:
    """Refunds newest first, those before the given (created_at_ms, refund_id)."""
    query = _REFUNDS
    if checkout_id:
        query = query.where(till_refunds.c.checkout_id == checkout_id)
    if payer_id:
        query = query.where(till_refunds.c.payer_id == payer_id)
    rows = connection.execute(_newest(query, till_refunds.c.refund_id, till_refunds.c.created_at_ms, before, at_most))
    return [_refund(row) for row in rows]


def refunds_of(connection: Connection, checkout_id: str) -> list[TillRefund]:
    """All refunds that a checkout's shopper has, oldest first."""
    query = _REFUNDS.where(till_refunds.c.checkout_id == checkout_id, journal.c.state == EntryState.DONE)
    rows = connection.execute(query.order_by(till_refunds.c.created_at_ms, till_refunds.c.refund_id))
    return [_refund(row) for row in rows]


def find_item(connection: Connection, sku: str) -> CatalogueItem | None:
    """The article of that code."""
    row = connection.execute(_FIND_ITEM, {"key": sku}).one_or_none()
    return None if row is None else _catalogue_item(row)


def put_items(connection: Connection, items: Sequence[CatalogueItem]) -> int:
    """Adds or replaces articles; returns how many there are now."""
    values = [
        {
            "sku": item.sku,
            "title": item.title,
            "currency": item.unit_price.currency,
            "price_minor": item.unit_price.minor,
        }
        for item in sorted(items, key=lambda item: item.sku)  # two imports at once meet in one order
    ]
    connection.execute_many(_DROP_ITEM, [{"key": item["sku"]} for item in values])
    connection.execute_many(_INSERT_ITEM, values)
    return int(connection.execute(select(func.count()).select_from(catalogue)).scalar_one())


def list_items(connection: Connection, after_sku: str, at_most: int) -> list[CatalogueItem]:
    """Articles by code, those after the given one."""
    query = select(catalogue).where(catalogue.c.sku > after_sku).order_by(catalogue.c.sku).limit(at_most)
    return [_catalogue_item(row) for row in connection.execute(query)]


def _newest(query: Select[Any], key: Any, at_ms: Any, before: list[Any] | None, at_most: int) -> Select[Any]:
    if before:
        query = query.where(tuple_(at_ms, key) < tuple(before))
    return query.order_by(at_ms.desc(), key.desc()).limit(at_most)


def _item_values(item: LineItem) -> tuple[str, str, int, int]:
    return item.sku, item.title, item.quantity, item.unit_price_minor


def _checkout_values(checkout: Checkout) -> dict[str, Any]:
    constant = {
        "checkout_id": checkout.checkout_id,
        "store_id": checkout.store_id,
        "payer_id": checkout.payer_id,
        "currency": checkout.amount.currency,
        "created_at_ms": checkout.created_at_ms,
    }
    return constant | {"lines": _lines_text(checkout)} | _changing_values(checkout)


def _lines_text(checkout: Checkout) -> str:
    return orjson.dumps([(line.number, *_item_values(line.item)) for line in checkout.lines]).decode()


def _changing_values(checkout: Checkout) -> dict[str, Any]:
    """What any change may change; lines are many and change seldom, the rest is in indexes and never does."""
    attempt = checkout.attempt or Attempt("", "", 0, canceling=False)
    return {
        "payer_display_name": checkout.payer_display_name,
        "last_line_number": checkout.last_line_number,
        "amount_minor": checkout.amount.minor,
        "state": checkout.state,
        "order_version": checkout.order_version,
        "unanswered": checkout.unanswered,
        "payment_id": attempt.payment_id,
        "payment_reason": attempt.reason,
        "payment_deadline_at_ms": attempt.deadline_at_ms,
        "payment_canceling": attempt.canceling,
        "paid_by": checkout.paid_by,
        "paid_at_ms": checkout.paid_at_ms,
        "refunded_minor": checkout.refunded_minor,
        "event_count": checkout.event_count,
        "history_hash": checkout.history_hash,
        "updated_at_ms": checkout.updated_at_ms,
    }


def _checkout(row: Row) -> Checkout:
    attempt = None
    if row["payment_id"]:
        attempt = Attempt(
            row["payment_id"], row["payment_reason"], row["payment_deadline_at_ms"], canceling=row["payment_canceling"]
        )
    return Checkout(
        checkout_id=row["checkout_id"],
        store_id=row["store_id"],
        payer_id=row["payer_id"],
        payer_display_name=row["payer_display_name"],
        lines=tuple(Line(number, LineItem(*item)) for number, *item in orjson.loads(row["lines"])),
        last_line_number=row["last_line_number"],
        amount=Money(row["currency"], row["amount_minor"]),
        state=CheckoutState(row["state"]),
        order_version=row["order_version"],
        unanswered=row["unanswered"],
        attempt=attempt,
        paid_by=row["paid_by"],
        paid_at_ms=row["paid_at_ms"],
        refunded_minor=row["refunded_minor"],
        event_count=row["event_count"],
        history_hash=row["history_hash"],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


def _history_values(entry: HistoryEntry) -> dict[str, str | int | None]:
    """All columns but the hash, which is over them."""
    return {
        "checkout_id": entry.checkout_id,
        "number": entry.number,
        "event": entry.event,
        "from_state": entry.from_state,
        "to_state": entry.to_state,
        "order_version": entry.order_version,
        "currency": entry.amount.currency,
        "amount_minor": entry.amount.minor,
        "reference": entry.reference,
        "reason": entry.reason,
        "trace_id": entry.trace_id,
        "at_ms": entry.at_ms,
    }


def _history(row: Row) -> HistoryEntry:
    return HistoryEntry(
        checkout_id=row["checkout_id"],
        number=row["number"],
        event=row["event"],
        from_state=row["from_state"] and CheckoutState(row["from_state"]),
        to_state=CheckoutState(row["to_state"]),
        order_version=row["order_version"],
        amount=Money(row["currency"], row["amount_minor"]),
        reference=row["reference"],
        reason=row["reason"],
        trace_id=row["trace_id"],
        at_ms=row["at_ms"],
    )


def _entry(row: Row) -> JournalEntry:
    return JournalEntry(
        request_id=row["request_id"],
        checkout_id=row["checkout_id"],
        kind=Kind(row["kind"]),
        request=row["request"],
        line_numbers=orjson.loads(row["line_numbers"]),
        state=EntryState(row["state"]),
        reason=row["reason"],
        refusal=row["refusal"],
        trace_id=row["trace_id"],
        created_at_ms=row["created_at_ms"],
    )


def _refund(row: Row) -> TillRefund:
    return TillRefund(
        refund_id=row["refund_id"],
        checkout_id=row["checkout_id"],
        payer_id=row["payer_id"],
        items=tuple(LineItem(*item) for item in orjson.loads(row["items"])),
        currency=row["currency"],
        amount_minor=row["amount_minor"],
        note=row["note"],
        state=EntryState(row["state"]),
        reason=row["reason"],
        created_at_ms=row["created_at_ms"],
    )


def _catalogue_item(row: Row) -> CatalogueItem:
    return CatalogueItem(row["sku"], row["title"], Money(row["currency"], row["price_minor"]))
