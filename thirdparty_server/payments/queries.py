"""Queries about payments. A change of a payment is compare-and-set on its state and history number."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, bindparam, insert, or_, select, update

from thirdparty_server.payments.lifecycle import PaymentState
from thirdparty_server.payments.model import HistoryEntry, Payment
from thirdparty_server.payments.tables import BY_CODE, GRANTED, GUESSED, UNFINISHED, payment_history, payments
from tillmesh.payer import Payer, PayerKind
from tillmesh.runtime.money import Money
from tillmesh.storage.claims import Claims
from tillmesh.storage.columns import origin_of, origin_values, payer_of, payer_values
from tillmesh.storage.database import require_one_row
from tillmesh.storage.history import HistoryRow, chained
from tillmesh.storage.lists import Newest, newest
from tillmesh.storage.statements import Row, Transaction

_FIND_PAYMENT = select(payments).where(payments.c.payment_id == bindparam("key"))
_TAKE_PAYMENT = _FIND_PAYMENT.with_for_update()
_INSERT_PAYMENT = insert(payments)
_CHANGE_PAYMENT = update(payments).where(
    payments.c.payment_id == bindparam("key"),
    payments.c.state == bindparam("state_read"),
    payments.c.event_count == bindparam("event_count_read"),
)
_INSERT_HISTORY = insert(payment_history)
_same_order = payments.alias("same_order")
_TAKE_UNFINISHED = (
    select(payments)
    .where(
        payments.c.order_id
        == select(_same_order.c.order_id).where(_same_order.c.payment_id == bindparam("key")).scalar_subquery(),
        UNFINISHED,
    )
    .order_by(payments.c.payment_id)
    .with_for_update(of=payments)
)
_LARGER_EPOCH = (
    select(payments.c.payment_id)
    .where(payments.c.order_id == bindparam("key"), GRANTED, payments.c.epoch > bindparam("granted"))
    .limit(1)
)
_GUESS_OF_RANK = (
    select(payments.c.created_at_ms)
    .where(GUESSED, payments.c.store_id == bindparam("key"), payments.c.created_at_ms > bindparam("since_ms"))
    .order_by(payments.c.created_at_ms.desc())
    .offset(bindparam("newer"))
    .limit(1)
)
_LATEST_BY_CODE = (
    select(payments.c.identity_id)
    .where(
        BY_CODE,
        payments.c.order_id == bindparam("key"),
        payments.c.payer_kind == PayerKind.REFERENCE,
        payments.c.payer_value == bindparam("reference"),
        payments.c.created_at_ms > bindparam("since_ms"),
    )
    .order_by(payments.c.created_at_ms.desc(), payments.c.payment_id.desc())
    .limit(1)
)
_LATEST_BY_CODE_AT_STORE = _LATEST_BY_CODE.where(payments.c.store_id == bindparam("store"))
# A row from the future is no fresh one: the clock stepped back.
_TO_DRIVE = and_(
    UNFINISHED,
    or_(payments.c.state != PaymentState.AWAITING_PAYER, payments.c.confirm_deadline_ms <= bindparam("now_ms")),
)
_CLAIMS = Claims(payments.c.payment_id, _TO_DRIVE, payments.c.updated_at_ms)
_CLAMP = (
    update(payments)
    .where(
        UNFINISHED,
        payments.c.state == PaymentState.AWAITING_PAYER,
        payments.c.confirm_deadline_ms > bindparam("longest_ms"),
    )
    .values(confirm_deadline_ms=bindparam("longest_ms"))
)


def find_payment(transaction: Transaction, payment_id: str) -> Payment | None:
    """The payment of that id."""
    row = transaction.execute(_FIND_PAYMENT, {"key": payment_id}).one_or_none()
    return None if row is None else _payment(row)


def take_payment(transaction: Transaction, payment_id: str) -> Payment | None:
    """The payment of that id, which nobody else changes before this transaction ends."""
    row = transaction.execute(_TAKE_PAYMENT, {"key": payment_id}).one_or_none()
    return None if row is None else _payment(row)


def insert_payment(transaction: Transaction, payment: Payment) -> None:
    """Records a payment."""
    transaction.execute(_INSERT_PAYMENT, _payment_values(payment))


def change_payment(transaction: Transaction, before: Payment, after: Payment) -> None:
    """Replaces `before` by `after` if nobody changed it since it was read; else CONCURRENT_CHANGE."""
    guard = {"key": before.payment_id, "state_read": before.state, "event_count_read": before.event_count}
    require_one_row(transaction.execute(_CHANGE_PAYMENT, guard | _changing_values(after)))


def take_unfinished(transaction: Transaction, payment_id: str) -> list[Payment]:
    """The unfinished payments of that payment's order, itself included: nobody else changes them meanwhile."""
    return [_payment(row) for row in transaction.execute(_TAKE_UNFINISHED, {"key": payment_id})]


