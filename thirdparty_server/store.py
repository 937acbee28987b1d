"""Queries. A change of a payment is compare-and-set on its state and history number."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, bindparam, insert, or_, select, tuple_, update

from thirdparty_server.lifecycle import PaymentState
from thirdparty_server.model import HistoryEntry, Identity, Payment, Refund, wallet
from thirdparty_server.tables import UNFINISHED, identities, payment_history, payments, refunds
from tillmesh.runtime.claims import Claims
from tillmesh.runtime.database import require_one_row
from tillmesh.runtime.history import HistoryRow, chained
from tillmesh.runtime.money import Money
from tillmesh.runtime.statements import Connection, Row

Newest = Sequence[Any] | None
"""Where a page of a newest-first list starts: (created_at_ms, id) of the row before it."""

_FIND_IDENTITY = select(identities).where(identities.c.identity_id == bindparam("key"))
_INSERT_IDENTITY = insert(identities)
_FIND_PAYMENT = select(payments).where(payments.c.payment_id == bindparam("key"))
_TAKE_PAYMENT = _FIND_PAYMENT.with_for_update()
_INSERT_PAYMENT = insert(payments)
_CHANGE_PAYMENT = update(payments).where(
    payments.c.payment_id == bindparam("key"),
    payments.c.state == bindparam("state_read"),
    payments.c.event_count == bindparam("event_count_read"),
)
_INSERT_HISTORY = insert(payment_history)
_SMALLER_EPOCHS = (
    select(payments)
    .where(
        payments.c.order_id == bindparam("key"),
        payments.c.epoch > 0,
        payments.c.epoch < bindparam("granted"),
        UNFINISHED,
    )
    .order_by(payments.c.epoch)
    .with_for_update()
)
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
_FIND_REFUND = select(refunds).where(refunds.c.refund_id == bindparam("key"))
_INSERT_REFUND = insert(refunds)


def find_identity(connection: Connection, identity_id: str) -> Identity | None:
    """The identity of that id."""
    row = connection.execute(_FIND_IDENTITY, {"key": identity_id}).one_or_none()
    return None if row is None else _identity(row)


def insert_identity(connection: Connection, identity: Identity) -> None:
    """Registers an identity; its account must be open."""
    values = {
        "identity_id": identity.identity_id,
        "display_name": identity.display_name,
        "currency": identity.currency,
        "account_id": wallet(identity.identity_id, identity.currency).account_id,
        "instant_limit_minor": identity.instant_limit_minor,
        "instant_count_max": identity.instant_count_max,
        "instant_day": 0,
        "instant_count": 0,
        "pin_failures": 0,
        "created_at_ms": identity.created_at_ms,
    }
    connection.execute(_INSERT_IDENTITY, values)


def change_identity(connection: Connection, identity: Identity) -> None:
    """Replaces display name and instant limits."""
    change = (
        update(identities)
        .where(identities.c.identity_id == identity.identity_id)
        .values(
            display_name=identity.display_name,
            instant_limit_minor=identity.instant_limit_minor,
            instant_count_max=identity.instant_count_max,
        )
    )
    require_one_row(connection.execute(change))


def list_identities(connection: Connection, after_id: str, at_most: int) -> list[Identity]:
    """Identities by id, those after the given one."""
    query = select(identities).where(identities.c.identity_id > after_id)
    query = query.order_by(identities.c.identity_id).limit(at_most)
    return [_identity(row) for row in connection.execute(query)]


def find_payment(connection: Connection, payment_id: str) -> Payment | None:
    """The payment of that id."""
    row = connection.execute(_FIND_PAYMENT, {"key": payment_id}).one_or_none()
    return None if row is None else _payment(row)


def take_payment(connection: Connection, payment_id: str) -> Payment | None:
    """The payment of that id, which nobody else changes before this transaction ends."""
    row = connection.execute(_TAKE_PAYMENT, {"key": payment_id}).one_or_none()
    return None if row is None else _payment(row)


def insert_payment(connection: Connection, payment: Payment) -> None:
    """Records a payment."""
    connection.execute(_INSERT_PAYMENT, _payment_values(payment))


def change_payment(connection: Connection, before: Payment, after: Payment) -> None:
    """Replaces `before` by `after` if nobody changed it since it was read; else CONCURRENT_CHANGE."""
    guard = {"key": before.payment_id, "state_read": before.state, "event_count_read": before.event_count}
    require_one_row(connection.execute(_CHANGE_PAYMENT, guard | _changing_values(after)))


def smaller_epochs(connection: Connection, order_id: str, granted: int) -> list[Payment]:
    """Takes the unfinished payments of an order with a recorded epoch below the one granted now."""
    rows = connection.execute(_SMALLER_EPOCHS, {"key": order_id, "granted": granted})
    return [_payment(row) for row in rows]


def due_payments(connection: Connection, replica: str, now_ms: int, payer_window_ms: int) -> list[str]:
    """Ids of this replica's share of payments that are neither final nor fresh, nor waiting for a payer in time.

    No payer has more time than a whole window, in case the clock stepped back.
    """
    connection.execute(_CLAMP, {"longest_ms": now_ms + payer_window_ms})
    return _CLAIMS.take(connection, replica, now_ms)


def list_payments(
    connection: Connection,
    *,
    order_id: str,
    payer_id: str,
    identity_id: str,
    store_id: str,
    states: Sequence[PaymentState],
    before: Newest,
    at_most: int,
) -> list[Payment]:
    """Payments newest first."""
    filters = {"order_id": order_id, "payer_id": payer_id, "identity_id": identity_id, "store_id": store_id}
    extra = [payments.c.state.in_(states)] if states else []
    rows = _newest(connection, payments, payments.c.payment_id, filters, extra, before, at_most)
    return [_payment(row) for row in rows]


def next_history_row(payment: Payment, entry: HistoryEntry) -> tuple[bytes, HistoryRow]:
    """Hash of the entry as the next row of the payment's history, and that row."""
    return chained(payment.history_hash, _history_values(entry))


