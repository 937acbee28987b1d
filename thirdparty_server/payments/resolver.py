"""Drives each payment to its end, from whatever state it is recorded in (rule 13)."""

from collections.abc import Sequence

import structlog

from thirdparty_server.errors import ORDER_UNREACHABLE, PAYER_TIMEOUT
from thirdparty_server.payments import operations, queries
from thirdparty_server.payments.lifecycle import PaymentEvent, PaymentState
from thirdparty_server.payments.model import Lock, Payment, Timing
from thirdparty_server.payments.orders import Orders
from tillmesh.api.order.v1.order_payment_pb2 import OrderPayment
from tillmesh.rpc.messages import from_duration
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.driver import Progress
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.database import Database

NO = (OrderPayment.STATE_RELEASED, OrderPayment.STATE_REFUSED)
log = structlog.get_logger()


class PaymentResolver:
    """Takes the next step of a payment. Only a verdict in the body of an answer is a no (rule 5)."""

    def __init__(self, database: Database, orders: Orders, clock: Clock, timing: Timing) -> None:
        self._database = database
        self._orders = orders
        self._clock = clock
        self._timing = timing

    async def due(self) -> Sequence[str]:
        """Payments that nobody else is driving on."""
        now_ms = self._clock.now_ms()
        window_ms = self._timing.payer_window_ms
        replica = self._database.replica
        return await self._database.run(
            lambda transaction: queries.due_payments(transaction, replica, now_ms, window_ms)
        )

    async def get(self, payment_id: str) -> Payment:
        """The payment as it is recorded."""
        return await self._database.run(lambda transaction: operations.get_payment(transaction, payment_id))

    async def step(self, payment: Payment) -> tuple[Payment, Progress]:
        """One step from the recorded state."""
        trace_id.set(payment.trace_id)
        match payment.state:
            case PaymentState.PENDING:
                return await self._lock(payment)
            case PaymentState.AWAITING_PAYER:
                return await self._await_payer(payment)
            case PaymentState.AUTHORIZED:
                return await self._complete(payment)
            case PaymentState.VOIDING:
                return await self._void(payment)
            case PaymentState.CAPTURED | PaymentState.VOIDED:
                return payment, Progress.DONE

    async def _lock(self, payment: Payment) -> tuple[Payment, Progress]:
        asked_at_ms = self._clock.now_ms()
        if abs(asked_at_ms - payment.created_at_ms) >= self._timing.lock_patience_ms:  # also if the clock jumped
            return await self._expire(payment, ORDER_UNREACHABLE)
        verdict = await self._orders.lock(payment, self._timing.lease_ms(payment.confirm))
        if verdict.state in NO:
            return await self._end(payment, verdict)
        if verdict.state != OrderPayment.STATE_GRANTED:
            return self._puzzled(payment, verdict)
        lock = Lock(verdict.epoch, verdict.store_id, from_duration(verdict.lease_remaining))
        now_ms = self._clock.now_ms()
        moved = await self._database.run(
            lambda transaction: operations.record_lock(
                transaction,
                payment_id=payment.payment_id,
                lock=lock,
                asked_at_ms=asked_at_ms,
                timing=self._timing,
                now_ms=now_ms,
            )
        )
        log.info("order_locked", payment_id=moved.payment_id, order_id=moved.order_id, epoch=lock.epoch)
        return moved, Progress.STEPPED

    async def _await_payer(self, payment: Payment) -> tuple[Payment, Progress]:
        if self._clock.now_ms() < payment.confirm_deadline_ms:
            return payment, Progress.DONE
        return await self._expire(payment, PAYER_TIMEOUT)

    async def _complete(self, payment: Payment) -> tuple[Payment, Progress]:
        verdict = await self._orders.complete(payment)
        if verdict.state == OrderPayment.STATE_PAID:
            now_ms = self._clock.now_ms()
            captured = await self._database.run(
                lambda transaction: operations.capture(transaction, payment_id=payment.payment_id, now_ms=now_ms)
            )
            if captured.state is PaymentState.CAPTURED:
                log.info("captured", payment_id=payment.payment_id, order_id=payment.order_id)
            return captured, Progress.STEPPED
        if verdict.state in NO:
            return await self._end(payment, verdict)
        return self._puzzled(payment, verdict)

    async def _void(self, payment: Payment) -> tuple[Payment, Progress]:
        try:
            verdict = await self._orders.cancel(payment)
        except Refusal as refusal:
            # The id belongs to another order there, so it can never lock this one.
            if refusal.reason != CommonReason.REQUEST_ID_REUSED.name:
                raise
            verdict = OrderPayment(state=OrderPayment.STATE_REFUSED, reason=refusal.reason)
        if verdict.state in NO:
            return await self._end(payment, verdict)
        return self._puzzled(payment, verdict)

    async def _expire(self, payment: Payment, reason: str) -> tuple[Payment, Progress]:
        now_ms = self._clock.now_ms()
        given_up = await self._database.run(
            lambda transaction: operations.give_up(
                transaction, payment_id=payment.payment_id, event=PaymentEvent.EXPIRED, reason=reason, now_ms=now_ms
            )
        )
        return given_up, Progress.STEPPED

    async def _end(self, payment: Payment, verdict: OrderPayment) -> tuple[Payment, Progress]:
        now_ms = self._clock.now_ms()
        ended = await self._database.run(
            lambda transaction: operations.release(
                transaction, payment_id=payment.payment_id, reason=verdict.reason, now_ms=now_ms
            )
        )
        log.info("voided", payment_id=ended.payment_id, order_id=ended.order_id, reason=ended.reason)
        return ended, Progress.STEPPED

    def _puzzled(self, payment: Payment, verdict: OrderPayment) -> tuple[Payment, Progress]:
        """An answer that the protocol does not know: not a no, so it is asked again."""
        state = OrderPayment.State.Name(verdict.state)
        log.error("unexpected_verdict", payment_id=payment.payment_id, payment_state=payment.state, verdict=state)
        return payment, Progress.WAITING
