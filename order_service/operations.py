"""One function for each RPC and for the sweeper, each one transaction.

The rules that are numbered here are explained in docs/protocol.md. Each function changes the order's row before
that of an attempt: two that ran at once on PostgreSQL would else wait for each other.
"""

from collections.abc import Sequence
from dataclasses import replace

from order_service import queries
from order_service.errors import (
    AMOUNT_MISMATCH,
    LEASE_EXPIRED,
    NOTHING_TO_PAY,
    PAYER_MISMATCH,
    PAYMENT_CANCELED,
    STORE_MISMATCH,
    Reason,
)
from order_service.lifecycle import ORDER, OrderEvent, OrderState, PaymentState
from order_service.model import Consent, NewOrder, Order, OrderChange, OrderPayment, OrderVersion, content_hash
from order_service.queries import HISTORY, PAYMENTS, VERSIONS
from tillmesh import line_rows
from tillmesh.auth.callers import require_store
from tillmesh.lines import LineItem, totals
from tillmesh.runtime.errors import CommonReason, FieldViolation, invalid
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money
from tillmesh.storage.lists import After
from tillmesh.storage.statements import Transaction


def create_order(transaction: Transaction, new: NewOrder, *, salt: bytes, now_ms: int) -> Order:
    """Raises a pending transaction; `salt` is random and for nothing else."""
    require_store(new.store_id)
    if queries.find_order(transaction, new.order_id):
        raise Reason.ORDER_EXISTS(order_id=new.order_id)
    order = Order(
        order_id=new.order_id,
        store_id=new.store_id,
        payer=new.payer,
        lines_text=line_rows.to_text(new.lines),
        prices_include_tax=new.prices_include_tax,
        amount=_due(new.lines, new.currency, new.prices_include_tax),
        labels=new.labels,
        origin=new.origin,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
    )
    created = HISTORY.begin(transaction, order, "CREATED", content_hash=_covered(order, new.lines, salt))
    return _keep_version(transaction, created, salt)


def get_order(transaction: Transaction, order_id: str) -> Order:
    """The order as it is now."""
    order = queries.find_order(transaction, order_id)
    require_store(order.store_id if order else None)
    if order is None:
        raise Reason.ORDER_NOT_FOUND(order_id=order_id)
    return order


def get_version(transaction: Transaction, order_id: str, version: int) -> OrderVersion:
    """One version of the order."""
    order = get_order(transaction, order_id)
    found = queries.find_version(transaction, order_id, version)
    if found is None:
        was_there = 0 < version < order.version
        reason = Reason.ORDER_VERSION_PRUNED if was_there else Reason.ORDER_VERSION_NOT_FOUND
        raise reason(order_id=order_id, version=order.version, wanted=version)
    return found


def list_events(transaction: Transaction, order_id: str, after: After, at_most: int) -> list[OrderChange]:
    """The order's history, oldest first."""
    get_order(transaction, order_id)
    return HISTORY.list(transaction, order_id, after, at_most)


def replace_lines(
    transaction: Transaction, *, order_id: str, version: int, lines: Sequence[LineItem], salt: bytes, now_ms: int
) -> Order:
    """Replaces the lines in place; version + 1."""
    order = _to_change(transaction, order_id, version, OrderEvent.LINES_REPLACED, now_ms)
    amount = _due(lines, order.amount.currency, order.prices_include_tax)
    after = replace(order, lines_text=line_rows.to_text(lines), amount=amount, version=order.version + 1)
    covered = _covered(after, lines, salt)
    replaced = _advance(transaction, order, after, OrderEvent.LINES_REPLACED, now_ms, content_hash=covered)
    return _keep_version(transaction, replaced, salt)


def cancel_order(transaction: Transaction, *, order_id: str, version: int, now_ms: int) -> Order:
    """Withdraws the order."""
    order = _to_change(transaction, order_id, version, OrderEvent.CANCELED, now_ms)
    return _advance(transaction, order, order, OrderEvent.CANCELED, now_ms)


def complete_free_order(transaction: Transaction, *, order_id: str, version: int, now_ms: int) -> Order:
    """Completes an order that comes to 0: PAID without a payment."""
    order = _to_change(transaction, order_id, version, OrderEvent.COMPLETED_FREE, now_ms)
    if order.amount.minor != 0:
        raise Reason.ORDER_NOT_FREE(order_id=order_id, amount=order.amount)
    return _advance(transaction, order, order, OrderEvent.COMPLETED_FREE, now_ms)


