"""One payment, from what was written down to the order's word on it (rules 3, 4 and 11)."""

import random

import structlog

from store_terminal.checkouts.model import Attempt, Checkout, Till
from store_terminal.errors import (
    NOT_THERE,
    PAYMENT_CANCELED,
    PAYMENT_TIMEOUT,
    Reason,
)
from store_terminal.outbox import queries, replies
from store_terminal.outbox.exchanges import Exchanges
from store_terminal.outbox.model import Exchange
from store_terminal.outbox.peers import Peers
from tillmesh.api.order.v1 import order_payment_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.rpc.messages import from_duration
from tillmesh.rpc.peers import CALL_TIMEOUT_S
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.driver import Driver, Progress
from tillmesh.runtime.errors import CommonReason, Refusal, Unanswered
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage.database import Database

Payment = payment_pb2.Payment
OrderPayment = order_payment_pb2.OrderPayment
log = structlog.get_logger()

TELL_TIMEOUT_S = 1.0
CANCEL_TIMEOUT_S = 3.0
"""As long as the longest margin: an order that does not answer is known by the deadline."""
PAYER_GRACE_MS = 5_000
"""The payment server ends the payer's window itself; it gets the time to say so."""
PAYER_WAIT_MS_MAX = 600_000
"""The payment server may be wrong; no lock lasts longer than this."""