def touch(transaction: Transaction, taken: Sequence[Payment]) -> None:
    """Writes payments that were taken, without changing them.

    On PostgreSQL a lock alone does not stop a transaction that took its snapshot before this one: it would wait, and
    go on without seeing what was written here. Of a row that was written it gets an error, and runs again.
    """
    if taken:
        ids = [payment.payment_id for payment in taken]
        same = {"claimed_until_ms": payments.c.claimed_until_ms}
        transaction.execute(update(payments).where(payments.c.payment_id.in_(ids)).values(same))


def has_larger_epoch(transaction: Transaction, order_id: str, granted: int) -> bool:
    """True if a larger epoch than that is recorded of any payment of the order."""
    return transaction.execute(_LARGER_EPOCH, {"key": order_id, "granted": granted}).first() is not None


def guess_of_rank(transaction: Transaction, store_id: str, rank: int, since_ms: int) -> int | None:
    """When the store's guess of that rank, counted from the newest, was made; None for fewer guesses since then."""
    found = transaction.execute(_GUESS_OF_RANK, {"key": store_id, "since_ms": since_ms, "newer": rank - 1}).first()
    return None if found is None else found["created_at_ms"]


def latest_payer_by_code(
    transaction: Transaction, *, order_id: str, reference: str, store_id: str | None, since_ms: int
) -> str | None:
    """The identity of the order's latest payment since then under that reference whose code counted."""
    values = {"key": order_id, "reference": reference, "since_ms": since_ms}
    if store_id is None:
        found = transaction.execute(_LATEST_BY_CODE, values).first()
    else:
        found = transaction.execute(_LATEST_BY_CODE_AT_STORE, values | {"store": store_id}).first()
    return None if found is None else found["identity_id"]


def due_payments(transaction: Transaction, replica: str, now_ms: int, payer_window_ms: int) -> list[str]:
    """Ids of this replica's share of payments that are neither final nor fresh, nor waiting for a payer in time.

    No payer has more time than a whole window, in case the clock stepped back.
    """
    transaction.execute(_CLAMP, {"longest_ms": now_ms + payer_window_ms})
    return _CLAIMS.take(transaction, replica, now_ms)


def list_payments(
    transaction: Transaction,
    *,
    order_id: str,
    payer: Payer | None,
    identity_id: str,
    store_id: str,
    states: Sequence[PaymentState],
    before: Newest,
    at_most: int,
) -> list[Payment]:
    """Payments newest first."""
    filters = {"order_id": order_id, "identity_id": identity_id, "store_id": store_id} | payer_values(payer)
    extra = [payments.c.state.in_(states)] if states else []
    rows = newest(transaction, payments, payments.c.payment_id, filters, extra, before, at_most)
    return [_payment(row) for row in rows]


def next_history_row(payment: Payment, entry: HistoryEntry) -> tuple[bytes, HistoryRow]:
    """Hash of the entry as the next row of the payment's history, and that row."""
    return chained(payment.history_hash, _history_values(entry))