def lock_order(
    transaction: Transaction, *, payment_id: str, consent: Consent, lease_ms: int, now_ms: int
) -> tuple[OrderPayment, Order | None]:
    """Locks the order for one payment, or remembers why not; the first answer stands (rule 2)."""
    known = PAYMENTS.find(transaction, payment_id)
    if known is not None:
        _require_same(known, consent)
        return known, queries.find_order(transaction, consent.order_id)
    order = queries.find_order(transaction, consent.order_id)
    if order and order.state is OrderState.LOCKED and order.lease_remaining_ms(now_ms) == 0:
        order = _release(transaction, order, OrderEvent.LEASE_EXPIRED, LEASE_EXPIRED, now_ms)  # rule 10
    reason = _why_not_lock(order, consent)
    if order is None or reason:
        store_id = order.store_id if order else ""
        refused = OrderPayment(payment_id, consent.order_id, store_id, PaymentState.REFUSED, reason, consent=consent)
        PAYMENTS.insert(transaction, refused)
        return refused, order
    after = replace(
        order,
        epoch=order.epoch + 1,
        payment_id=payment_id,
        lease_ms=lease_ms,
        lease_expires_at_ms=now_ms + lease_ms,
    )
    locked = _advance(transaction, order, after, OrderEvent.LOCKED, now_ms)
    granted = OrderPayment(
        payment_id, order.order_id, order.store_id, PaymentState.GRANTED, epoch=locked.epoch, consent=consent
    )
    PAYMENTS.insert(transaction, granted)
    return granted, locked


def complete_order_payment(
    transaction: Transaction, *, payment_id: str, order_id: str, epoch: int, now_ms: int
) -> tuple[OrderPayment, Order]:
    """The commit point. Which way it goes never depends on the clock (rule 6)."""
    payment = PAYMENTS.find(transaction, payment_id)
    if payment is None:
        raise Reason.PAYMENT_NOT_FOUND(payment_id=payment_id)
    _require_order(payment, order_id)
    if payment.epoch != epoch:
        raise Reason.EPOCH_MISMATCH(payment_id=payment_id, epoch=payment.epoch, wanted=epoch)
    order = get_order(transaction, order_id)
    if payment.state is not PaymentState.GRANTED:
        return payment, order
    if (order.payment_id, order.epoch) != (payment_id, epoch):  # rule 1
        raise Reason.EPOCH_MISMATCH(payment_id=order.payment_id, epoch=order.epoch, wanted=epoch)
    _require_legal(order, OrderEvent.PAID, now_ms)
    paid = _advance(transaction, order, order, OrderEvent.PAID, now_ms)
    queries.end_payment(transaction, payment_id, PaymentState.PAID, "")
    return replace(payment, state=PaymentState.PAID), paid


def cancel_order_payment(
    transaction: Transaction, *, payment_id: str, order_id: str, now_ms: int
) -> tuple[OrderPayment, Order | None]:
    """Ends an attempt, known or not; a payment that paid stays PAID (rules 3 and 6)."""
    payment = PAYMENTS.find(transaction, payment_id)
    order = queries.find_order(transaction, order_id)
    require_store(order.store_id if order else None)
    if payment is None:
        store_id = order.store_id if order else ""
        released = OrderPayment(payment_id, order_id, store_id, PaymentState.RELEASED, PAYMENT_CANCELED)
        PAYMENTS.insert(transaction, released)
        return released, order
    _require_order(payment, order_id)
    if payment.state is not PaymentState.GRANTED or order is None:
        return payment, order
    released_order = _release(transaction, order, OrderEvent.PAYMENT_CANCELED, PAYMENT_CANCELED, now_ms)
    return replace(payment, state=PaymentState.RELEASED, reason=PAYMENT_CANCELED), released_order


def release_lapsed(transaction: Transaction, *, now_ms: int, at_most: int) -> list[Order]:
    """The sweeper: unlocks orders whose payment time is over (CN103606078A, first generator)."""
    queries.clamp_leases(transaction, now_ms)
    return [
        _release(transaction, order, OrderEvent.LEASE_EXPIRED, LEASE_EXPIRED, now_ms)
        for order in queries.lapsed_locks(transaction, now_ms, at_most)
    ]