class Payments:
    """Steps of payments that are under way."""

    def __init__(
        self,
        exchanges: Exchanges,
        driver: Driver[Exchange],
        database: Database,
        peers: Peers,
        clock: Clock,
        rng: random.Random,
        till: Till,
    ) -> None:
        self._exchanges = exchanges
        self._driver = driver
        self._database = database
        self._peers = peers
        self._clock = clock
        self._rng = rng
        self._till = till

    async def step(self, exchange: Exchange) -> tuple[Exchange, Progress]:
        """Takes a payment one step on."""
        checkout, payment_id = exchange.of_checkout(), exchange.entry.request_id
        attempt = checkout.attempt
        if attempt is None or checkout.unanswered != payment_id:
            return exchange, Progress.DONE  # a cancellation was answered meanwhile
        if attempt.canceling:
            return await self._cancel_in_time(checkout, attempt), Progress.DONE
        if (left_s := self._left_s(attempt)) <= 0:
            return await self._give_up(payment_id, PAYMENT_TIMEOUT)
        self._driver.wake_after(payment_id, left_s)
        try:
            return await self._ask(exchange, attempt, left_s)
        except Unanswered:
            if self._left_s(attempt) > 0:
                raise
        # No pause: the cancellation is to be answered before the deadline, which somebody may have moved meanwhile.
        return await self._exchanges.get(payment_id), Progress.STEPPED

    async def cancel(self, checkout: Checkout) -> None:
        """Asks the order at once to end a payment that was given up; goes on by itself where it does not answer."""
        assert checkout.attempt is not None, "a payment was given up"
        payment_id = checkout.attempt.payment_id
        try:
            await self._release(checkout, checkout.attempt)
        except Unanswered as error:
            log.info("cancellation_unanswered", payment_id=payment_id, error=str(error))
            self._driver.poke(payment_id)

    def _left_s(self, attempt: Attempt) -> float:
        """Seconds left until the order is asked to end the payment."""
        return (attempt.deadline_at_ms - self._till.margin_ms - self._clock.now_ms()) / 1000

    async def _ask(self, exchange: Exchange, attempt: Attempt, left_s: float) -> tuple[Exchange, Progress]:
        """Asks the payment server how the payment stands, and takes the answer in."""
        entry, payment_id = exchange.entry, exchange.entry.request_id
        within_s = min(CALL_TIMEOUT_S, left_s)
        try:
            payment = await self._payment(exchange, attempt, within_s)
        except Refusal as refusal:  # no proof that the attempt is dead: only the order's word is
            lost = refusal.reason in NOT_THERE and self._exchanges.lacks_pay_code(exchange.entry)
            if lost and queries.is_anothers(entry, self._database.replica, self._clock.now_ms()):
                return exchange, Progress.WAITING  # the process that was shown the code sends it
            return await self._give_up(payment_id, Reason.PAY_CODE_LOST.name if lost else refusal.reason)
        except Unanswered as error:
            log.info("payment_unanswered", payment_id=payment_id, error=str(error))
            return await self._look_whether_decided(exchange, attempt)
        self._exchanges.pay_codes.drop(payment_id)
        return await self._take(exchange, attempt, payment)

    async def _payment(self, exchange: Exchange, attempt: Attempt, within_s: float) -> Payment:
        """The payment as it is now: sends it, or reads one that is there and does not end by itself.

        Sent again, the same request asks how the payment stands, and is answered when it is final. So what waits for
        its payer is read. What lacks its pay code is read as well: it must not be sent without.
        """
        server, payments, entry = self._peers.payment_server, self._peers.payments, exchange.entry
        if attempt.payer_until_ms or self._exchanges.lacks_pay_code(exchange.entry):
            read = payment_api.GetPaymentRequest(payment_id=entry.request_id)
            return await server.call(payments.GetPayment, read, timeout_s=within_s)
        request = payment_api.CreatePaymentRequest.FromString(entry.request)
        if code := self._exchanges.pay_codes.find(entry.request_id):
            request.pay_code = code.value.decode()
        return await server.call(payments.CreatePayment, request, timeout_s=within_s)

    async def _take(self, exchange: Exchange, attempt: Attempt, payment: Payment) -> tuple[Exchange, Progress]:
        payment_id, name = exchange.entry.request_id, payment.payer_display_name
        match payment.state:
            case Payment.STATE_CAPTURED:
                sold_at_ms = payment.update_time.ToMilliseconds()
                return await self._paid(payment_id, name, sold_at_ms), Progress.DONE
            case Payment.STATE_VOIDED:
                return await self._end(exchange.entry.checkout_id, payment_id, payment.reason), Progress.DONE
            case Payment.STATE_AWAITING_PAYER:
                waiting = await self._exchanges.apply(
                    replies.awaiting_payer,
                    payment_id=payment_id,
                    payer_display_name=name,
                    remaining_ms=min(from_duration(payment.confirm_remaining), PAYER_WAIT_MS_MAX),
                    patience_ms=PAYER_GRACE_MS + self._till.margin_ms,
                )
                return waiting, Progress.DONE  # for now: `run`, or who reads the checkout, asks again
        if attempt.payer_until_ms:
            wait_ms = self._till.payment_wait_ms
            acted = await self._exchanges.apply(replies.payer_acted, payment_id=payment_id, wait_ms=wait_ms)
            return acted, Progress.STEPPED
        return await self._look_whether_decided(exchange, attempt)

    async def _look_whether_decided(self, exchange: Exchange, attempt: Attempt) -> tuple[Exchange, Progress]:
        """PAID counts whether or not the payment server knows it (rule 11); nothing else here is proof.

        The read is that of all who ask how the checkout stands: what it finds is taken in once.
        """
        await self._exchanges.orders.refresh(exchange.of_checkout(), self._left_s(attempt))
        now = await self._exchanges.get(exchange.entry.request_id)
        return now, Progress.WAITING if now.pending else Progress.DONE

    async def _give_up(self, payment_id: str, reason: str) -> tuple[Exchange, Progress]:
        log.info("payment_given_up", payment_id=payment_id, reason=reason)
        given_up = await self._exchanges.apply(replies.payment_given_up, payment_id=payment_id, reason=reason)
        return given_up, Progress.STEPPED

    async def _cancel_in_time(self, checkout: Checkout, attempt: Attempt) -> Exchange:
        try:
            return await self._release(checkout, attempt)
        except _OrderUnanswered:
            await self._exchanges.apply(replies.cancellation_unanswered, payment_id=attempt.payment_id)
            raise

    async def _release(self, checkout: Checkout, attempt: Attempt) -> Exchange:
        """Asks the order to end the attempt: it decides whether that or the payment came first."""
        order_id, payment_id = checkout.checkout_id, attempt.payment_id
        verdict = await self._cancel_at_order(order_id, payment_id)
        if verdict.state == OrderPayment.STATE_PAID:
            return await self._paid(payment_id, await self._peers.payer_of(payment_id))
        given_up_for = attempt.reason if verdict.reason == PAYMENT_CANCELED else ""
        ended = await self._end(order_id, payment_id, given_up_for or verdict.reason)
        await self._tell_payment_server(payment_id)
        return ended

    async def _cancel_at_order(self, order_id: str, payment_id: str) -> OrderPayment:
        """The order's word; raises _OrderUnanswered where it has none."""
        request = order_api.CancelOrderPaymentRequest(payment_id=payment_id, order_id=order_id)
        server, orders = self._peers.order_server, self._peers.orders
        try:
            verdict = await server.call(orders.CancelOrderPayment, request, timeout_s=CANCEL_TIMEOUT_S)
        except Refusal as refusal:
            if refusal.reason != CommonReason.REQUEST_ID_REUSED.name:
                raise
            # The id belongs to a payment of another order, so it can never pay this one.
            return OrderPayment(state=OrderPayment.STATE_REFUSED, reason=refusal.reason)
        except Unanswered as error:
            raise _OrderUnanswered(str(error)) from error
        if verdict.state not in (OrderPayment.STATE_PAID, OrderPayment.STATE_RELEASED, OrderPayment.STATE_REFUSED):
            raise _OrderUnanswered(f"{OrderPayment.State.Name(verdict.state)} is no answer to a cancellation")
        return verdict

    async def _paid(self, payment_id: str, payer_display_name: str | None, sold_at_ms: int = 0) -> Exchange:
        return await self._exchanges.apply(
            replies.payment_paid,
            payment_id=payment_id,
            payer_display_name=payer_display_name,
            sold_at_ms=sold_at_ms,
        )

    async def _end(self, order_id: str, payment_id: str, reason: str) -> Exchange:
        order = await self._peers.read_order(order_id)
        return await self._exchanges.apply_with(order, replies.payment_ended, payment_id=payment_id, reason=reason)

    async def _tell_payment_server(self, payment_id: str) -> None:
        """So that it need not find out, and stops asking the payer; nothing depends on it."""
        request = payment_api.CancelPaymentRequest(request_id=new_request_id(self._rng), payment_id=payment_id)
        server, payments = self._peers.payment_server, self._peers.payments
        try:
            await server.call(payments.CancelPayment, request, timeout_s=TELL_TIMEOUT_S)
        except (Refusal, Unanswered) as error:
            log.info("payment_server_not_told", payment_id=payment_id, error=str(error))


class _OrderUnanswered(Unanswered):
    """The order did not answer a cancellation."""
