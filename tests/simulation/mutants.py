"""Ways in which such a protocol goes wrong: each must be caught, or the simulator is blind to it.

A mutant exists only while a test applies it, as a patched function. None is in shipped code.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import order_service.operations as order_operations
import thirdparty_server.operations as payment_operations
from order_service import servicer as order_servicer
from order_service import store as order_store
from order_service.errors import LEASE_EXPIRED, PAYMENT_CANCELED
from order_service.lifecycle import OrderEvent, OrderState
from order_service.lifecycle import PaymentState as Attempt
from order_service.model import Order, OrderPayment
from order_service.tables import order_payments
from store_terminal import messages as terminal_messages
from store_terminal import model as terminal_model
from tests.simulation.process import is_dead
from thirdparty_server import ledger, resolver
from thirdparty_server import store as payment_store
from thirdparty_server.errors import Reason as Refused
from thirdparty_server.lifecycle import PaymentEvent, PaymentState
from thirdparty_server.model import Payment, Purpose, store_sales, wallet
from thirdparty_server.servicer import RefundServicer
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import Money
from tillmesh.runtime.peers import Unanswered
from tillmesh.runtime.requests import RequestLog, content_hash

Patch = tuple[Any, str, Any]
RELEASED = resolver.Verdict(state=resolver.Verdict.STATE_RELEASED, reason="ASSUMED")
HOLD_LASTS_MS = 8_000


@dataclass(frozen=True)
class Mutant:
    """One way to break the protocol."""

    what: str
    patches: Callable[[], list[Patch]]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The protocol is broken within this context."""
        with ExitStack() as stack:
            for target, name, replacement in self.patches():
                stack.enter_context(patch.object(target, name, replacement))
            yield


def _no_fencing() -> list[Patch]:
    real = order_operations.complete_order_payment

    def complete(connection: Any, *, payment_id: str, order_id: str, epoch: int, now_ms: int) -> Any:
        order = order_store.find_order(connection, order_id)
        payment = order_store.find_payment(connection, payment_id)
        if order is None or payment is None or order.state is not OrderState.LOCKED:
            return real(connection, payment_id=payment_id, order_id=order_id, epoch=epoch, now_ms=now_ms)
        order_store.end_payment(connection, order.payment_id, Attempt.PAID, "")
        paid = order_operations._advance(connection, order, order, OrderEvent.PAID, now_ms)
        return replace(payment, state=Attempt.PAID), paid

    return [(order_operations, "complete_order_payment", complete)]


def _forget(connection: Any, payment_id: str) -> None:
    table = order_payments
    connection.execute(table.delete().where(table.c.payment_id == payment_id))


def _forgets_payment_ids() -> list[Patch]:
    real = order_operations.lock_order

    def lock(connection: Any, *, payment_id: str, **others: Any) -> Any:
        known = order_store.find_payment(connection, payment_id)
        if known and known.state in (Attempt.RELEASED, Attempt.REFUSED):
            _forget(connection, payment_id)
        return real(connection, payment_id=payment_id, **others)

    return [(order_operations, "lock_order", lock)]


def _cancel_of_unknown_is_not_kept() -> list[Patch]:
    real = order_operations.cancel_order_payment

    def cancel(connection: Any, *, payment_id: str, **others: Any) -> Any:
        unknown = order_store.find_payment(connection, payment_id) is None
        answer = real(connection, payment_id=payment_id, **others)
        if unknown:
            _forget(connection, payment_id)
        return answer

    return [(order_operations, "cancel_order_payment", cancel)]


def _consent_to_the_amount_alone() -> list[Patch]:
    real = order_operations._why_not_lock

    def why_not(order: Any, consent: Any) -> str:
        return real(order, replace(consent, order_version=order.version) if order else consent)

    return [(order_operations, "_why_not_lock", why_not)]


def _taken_as_a_no(is_no: Callable[[Exception], bool]) -> Callable[[], list[Patch]]:
    def patches() -> list[Patch]:
        real = resolver.Orders.complete

        async def complete(self: Any, payment: Payment) -> Any:
            try:
                return await real(self, payment)
            except (Refusal, Unanswered) as error:
                if not is_no(error):
                    raise
                return RELEASED

        return [(resolver.Orders, "complete", complete)]

    return patches


def _completion_reads_the_clock() -> list[Patch]:
    real = order_operations.complete_order_payment

    def complete(connection: Any, *, payment_id: str, order_id: str, epoch: int, now_ms: int) -> Any:
        payment = order_store.find_payment(connection, payment_id)
        order = order_store.find_order(connection, order_id)
        if payment and payment.state is Attempt.HELD and order and order.lease_remaining_ms(now_ms) == 0:
            return replace(payment, state=Attempt.RELEASED, reason=LEASE_EXPIRED), order
        return real(connection, payment_id=payment_id, order_id=order_id, epoch=epoch, now_ms=now_ms)

    return [(order_operations, "complete_order_payment", complete)]


