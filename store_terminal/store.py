"""Queries on checkouts, their history and the catalogue. A change of a checkout is compare-and-set on what was read."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Select, bindparam, delete, func, insert, select, tuple_, update

from store_terminal.lifecycle import CheckoutState
from store_terminal.model import Attempt, CatalogueItem, Checkout, HistoryEntry, Line
from store_terminal.tables import catalogue, checkout_history, checkouts
from tillmesh import line_rows
from tillmesh.lines import Kind, Unit
from tillmesh.payer import Payer
from tillmesh.runtime.money import Money
from tillmesh.storage.columns import has_payer, origin_of, origin_values, payer_of, payer_values
from tillmesh.storage.database import require_one_row
from tillmesh.storage.history import HistoryRow, chained
from tillmesh.storage.statements import Row, Transaction

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
_FIND_ITEM = select(catalogue).where(catalogue.c.sku == bindparam("key"))
_DROP_ITEM = delete(catalogue).where(catalogue.c.sku == bindparam("key"))
_INSERT_ITEM = insert(catalogue)
_NO_ATTEMPT = Attempt("", "", 0, 0, canceling=False, cancel_unanswered=False)


def find_checkout(transaction: Transaction, checkout_id: str) -> Checkout | None:
    """The checkout of that number."""
    row = transaction.execute(_FIND_CHECKOUT, {"key": checkout_id}).one_or_none()
    return None if row is None else _checkout(row)


def insert_checkout(transaction: Transaction, checkout: Checkout) -> None:
    """Adds a checkout; its number must be free."""
    transaction.execute(_INSERT_CHECKOUT, _checkout_values(checkout))


def change_checkout(transaction: Transaction, before: Checkout, after: Checkout) -> None:
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
    require_one_row(transaction.execute(_CHANGE_CHECKOUT, guard | values))


def list_checkouts(
    transaction: Transaction,
    *,
    payer: Payer | None,
    states: Sequence[CheckoutState],
    lane: str,
    cashier_id: str,
    before: list[Any] | None,
    at_most: int,
) -> list[Checkout]:
    """Checkouts newest first, those before the given (created_at_ms, checkout_id)."""
    query = select(checkouts)
    if payer:
        query = query.where(has_payer(checkouts, payer))
    if states:
        query = query.where(checkouts.c.state.in_(states))
    if lane:
        query = query.where(checkouts.c.lane == lane)
    if cashier_id:
        query = query.where(checkouts.c.cashier_id == cashier_id)
    rows = transaction.execute(newest(query, checkouts.c.checkout_id, checkouts.c.created_at_ms, before, at_most))
    return [_checkout(row) for row in rows]


def next_history_row(checkout: Checkout, entry: HistoryEntry) -> tuple[bytes, HistoryRow]:
    """Hash of the entry as the next row of the checkout's history, and that row."""
    return chained(checkout.history_hash, _history_values(entry))


def insert_history(transaction: Transaction, row: HistoryRow) -> None:
    """Adds a row that is never changed."""
    transaction.execute(_INSERT_HISTORY, row)


def list_history(transaction: Transaction, checkout_id: str, after_number: int, at_most: int) -> list[HistoryEntry]:
    """A checkout's history, oldest first."""
    query = (
        select(checkout_history)
        .where(checkout_history.c.checkout_id == checkout_id, checkout_history.c.number > after_number)
        .order_by(checkout_history.c.number)
        .limit(at_most)
    )
    return [_history(row) for row in transaction.execute(query)]


def find_item(transaction: Transaction, sku: str) -> CatalogueItem | None:
    """The article of that code."""
    row = transaction.execute(_FIND_ITEM, {"key": sku}).one_or_none()
    return None if row is None else _catalogue_item(row)


def put_items(transaction: Transaction, items: Sequence[CatalogueItem]) -> None:
    """Adds or replaces articles."""
    in_order = sorted(items, key=lambda item: item.sku)  # two imports at once meet in one order
    transaction.execute_many(_DROP_ITEM, [{"key": item.sku} for item in in_order])
    transaction.execute_many(_INSERT_ITEM, [_item_values(item) for item in in_order])


def count_items(transaction: Transaction) -> int:
    """The number of articles."""
    return int(transaction.execute(select(func.count()).select_from(catalogue)).scalar_one())


def list_items(transaction: Transaction, after_sku: str, at_most: int) -> list[CatalogueItem]:
    """Articles by code, those after the given one."""
    query = select(catalogue).where(catalogue.c.sku > after_sku).order_by(catalogue.c.sku).limit(at_most)
    return [_catalogue_item(row) for row in transaction.execute(query)]


def newest(query: Select[Any], key: Any, at_ms: Any, before: list[Any] | None, at_most: int) -> Select[Any]:
    """The query for a page of a list, newest first."""
    if before:
        query = query.where(tuple_(at_ms, key) < tuple(before))
    return query.order_by(at_ms.desc(), key.desc()).limit(at_most)


