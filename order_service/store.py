"""Queries. A change of an order is compare-and-set on what was read."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import bindparam, insert, select, tuple_, update

from order_service.lifecycle import OrderState, PaymentState
from order_service.model import Consent, HistoryEntry, Order, OrderPayment, OrderVersion, labels_text
from order_service.tables import order_history, order_payments, order_versions, orders
from tillmesh.payer import Payer
from tillmesh.runtime.money import Money
from tillmesh.storage.columns import has_payer, origin_of, origin_values, payer_of, payer_values
from tillmesh.storage.database import require_one_row
from tillmesh.storage.history import HistoryRow, chained
from tillmesh.storage.statements import Row, Transaction

_WITH_LINES = select(orders, order_versions.c.lines, order_versions.c.prices_include_tax).where(
    order_versions.c.order_id == orders.c.order_id, order_versions.c.version == orders.c.version
)
_FIND_ORDER = _WITH_LINES.where(orders.c.order_id == bindparam("key"))
_INSERT_ORDER = insert(orders)
_FIND_VERSION = select(order_versions, orders.c.currency).where(
    order_versions.c.order_id == bindparam("key"),
    order_versions.c.version == bindparam("wanted"),
    orders.c.order_id == order_versions.c.order_id,
)
_INSERT_VERSION = insert(order_versions)
_FIND_PAYMENT = select(order_payments).where(order_payments.c.payment_id == bindparam("key"))
_INSERT_PAYMENT = insert(order_payments)
_INSERT_HISTORY = insert(order_history)
_CHANGE_ORDER = update(orders).where(
    orders.c.order_id == bindparam("key"),
    orders.c.state == bindparam("state_read"),
    orders.c.version == bindparam("version_read"),
    orders.c.epoch == bindparam("epoch_read"),
    orders.c.event_count == bindparam("event_count_read"),
)
_CHANGE_PAYMENT = update(order_payments).where(
    order_payments.c.payment_id == bindparam("key"), order_payments.c.state == PaymentState.GRANTED
)
_LAPSED = (
    _WITH_LINES.where(orders.c.state == OrderState.LOCKED, orders.c.lease_expires_at_ms <= bindparam("now_ms"))
    .order_by(orders.c.lease_expires_at_ms)
    .limit(bindparam("at_most"))
    .with_for_update(skip_locked=True, of=orders)  # what another replica is at is left to it
)
_CLAMP = (
    update(orders)
    .where(orders.c.state == OrderState.LOCKED, orders.c.lease_expires_at_ms > bindparam("now_ms") + orders.c.lease_ms)
    .values(lease_expires_at_ms=bindparam("now_ms") + orders.c.lease_ms)
)


def find_order(transaction: Transaction, order_id: str) -> Order | None:
    """The order of that number."""
    row = transaction.execute(_FIND_ORDER, {"key": order_id}).one_or_none()
    return None if row is None else _order(row)


def insert_order(transaction: Transaction, order: Order) -> None:
    """Adds an order; its number must be free."""
    transaction.execute(_INSERT_ORDER, _order_values(order))


def change_order(transaction: Transaction, before: Order, after: Order) -> None:
    """Replaces `before` by `after` if nobody changed it since it was read; else CONCURRENT_CHANGE."""
    guard = {
        "key": before.order_id,
        "state_read": before.state,
        "version_read": before.version,
        "epoch_read": before.epoch,
        "event_count_read": before.event_count,
    }
    require_one_row(transaction.execute(_CHANGE_ORDER, guard | _changing_values(after)))


def find_version(transaction: Transaction, order_id: str, version: int) -> OrderVersion | None:
    """A version of an order, also one of the past."""
    row = transaction.execute(_FIND_VERSION, {"key": order_id, "wanted": version}).one_or_none()
    return None if row is None else _version(row)


def insert_version(transaction: Transaction, order: Order, salt: bytes) -> None:
    """Keeps the version that an order is at."""
    values = {
        "order_id": order.order_id,
        "version": order.version,
        "lines": order.lines_text,
        "prices_include_tax": order.prices_include_tax,
        "amount_minor": order.amount.minor,
        "salt": salt,
        "created_at_ms": order.updated_at_ms,
    }
    transaction.execute(_INSERT_VERSION, values)


def find_payment(transaction: Transaction, payment_id: str) -> OrderPayment | None:
    """The stored payment attempt."""
    row = transaction.execute(_FIND_PAYMENT, {"key": payment_id}).one_or_none()
    return None if row is None else _payment(row)


def insert_payment(transaction: Transaction, payment: OrderPayment) -> None:
    """Remembers a payment attempt."""
    consent = payment.consent
    values = {
        "payment_id": payment.payment_id,
        "order_id": payment.order_id,
        "state": payment.state,
        "reason": payment.reason,
        "epoch": payment.epoch,
        "asking_store_id": consent and consent.store_id,
        **payer_values(consent.payer if consent else None),
        "order_version": consent and consent.order_version,
        "currency": consent and consent.amount.currency,
        "amount_minor": consent and consent.amount.minor,
        "store_id": payment.store_id,
    }
    transaction.execute(_INSERT_PAYMENT, values)


def end_payment(transaction: Transaction, payment_id: str, state: PaymentState, reason: str) -> None:
    """Moves an attempt from GRANTED to its final state; CONCURRENT_CHANGE if it is not GRANTED."""
    require_one_row(transaction.execute(_CHANGE_PAYMENT, {"key": payment_id, "state": state, "reason": reason}))


def next_history_row(order: Order, entry: HistoryEntry) -> tuple[bytes, HistoryRow]:
    """Hash of the entry as the next row of the order's history, and that row."""
    return chained(order.history_hash, _history_values(entry))