def insert_history(transaction: Transaction, row: HistoryRow) -> None:
    """Adds a row that is never changed."""
    transaction.execute(_INSERT_HISTORY, row)


def list_history(transaction: Transaction, payment_id: str, after_number: int, at_most: int) -> list[HistoryEntry]:
    """A payment's history, oldest first."""
    query = (
        select(payment_history)
        .where(payment_history.c.payment_id == payment_id, payment_history.c.number > after_number)
        .order_by(payment_history.c.number)
        .limit(at_most)
    )
    return [_history(row) for row in transaction.execute(query)]


def _payment_values(payment: Payment) -> dict[str, Any]:
    constant = {
        "payment_id": payment.payment_id,
        "order_id": payment.order_id,
        "order_version": payment.order_version,
        "by_code": payment.by_code,
        "identity_id": payment.identity_id,
        "payer_display_name": payment.payer_display_name,
        "currency": payment.amount.currency,
        "amount_minor": payment.amount.minor,
        "confirm": payment.confirm,
        "trace_id": payment.trace_id,
        "created_at_ms": payment.created_at_ms,
    }
    return constant | payer_values(payment.payer) | origin_values(payment.origin) | _changing_values(payment)


def _changing_values(payment: Payment) -> dict[str, Any]:
    """The columns that every change writes. The others are in indexes and never change."""
    return {
        "store_id": payment.store_id,
        "state": payment.state,
        "reason": payment.reason,
        "epoch": payment.epoch,
        "hold_id": payment.hold_id,
        "confirm_deadline_ms": payment.confirm_deadline_ms,
        "refunded_minor": payment.refunded_minor,
        "event_count": payment.event_count,
        "history_hash": payment.history_hash,
        "updated_at_ms": payment.updated_at_ms,
    }


def _payment(row: Row) -> Payment:
    return Payment(
        payment_id=row["payment_id"],
        order_id=row["order_id"],
        order_version=row["order_version"],
        payer=payer_of(row),
        by_code=row["by_code"],
        identity_id=row["identity_id"],
        payer_display_name=row["payer_display_name"],
        store_id=row["store_id"],
        origin=origin_of(row),
        amount=Money(row["currency"], row["amount_minor"]),
        confirm=row["confirm"],
        state=PaymentState(row["state"]),
        reason=row["reason"],
        epoch=row["epoch"],
        hold_id=row["hold_id"],
        confirm_deadline_ms=row["confirm_deadline_ms"],
        refunded_minor=row["refunded_minor"],
        event_count=row["event_count"],
        history_hash=row["history_hash"],
        trace_id=row["trace_id"],
        created_at_ms=row["created_at_ms"],
        updated_at_ms=row["updated_at_ms"],
    )


def _history_values(entry: HistoryEntry) -> dict[str, str | int | None]:
    """All columns but the hash, which is over them."""
    return {
        "payment_id": entry.payment_id,
        "number": entry.number,
        "event": entry.event,
        "from_state": entry.from_state,
        "to_state": entry.to_state,
        "epoch": entry.epoch,
        "reason": entry.reason,
        "refund_id": entry.refund_id,
        "currency": entry.amount.currency,
        "amount_minor": entry.amount.minor,
        "actor": entry.actor,
        "trace_id": entry.trace_id,
        "at_ms": entry.at_ms,
    }


def _history(row: Row) -> HistoryEntry:
    return HistoryEntry(
        payment_id=row["payment_id"],
        number=row["number"],
        event=row["event"],
        from_state=row["from_state"] and PaymentState(row["from_state"]),
        to_state=PaymentState(row["to_state"]),
        epoch=row["epoch"],
        reason=row["reason"],
        refund_id=row["refund_id"],
        amount=Money(row["currency"], row["amount_minor"]),
        actor=row["actor"],
        trace_id=row["trace_id"],
        at_ms=row["at_ms"],
    )