def insert_history(connection: Connection, row: HistoryRow) -> None:
    """Adds a row that is never changed."""
    connection.execute(_INSERT_HISTORY, row)


def list_history(connection: Connection, payment_id: str, after_number: int, at_most: int) -> list[HistoryEntry]:
    """A payment's history, oldest first."""
    query = (
        select(payment_history)
        .where(payment_history.c.payment_id == payment_id, payment_history.c.number > after_number)
        .order_by(payment_history.c.number)
        .limit(at_most)
    )
    return [_history(row) for row in connection.execute(query)]


def find_refund(connection: Connection, refund_id: str) -> Refund | None:
    """The refund of that id."""
    row = connection.execute(_FIND_REFUND, {"key": refund_id}).one_or_none()
    return None if row is None else _refund(row)


def insert_refund(connection: Connection, refund: Refund) -> None:
    """Records a refund."""
    values = {
        "refund_id": refund.refund_id,
        "payment_id": refund.payment_id,
        "store_id": refund.store_id,
        "payer_id": refund.payer_id,
        "currency": refund.amount.currency,
        "amount_minor": refund.amount.minor,
        "note": refund.note,
        "created_at_ms": refund.created_at_ms,
    }
    connection.execute(_INSERT_REFUND, values)


def list_refunds(
    connection: Connection, *, payment_id: str, payer_id: str, store_id: str, before: Newest, at_most: int
) -> list[Refund]:
    """Refunds newest first."""
    filters = {"payment_id": payment_id, "payer_id": payer_id, "store_id": store_id}
    rows = _newest(connection, refunds, refunds.c.refund_id, filters, [], before, at_most)
    return [_refund(row) for row in rows]


def _newest(
    connection: Connection,
    table: Table,
    key: ColumnElement[Any],
    filters: dict[str, str],
    extra: Sequence[ColumnElement[bool]],
    before: Newest,
    at_most: int,
) -> Sequence[Row]:
    query = select(table).order_by(table.c.created_at_ms.desc(), key.desc()).limit(at_most)
    query = query.where(*(table.c[name] == value for name, value in filters.items() if value), *extra)
    if before:
        query = query.where(tuple_(table.c.created_at_ms, key) < tuple(before))
    return connection.execute(query).all()


def _payment_values(payment: Payment) -> dict[str, Any]:
    constant = {
        "payment_id": payment.payment_id,
        "order_id": payment.order_id,
        "order_version": payment.order_version,
        "payer_id": payment.payer_id,
        "identity_id": payment.identity_id,
        "payer_display_name": payment.payer_display_name,
        "currency": payment.amount.currency,
        "amount_minor": payment.amount.minor,
        "confirm": payment.confirm,
        "trace_id": payment.trace_id,
        "created_at_ms": payment.created_at_ms,
    }
    return constant | _changing_values(payment)


def _changing_values(payment: Payment) -> dict[str, Any]:
    """What any change may change; the rest is in indexes and never does."""
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
        payer_id=row["payer_id"],
        identity_id=row["identity_id"],
        payer_display_name=row["payer_display_name"],
        store_id=row["store_id"],
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


def _identity(row: Row) -> Identity:
    return Identity(
        identity_id=row["identity_id"],
        display_name=row["display_name"],
        currency=row["currency"],
        instant_limit_minor=row["instant_limit_minor"],
        instant_count_max=row["instant_count_max"],
        created_at_ms=row["created_at_ms"],
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
        trace_id=row["trace_id"],
        at_ms=row["at_ms"],
    )


def _refund(row: Row) -> Refund:
    return Refund(
        refund_id=row["refund_id"],
        payment_id=row["payment_id"],
        store_id=row["store_id"],
        payer_id=row["payer_id"],
        amount=Money(row["currency"], row["amount_minor"]),
        note=row["note"],
        created_at_ms=row["created_at_ms"],
    )