def _checkout_values(checkout: Checkout) -> dict[str, Any]:
    constant = {
        "checkout_id": checkout.checkout_id,
        "store_id": checkout.store_id,
        **origin_values(checkout.origin),
        **payer_values(checkout.payer),
        "prices_include_tax": checkout.prices_include_tax,
        "currency": checkout.amount.currency,
        "labels": orjson.dumps(checkout.labels).decode(),
        "created_at_ms": checkout.created_at_ms,
    }
    return constant | {"lines": _lines_text(checkout)} | _changing_values(checkout)


def _lines_text(checkout: Checkout) -> str:
    rows = line_rows.to_rows([line.item for line in checkout.lines])
    numbered = [[line.number, *row] for line, row in zip(checkout.lines, rows, strict=True)]
    return orjson.dumps(numbered).decode()


def _lines(text: str) -> tuple[Line, ...]:
    rows = orjson.loads(text)
    items = line_rows.from_rows([row[1:] for row in rows])
    return tuple(Line(row[0], item) for row, item in zip(rows, items, strict=True))


def _changing_values(checkout: Checkout) -> dict[str, Any]:
    """The columns that every change writes. Lines change rarely; the other columns are in indexes and never change."""
    attempt = checkout.attempt or _NO_ATTEMPT
    return {
        "payer_display_name": checkout.payer_display_name,
        "last_line_number": checkout.last_line_number,
        "amount_minor": checkout.amount.minor,
        "basket_version": checkout.basket_version,
        "state": checkout.state,
        "order_version": checkout.order_version,
        "unanswered": checkout.unanswered,
        "payment_id": attempt.payment_id,
        "payment_reason": attempt.reason,
        "payment_deadline_at_ms": attempt.deadline_at_ms,
        "payer_until_ms": attempt.payer_until_ms,
        "payment_canceling": attempt.canceling,
        "cancel_unanswered": attempt.cancel_unanswered,
        "paid_by": checkout.paid_by,
        "paid_at_ms": checkout.paid_at_ms,
        "refunded_minor": checkout.refunded_minor,
        "confirmed_at_ms": checkout.confirmed_at_ms,
        "event_count": checkout.event_count,
        "history_hash": checkout.history_hash,
        "updated_at_ms": checkout.updated_at_ms,
    }


def _checkout(row: Row) -> Checkout:
    return Checkout(
        checkout_id=row["checkout_id"],
        store_id=row["store_id"],
        origin=origin_of(row),
        payer=payer_of(row),
        payer_display_name=row["payer_display_name"],
        lines=_lines(row["lines"]),
        last_line_number=row["last_line_number"],
        prices_include_tax=row["prices_include_tax"],
        amount=Money(row["currency"], row["amount_minor"]),
        labels=orjson.loads(row["labels"]),
        basket_version=row["basket_version"],
        state=CheckoutState(row["state"]),
        order_version=row["order_version"],
        unanswered=row["unanswered"],
        attempt=_attempt(row) if row["payment_id"] else None,
        paid_by=row["paid_by"],
        paid_at_ms=row["paid_at_ms"],
        refunded_minor=row["refunded_minor"],
        confirmed_at_ms=row["confirmed_at_ms"],
        event_count=row["event_count"],
        history_hash=row["history_hash"],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


def _attempt(row: Row) -> Attempt:
    return Attempt(
        payment_id=row["payment_id"],
        reason=row["payment_reason"],
        deadline_at_ms=row["payment_deadline_at_ms"],
        payer_until_ms=row["payer_until_ms"],
        canceling=row["payment_canceling"],
        cancel_unanswered=row["cancel_unanswered"],
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
        "actor": entry.actor,
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
        actor=row["actor"],
        trace_id=row["trace_id"],
        at_ms=row["at_ms"],
    )


def _item_values(item: CatalogueItem) -> dict[str, Any]:
    return {
        "sku": item.sku,
        "gtin": item.gtin,
        "title": item.title,
        "kind": item.kind,
        "unit": item.unit,
        "currency": item.unit_price.currency,
        "price_minor": item.unit_price.minor,
        "price_quantity": item.price_quantity,
        "tax_code": item.tax_code,
        "tax_rate_ppm": item.tax_rate_ppm,
    }


def _catalogue_item(row: Row) -> CatalogueItem:
    return CatalogueItem(
        sku=row["sku"],
        gtin=row["gtin"],
        title=row["title"],
        kind=Kind(row["kind"]),
        unit=Unit(row["unit"]),
        unit_price=Money(row["currency"], row["price_minor"]),
        price_quantity=row["price_quantity"],
        tax_code=row["tax_code"],
        tax_rate_ppm=row["tax_rate_ppm"],
    )