def insert_history(transaction: Transaction, row: HistoryRow) -> None:
    """Adds a row that is never changed."""
    transaction.execute(_INSERT_HISTORY, row)


def lapsed_locks(transaction: Transaction, now_ms: int, at_most: int) -> list[Order]:
    """Locked orders whose lease is over, longest over first."""
    rows = transaction.execute(_LAPSED, {"now_ms": now_ms, "at_most": at_most})
    return [_order(row) for row in rows]


def clamp_leases(transaction: Transaction, now_ms: int) -> None:
    """Shortens what remains of any lease to its length, in case the clock stepped back."""
    transaction.execute(_CLAMP, {"now_ms": now_ms})


def list_orders(
    transaction: Transaction,
    *,
    store_id: str,
    payer: Payer | None,
    states: Sequence[OrderState],
    before: Sequence[Any] | None,
    at_most: int,
) -> list[Order]:
    """Orders newest first, those before the given (created_at_ms, order_id)."""
    query = _WITH_LINES.order_by(orders.c.created_at_ms.desc(), orders.c.order_id.desc()).limit(at_most)
    if store_id:
        query = query.where(orders.c.store_id == store_id)
    if payer:
        query = query.where(has_payer(orders, payer))
    if states:
        query = query.where(orders.c.state.in_(states))
    if before:
        query = query.where(tuple_(orders.c.created_at_ms, orders.c.order_id) < tuple(before))
    return [_order(row) for row in transaction.execute(query)]


def list_history(transaction: Transaction, order_id: str, after_number: int, at_most: int) -> list[HistoryEntry]:
    """An order's history, oldest first."""
    query = (
        select(order_history)
        .where(order_history.c.order_id == order_id, order_history.c.number > after_number)
        .order_by(order_history.c.number)
        .limit(at_most)
    )
    return [_history(row) for row in transaction.execute(query)]


def _order_values(order: Order) -> dict[str, Any]:
    constant = {
        "order_id": order.order_id,
        "store_id": order.store_id,
        **payer_values(order.payer),
        "currency": order.amount.currency,
        "labels": labels_text(order.labels),
        **origin_values(order.origin),
        "created_at_ms": order.created_at_ms,
    }
    return constant | _changing_values(order)


def _changing_values(order: Order) -> dict[str, Any]:
    """The columns that a change may write. The others stay as they were inserted."""
    return {
        "amount_minor": order.amount.minor,
        "version": order.version,
        "state": order.state,
        "epoch": order.epoch,
        "payment_id": order.payment_id,
        "lease_ms": order.lease_ms,
        "lease_expires_at_ms": order.lease_expires_at_ms,
        "event_count": order.event_count,
        "history_hash": order.history_hash,
        "updated_at_ms": order.updated_at_ms,
    }


def _order(row: Row) -> Order:
    return Order(
        order_id=row["order_id"],
        store_id=row["store_id"],
        payer=payer_of(row),
        lines_text=row["lines"],
        prices_include_tax=row["prices_include_tax"],
        amount=Money(row["currency"], row["amount_minor"]),
        labels=orjson.loads(row["labels"]),
        origin=origin_of(row),
        version=row["version"],
        state=OrderState(row["state"]),
        epoch=row["epoch"],
        payment_id=row["payment_id"],
        lease_ms=row["lease_ms"],
        lease_expires_at_ms=row["lease_expires_at_ms"],
        event_count=row["event_count"],
        history_hash=row["history_hash"],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


def _version(row: Row) -> OrderVersion:
    return OrderVersion(
        order_id=row["order_id"],
        version=row["version"],
        lines_text=row["lines"],
        prices_include_tax=row["prices_include_tax"],
        amount=Money(row["currency"], row["amount_minor"]),
        salt=row["salt"],
        created_at_ms=row["created_at_ms"],
    )


def _payment(row: Row) -> OrderPayment:
    consent = None
    if row["payer_kind"] is not None:
        amount = Money(row["currency"], row["amount_minor"])
        consent = Consent(row["order_id"], row["asking_store_id"], payer_of(row), row["order_version"], amount)
    return OrderPayment(
        payment_id=row["payment_id"],
        order_id=row["order_id"],
        state=PaymentState(row["state"]),
        reason=row["reason"],
        epoch=row["epoch"],
        consent=consent,
        store_id=row["store_id"],
    )


def _history_values(entry: HistoryEntry) -> dict[str, str | int | None]:
    """All columns but the hash, which is over them."""
    return {
        "order_id": entry.order_id,
        "number": entry.number,
        "event": entry.event,
        "from_state": entry.from_state,
        "to_state": entry.to_state,
        "version": entry.version,
        "epoch": entry.epoch,
        "currency": entry.amount.currency,
        "amount_minor": entry.amount.minor,
        "payment_id": entry.payment_id,
        "actor": entry.actor,
        "trace_id": entry.trace_id,
        "content_hash": entry.content_hash,
        "at_ms": entry.at_ms,
    }


def _history(row: Row) -> HistoryEntry:
    return HistoryEntry(
        order_id=row["order_id"],
        number=row["number"],
        event=row["event"],
        from_state=row["from_state"] and OrderState(row["from_state"]),
        to_state=OrderState(row["to_state"]),
        version=row["version"],
        epoch=row["epoch"],
        amount=Money(row["currency"], row["amount_minor"]),
        payment_id=row["payment_id"],
        actor=row["actor"],
        trace_id=row["trace_id"],
        content_hash=row["content_hash"],
        at_ms=row["at_ms"],
    )
