"""Drives each payment to its end, from whatever state it is recorded in (rule 13)."""

import random
from functools import partial

import structlog

from thirdparty_server.errors import ORDER_UNREACHABLE, PAYER_TIMEOUT
from thirdparty_server.payments import operations, queries
from thirdparty_server.payments.lifecycle import PaymentEvent, PaymentState
from thirdparty_server.payments.model import Lock, Payment, Timing
from thirdparty_server.payments.orders import DISOWNED, NO, Orders
from tillmesh.api.order.v1.order_payment_pb2 import OrderPayment
from tillmesh.auth.callers import act_as
from tillmesh.rpc.messages import from_duration
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.deadlines import time_to_answer_s
from tillmesh.runtime.driver import DUE_A_PAGE, After, Driver, Due, Progress
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.database import Database

log = structlog.get_logger()


class PaymentResolver:
    """Takes the next step of a payment. Only a verdict in the body of an answer is a no (rule 5)."""

    def __init__(
        self, database: Database, orders: Orders, clock: Clock, timing: Timing, rng: random.Random, server: str
    ) -> None:
        self._database = database
        self._orders = orders
        self._clock = clock
        self._timing = timing
        self._driver = Driver(self.get, self.step, rng, partial(act_as, server))
        self.stop = self._driver.stop

    async def run(self) -> None:
        """Takes up what nobody drives, for ever; each payment in the name of the server itself."""
        await self._driver.resume(self.due)

    async def settle(self, payment: Payment) -> Payment:
        """Drives a payment on; what it came to within the caller's deadline."""
        return await self._driver.settle(payment.payment_id, time_to_answer_s(), payment)

    async def get(self, payment_id: str) -> Payment:
        """The payment as it is recorded."""
        return await self._database.run(operations.get_payment, payment_id)

    async def step(self, payment: Payment) -> tuple[Payment, Progress]:
        """One step from the recorded state."""
        trace_id.set(payment.trace_id)
        match payment.state:
            case PaymentState.PENDING:
                return await self._lock(payment)
            case PaymentState.AWAITING_PAYER if self._clock.now_ms() >= payment.confirm_deadline_ms:
                return await self._expire(payment, PAYER_TIMEOUT)
            case PaymentState.AUTHORIZED:
                return await self._complete(payment)
            case PaymentState.VOIDING:
                return await self._void(payment)
            case PaymentState.AWAITING_PAYER | PaymentState.CAPTURED | PaymentState.VOIDED:
                return payment, Progress.DONE

    async def due(self, after: After = None) -> list[Due]:
        """A page of the payments that nobody else is driving on."""
        replica, window_ms, now_ms = self._database.replica, self._timing.payer_window_ms, self._clock.now_ms()
        return await self._database.run(queries.due_payments, replica, now_ms, window_ms, after, DUE_A_PAGE)

    async def _lock(self, payment: Payment) -> tuple[Payment, Progress]:
        asked_at_ms = self._clock.now_ms()
        if abs(asked_at_ms - payment.created_at_ms) >= self._timing.lock_patience_ms:  # also if the clock jumped
            return await self._expire(payment, ORDER_UNREACHABLE)
        verdict = await self._orders.lock(payment, self._timing.lease_ms(payment.confirm))
        if verdict.state != OrderPayment.STATE_GRANTED:
            return await self._end(payment, verdict)
        window_ms = self._timing.window_ms(from_duration(verdict.lease_remaining))
        lock = Lock(verdict.epoch, verdict.store_id, asked_at_ms + window_ms)
        moved = await self._database.run(operations.record_lock, payment.payment_id, lock, self._clock.now_ms())
        log.info("order_locked", payment_id=moved.payment_id, order_id=moved.order_id, epoch=lock.epoch)
        return moved, Progress.STEPPED

    async def _complete(self, payment: Payment) -> tuple[Payment, Progress]:
        try:
            verdict = await self._orders.complete(payment)
        except Refusal as refusal:
            if refusal.reason not in DISOWNED:
                raise
            # No no: its order may be paid by it, in a database that is not there now. People can find out (`void`).
            log.error("hold_without_end", payment_id=payment.payment_id, order_id=payment.order_id, why=refusal.text)
            return payment, Progress.WAITING
        if verdict.state != OrderPayment.STATE_PAID:
            return await self._end(payment, verdict)
        captured = await self._database.run(operations.capture, payment.payment_id, self._clock.now_ms())
        if captured.state is PaymentState.CAPTURED:
            log.info("captured", payment_id=payment.payment_id, order_id=payment.order_id)
        return captured, Progress.STEPPED

    async def _void(self, payment: Payment) -> tuple[Payment, Progress]:
        return await self._end(payment, await self._orders.cancel(payment))

    async def _expire(self, payment: Payment, reason: str) -> tuple[Payment, Progress]:
        given_up = await self._database.run(
            operations.give_up, payment.payment_id, PaymentEvent.EXPIRED, reason, self._clock.now_ms()
        )
        return given_up, Progress.STEPPED

    async def _end(self, payment: Payment, verdict: OrderPayment) -> tuple[Payment, Progress]:
        """Ends a payment after a no. What the protocol does not know at this point is no no: it is asked again."""
        if verdict.state not in NO:
            state = OrderPayment.State.Name(verdict.state)
            log.error("unexpected_verdict", payment_id=payment.payment_id, payment_state=payment.state, verdict=state)
            return payment, Progress.WAITING
        now_ms = self._clock.now_ms()
        ended = await self._database.run(operations.release, payment.payment_id, verdict.reason, now_ms)
        log.info("voided", payment_id=ended.payment_id, order_id=ended.order_id, reason=ended.reason)
        return ended, Progress.STEPPED