def _hold_times_out() -> list[Patch]:
    real = resolver.PaymentResolver._complete

    async def complete(self: Any, payment: Payment) -> Any:
        if self._clock.now_ms() - payment.updated_at_ms > HOLD_LASTS_MS:
            return await self._end(payment, RELEASED)
        return await real(self, payment)

    return [(resolver.PaymentResolver, "_complete", complete)]


def _gives_up_without_the_order() -> list[Patch]:
    async def release(self: Any, payment: Payment) -> Any:
        return await self._end(payment, RELEASED)

    return [(resolver.PaymentResolver, "_release", release)]


def _smaller_epochs_live_on() -> list[Patch]:
    return [(payment_store, "smaller_epochs", lambda _connection, _order_id, _granted: [])]


def _voids_attempts_without_epoch() -> list[Patch]:
    real = payment_operations.record_lock

    def record(connection: Any, *, payment_id: str, now_ms: int, **others: Any) -> Any:
        order_id = payment_operations.get_payment(connection, payment_id).order_id
        filters: dict[str, Any] = {"order_id": order_id, "payer_id": "", "store_id": "", "before": None}
        waiting = payment_store.list_payments(connection, states=[PaymentState.PENDING], at_most=100, **filters)
        for other in waiting:
            if other.payment_id != payment_id:
                key = other.payment_id
                event, reason = PaymentEvent.EXPIRED, "SUPERSEDED"
                payment_operations.give_up(connection, payment_id=key, event=event, reason=reason, now_ms=now_ms)
                payment_operations.release(connection, payment_id=key, reason=reason, now_ms=now_ms)
        return real(connection, payment_id=payment_id, now_ms=now_ms, **others)

    return [(payment_operations, "record_lock", record)]


def _time_out_is_safe_to_retry() -> list[Patch]:
    real = terminal_model.verdict

    def verdict(checkout: Any, now_ms: int) -> Any:
        found = real(checkout, now_ms)
        no_word = found is terminal_model.Verdict.DO_NOT_RETRY
        return terminal_model.Verdict.SAFE_TO_RETRY if no_word else found

    return [(terminal_messages, "verdict", verdict)]


def _posts_before_the_order_answers() -> list[Patch]:
    real = payment_operations._hold_funds

    def hold(connection: Any, payment: Payment, now_ms: int) -> Payment:
        held = real(connection, payment, now_ms)
        if held.state is PaymentState.AUTHORIZED:
            return payment_operations.capture(connection, payment_id=payment.payment_id, now_ms=now_ms)
        return held

    return [(payment_operations, "_hold_funds", hold)]


def _reads_waits_writes() -> list[Patch]:
    """Step D decides on what it read a second ago, and writes whatever is there now."""
    real = order_servicer.OrderServicer.CompleteOrderPayment

    async def complete(self: Any, request: Any) -> Any:
        read: OrderPayment | None = await self._database.run(
            lambda connection: order_store.find_payment(connection, request.payment_id)
        )
        if read is None or read.state is not Attempt.HELD or read.epoch != request.epoch:
            return await real(self, request)
        await asyncio.sleep(1)
        now_ms = self._clock.now_ms()

        def write(connection: Any) -> Order:
            order = order_operations.get_order(connection, request.order_id)
            table = order_payments
            paid = table.update().where(table.c.payment_id == request.payment_id).values(state=Attempt.PAID)
            connection.execute(paid)
            moved = replace(order, state=OrderState.PAID, payment_id=request.payment_id, epoch=request.epoch)
            moved = replace(moved, event_count=order.event_count + 1, updated_at_ms=now_ms)
            return order_operations._record(connection, order, moved, OrderEvent.PAID, request.payment_id)

        order = await self._database.run(write)
        return self._payment(replace(read, state=Attempt.PAID), order)

    return [(order_servicer.OrderServicer, "CompleteOrderPayment", complete)]


def _request_id_is_stored_later() -> list[Patch]:
    """A second transaction stores the id, a second after the effect; a crash in between forgets it."""
    columns = "INSERT OR IGNORE INTO requests (request_id, content_hash, refused, answer) VALUES (?, ?, 0, ?)"

    def once(self: Any, connection: Any, request: Any, answer_type: Any, effect: Any) -> Any:
        stored = self._stored(connection, request)
        if stored is not None:
            return answer_type.FromString(stored)
        answer = effect()
        row = request.request_id, content_hash(request), answer.SerializeToString()
        sqlite = connection._cursor.connection

        def store() -> None:
            if not is_dead():
                sqlite.execute(columns, row)

        asyncio.get_running_loop().call_later(1.0, store)
        return answer

    return [(RequestLog, "once", once)]


def _refusals_are_not_kept() -> list[Patch]:
    async def run(_self: Any, database: Any, _request: Any, operation: Any) -> Any:
        return await database.run(operation)

    return [(RequestLog, "run", run)]