def expire_idle(transaction: Transaction, *, open_max_ms: int, now_ms: int, at_most: int) -> list[Order]:
    """The sweeper: cancels open orders that nobody changed for so long; no payment that comes later can lock them."""
    return [
        _advance(transaction, order, order, OrderEvent.EXPIRED, now_ms)
        for order in queries.idle_orders(transaction, now_ms - open_max_ms, at_most)
    ]


def _due(lines: Sequence[LineItem], currency: str, prices_include_tax: bool) -> Money:
    """The amount due for lines, with the taxes that come on top."""
    due = totals(lines, prices_include_tax=prices_include_tax).amount_minor
    if due > MINOR_UNITS_MAX:
        raise invalid([FieldViolation("lines", f"must come to at most {MINOR_UNITS_MAX}, came to {due}")])
    return Money(currency, due)


def _covered(order: Order, lines: Sequence[LineItem], salt: bytes) -> str:
    """The hash of the order's present version, which its history covers; `lines` are the order's."""
    return content_hash(
        store_id=order.store_id,
        payer=order.payer,
        labels=order.labels,
        origin=order.origin,
        lines=lines,
        prices_include_tax=order.prices_include_tax,
        salt=salt,
    )


def _keep_version(transaction: Transaction, order: Order, salt: bytes) -> Order:
    """Keeps the version that an order is at."""
    version = OrderVersion(
        order_id=order.order_id,
        version=order.version,
        lines_text=order.lines_text,
        prices_include_tax=order.prices_include_tax,
        amount=order.amount,
        salt=salt,
        created_at_ms=order.updated_at_ms,
    )
    VERSIONS.insert(transaction, version)
    return order


def _to_change(transaction: Transaction, order_id: str, version: int, event: OrderEvent, now_ms: int) -> Order:
    """The order, if it is at the caller's version and the event may happen to it."""
    order = get_order(transaction, order_id)
    _require_legal(order, event, now_ms)
    if order.version != version:
        raise Reason.VERSION_MISMATCH(order_id=order_id, version=order.version, wanted=version)
    return order


def _why_not_lock(order: Order | None, consent: Consent) -> str:
    """Reason of a refused lock, or empty; consent is to version and amount, both (rule 4)."""
    if consent.store_id not in ("", order.store_id if order else None):
        return STORE_MISMATCH  # first: another store learns nothing else
    if order is None:
        return Reason.ORDER_NOT_FOUND.name
    if not ORDER.is_legal(order.state, OrderEvent.LOCKED):
        return ORDER.refused[order.state]
    if order.payer != consent.payer:
        return PAYER_MISMATCH
    if order.version != consent.order_version:
        return Reason.VERSION_MISMATCH.name
    if order.amount.minor == 0:
        return NOTHING_TO_PAY
    return "" if order.amount == consent.amount else AMOUNT_MISMATCH


def _release(transaction: Transaction, order: Order, event: OrderEvent, reason: str, now_ms: int) -> Order:
    """Ends the lock: payment status back to pending, order unlocked, attempt RELEASED, in one."""
    after = replace(order, payment_id="", lease_ms=0, lease_expires_at_ms=0)
    released = _advance(transaction, order, after, event, now_ms, payment_id=order.payment_id)
    queries.end_payment(transaction, order.payment_id, PaymentState.RELEASED, reason)
    return released


def _advance(
    transaction: Transaction, before: Order, after: Order, event: OrderEvent, now_ms: int, **facts: str
) -> Order:
    """Moves an order along its transition table and writes its history, in one."""
    _require_legal(before, event, now_ms)
    moved = replace(after, state=ORDER.target(before.state, event))
    return HISTORY.advance(transaction, before, moved, event, now_ms, **facts)


def _require_legal(order: Order, event: OrderEvent, now_ms: int) -> None:
    if not ORDER.is_legal(order.state, event) and order.state in ORDER.refused:
        seconds_left = -(-order.lease_remaining_ms(now_ms) // 1000)
        facts = {"seconds_left": seconds_left} if order.state is OrderState.LOCKED else {}
        reason = Reason[ORDER.refused[order.state]]
        raise reason(order_id=order.order_id, payment_id=order.payment_id, **facts)


def _require_order(payment: OrderPayment, order_id: str) -> None:
    if payment.order_id != order_id:
        raise CommonReason.REQUEST_ID_REUSED(request_id=payment.payment_id)


def _require_same(payment: OrderPayment, consent: Consent) -> None:
    _require_order(payment, consent.order_id)
    if payment.consent not in (None, consent):
        raise CommonReason.REQUEST_ID_REUSED(request_id=payment.payment_id)
