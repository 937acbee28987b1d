"""Ways in which the order service could go wrong; see `mutants`."""

import asyncio
from dataclasses import replace
from typing import Any

from order_service import operations, queries, servicer
from order_service.errors import LEASE_EXPIRED, PAYMENT_CANCELED
from order_service.lifecycle import OrderEvent, OrderState, PaymentState
from order_service.model import Order, OrderPayment
from order_service.tables import order_payments

Patch = tuple[Any, str, Any]


def no_fencing() -> list[Patch]:
    real = operations.complete_order_payment

    def complete(transaction: Any, *, payment_id: str, order_id: str, epoch: int, now_ms: int) -> Any:
        order = queries.find_order(transaction, order_id)
        payment = queries.PAYMENTS.find(transaction, payment_id)
        if order is None or payment is None or order.state is not OrderState.LOCKED:
            return real(transaction, payment_id=payment_id, order_id=order_id, epoch=epoch, now_ms=now_ms)
        queries.end_payment(transaction, order.payment_id, PaymentState.PAID, "")
        paid = operations._advance(transaction, order, order, OrderEvent.PAID, now_ms)
        return replace(payment, state=PaymentState.PAID), paid

    return [(operations, "complete_order_payment", complete)]


def _forget(transaction: Any, payment_id: str) -> None:
    table = order_payments
    transaction.execute(table.delete().where(table.c.payment_id == payment_id))


def forgets_payment_ids() -> list[Patch]:
    real = operations.lock_order

    def lock(transaction: Any, *, payment_id: str, **others: Any) -> Any:
        known = queries.PAYMENTS.find(transaction, payment_id)
        if known and known.state in (PaymentState.RELEASED, PaymentState.REFUSED):
            _forget(transaction, payment_id)
        return real(transaction, payment_id=payment_id, **others)

    return [(operations, "lock_order", lock)]


def cancel_of_unknown_is_not_kept() -> list[Patch]:
    real = operations.cancel_order_payment

    def cancel(transaction: Any, *, payment_id: str, **others: Any) -> Any:
        unknown = queries.PAYMENTS.find(transaction, payment_id) is None
        answer = real(transaction, payment_id=payment_id, **others)
        if unknown:
            _forget(transaction, payment_id)
        return answer

    return [(operations, "cancel_order_payment", cancel)]


def consent_to_the_amount_alone() -> list[Patch]:
    real = operations._why_not_lock

    def why_not(order: Any, consent: Any) -> str:
        return real(order, replace(consent, order_version=order.version) if order else consent)

    return [(operations, "_why_not_lock", why_not)]


def completion_reads_the_clock() -> list[Patch]:
    real = operations.complete_order_payment

    def complete(transaction: Any, *, payment_id: str, order_id: str, epoch: int, now_ms: int) -> Any:
        payment = queries.PAYMENTS.find(transaction, payment_id)
        order = queries.find_order(transaction, order_id)
        if payment and payment.state is PaymentState.GRANTED and order and order.lease_remaining_ms(now_ms) == 0:
            return replace(payment, state=PaymentState.RELEASED, reason=LEASE_EXPIRED), order
        return real(transaction, payment_id=payment_id, order_id=order_id, epoch=epoch, now_ms=now_ms)

    return [(operations, "complete_order_payment", complete)]


def reads_waits_writes() -> list[Patch]:
    """Step D decides on what it read a second ago, and writes whatever is there now."""
    real = servicer.OrderServicer.CompleteOrderPayment

    async def complete(self: Any, request: Any) -> Any:
        read: OrderPayment | None = await self.database.run(queries.PAYMENTS.find, request.payment_id)
        if read is None or read.state is not PaymentState.GRANTED or read.epoch != request.epoch:
            return await real(self, request)
        await asyncio.sleep(1)
        now_ms = self.clock.now_ms()

        def write(transaction: Any) -> Order:
            order = operations.get_order(transaction, request.order_id)
            table = order_payments
            paid = table.update().where(table.c.payment_id == request.payment_id).values(state=PaymentState.PAID)
            transaction.execute(paid)
            moved = replace(order, state=OrderState.PAID, payment_id=request.payment_id, epoch=request.epoch)
            return queries.HISTORY.advance(transaction, order, moved, OrderEvent.PAID, now_ms)

        order = await self.database.run(write)
        return self._payment(replace(read, state=PaymentState.PAID), order)

    return [(servicer.OrderServicer, "CompleteOrderPayment", complete)]


def cancel_beats_paid() -> list[Patch]:
    real = operations.cancel_order_payment

    def cancel(transaction: Any, *, payment_id: str, order_id: str, now_ms: int) -> Any:
        payment = queries.PAYMENTS.find(transaction, payment_id)
        order = queries.find_order(transaction, order_id)
        if payment is None or order is None or payment.state is not PaymentState.PAID:
            return real(transaction, payment_id=payment_id, order_id=order_id, now_ms=now_ms)
        table = order_payments
        released = {"state": PaymentState.RELEASED, "reason": PAYMENT_CANCELED}
        transaction.execute(table.update().where(table.c.payment_id == payment_id).values(released))
        opened = replace(order, state=OrderState.OPEN, payment_id="")
        event = OrderEvent.PAYMENT_CANCELED
        opened = queries.HISTORY.advance(transaction, order, opened, event, now_ms, payment_id=payment_id)
        return replace(payment, state=PaymentState.RELEASED, reason=PAYMENT_CANCELED), opened

    return [(operations, "cancel_order_payment", cancel)]


def history_is_not_written() -> list[Patch]:
    real = queries.HISTORY.advance

    def advance(transaction: Any, before: Order, after: Order, event: str, now_ms: int, **facts: Any) -> Order:
        if event != OrderEvent.LEASE_EXPIRED:
            return real(transaction, before, after, event, now_ms, **facts)
        moved = replace(after, event_count=before.event_count + 1, updated_at_ms=now_ms)
        queries.ORDERS.change(transaction, before, moved)
        return moved

    return [(queries.HISTORY, "advance", advance)]


def free_at_any_version() -> list[Patch]:
    """An order that comes to nothing is completed as it is, whatever its shopper was shown."""
    real = operations.complete_free_order

    def complete(transaction: Any, *, order_id: str, version: int, now_ms: int) -> Any:
        order = queries.find_order(transaction, order_id)
        return real(transaction, order_id=order_id, version=order.version if order else version, now_ms=now_ms)

    return [(operations, "complete_free_order", complete)]