def _refund_limit_is_checked_outside() -> list[Patch]:
    """What is left is read first, and the refund is made a moment later; the table's own CHECK is off as well."""
    real = RefundServicer.CreateRefund
    read: dict[str, Payment | None] = {}

    async def create(self: Any, request: Any) -> Any:
        read[request.request_id] = await self._database.run(
            lambda connection: payment_store.find_payment(connection, request.payment_id)
        )
        await asyncio.sleep(1)
        return await real(self, request)

    def refund(connection: Any, payment: Payment, *, refund_id: str, amount: Money, now_ms: int) -> None:
        seen = read[refund_id]
        if seen is None or seen.state is not PaymentState.CAPTURED:
            raise Refused.PAYMENT_NOT_CAPTURED(payment_id=payment.payment_id, state=payment.state)
        if seen.refunded_minor + amount.minor > seen.amount.minor or amount.minor == 0:
            raise Refused.REFUND_EXCEEDS_PAYMENT(payment_id=payment.payment_id, left=amount, wanted=amount)
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        shop = store_sales(payment.store_id, amount.currency)
        payer = wallet(payment.payer_id, amount.currency)
        ledger.transfer(connection, shop, payer, amount, Purpose.REFUND, refund_id, now_ms)
        more = replace(payment, refunded_minor=payment.refunded_minor + amount.minor)
        event = PaymentEvent.REFUNDED
        payment_operations._advance(connection, more, event, now_ms, refund_id=refund_id, amount=amount)
        connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")

    return [(RefundServicer, "CreateRefund", create), (payment_operations, "refund_payment", refund)]


def _cancel_beats_paid() -> list[Patch]:
    real = order_operations.cancel_order_payment

    def cancel(connection: Any, *, payment_id: str, order_id: str, now_ms: int) -> Any:
        payment = order_store.find_payment(connection, payment_id)
        order = order_store.find_order(connection, order_id)
        if payment is None or order is None or payment.state is not Attempt.PAID:
            return real(connection, payment_id=payment_id, order_id=order_id, now_ms=now_ms)
        table = order_payments
        released = {"state": Attempt.RELEASED, "reason": PAYMENT_CANCELED}
        connection.execute(table.update().where(table.c.payment_id == payment_id).values(released))
        opened = replace(order, state=OrderState.OPEN, payment_id="", event_count=order.event_count + 1)
        opened = order_operations._record(connection, order, opened, OrderEvent.PAYMENT_CANCELED, payment_id)
        return replace(payment, state=Attempt.RELEASED, reason=PAYMENT_CANCELED), opened

    return [(order_operations, "cancel_order_payment", cancel)]


def _history_is_not_written() -> list[Patch]:
    real = order_store.insert_history

    def insert(connection: Any, row: Any) -> None:
        if row["event"] != OrderEvent.LEASE_EXPIRED:
            real(connection, row)

    return [(order_store, "insert_history", insert)]


def _is_silence(error: Exception) -> bool:
    return isinstance(error, Unanswered) and "DEADLINE" in str(error)


def _is_error_reply(error: Exception) -> bool:
    return not _is_silence(error)


MUTANTS = {
    "rule-1": Mutant("the order takes any payment that completes while it is locked", _no_fencing),
    "rule-2": Mutant("the order forgets the payments that it released or refused", _forgets_payment_ids),
    "rule-3": Mutant("the cancellation of an unknown payment is not remembered", _cancel_of_unknown_is_not_kept),
    "rule-4": Mutant("consent is to the amount alone", _consent_to_the_amount_alone),
    "rule-5": Mutant("a time-out of `CompleteOrderPayment` is taken as a no", _taken_as_a_no(_is_silence)),
    "rule-6": Mutant("completion reads the clock and says no without a release", _completion_reads_the_clock),
    "rule-7": Mutant("a hold has a time-out of its own", _hold_times_out),
    "rule-8": Mutant("an attempt is final before the order has acknowledged it", _gives_up_without_the_order),
    "rule-9-smaller": Mutant("smaller epochs are not voided before the funds are checked", _smaller_epochs_live_on),
    "rule-9-none": Mutant("attempts without an epoch are voided as well", _voids_attempts_without_epoch),
    "rule-11": Mutant("a time-out at the till is taken as safe to retry", _time_out_is_safe_to_retry),
    "post-early": Mutant("the hold is posted before the order's answer", _posts_before_the_order_answers),
    "error-is-no": Mutant("an error reply to `CompleteOrderPayment` is taken as a no", _taken_as_a_no(_is_error_reply)),
    "read-wait-write": Mutant("the commit point reads, waits and writes", _reads_waits_writes),
    "request-id": Mutant("request ids are not stored with their effect", _request_id_is_stored_later),
    "refusal": Mutant("a refusal is forgotten, and a late copy of its request is done", _refusals_are_not_kept),
    "refund-limit": Mutant("the refund limit is checked outside the transaction", _refund_limit_is_checked_outside),
    "cancel-paid": Mutant("a cancellation beats PAID", _cancel_beats_paid),
    "no-history": Mutant("the end of a lease is not written to the history", _history_is_not_written),
}
