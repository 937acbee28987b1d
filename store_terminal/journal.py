"""Asks the other servers what the till has written down, until they have answered.

Each row is driven on from what the database says, so a crash at any point only means that the
same bytes are sent again: before the answer is stored the row is PENDING, and each server gives
a repeated request its first answer.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from google.rpc import status_pb2
from grpc import aio

from store_terminal import operations, outcomes, outward, store
from store_terminal.errors import (
    AWAITING_PAYER,
    ORDER_ALREADY_PAID,
    PAYMENT_CANCELED,
    PAYMENT_TIMEOUT,
    STALE_COPY,
)
from store_terminal.model import Asked, Attempt, Checkout, JournalEntry, Kind, OrderCopy
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceStub
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.database import Database
from tillmesh.runtime.deadlines import remaining_s, set_deadline
from tillmesh.runtime.driver import Driver, Progress
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money
from tillmesh.runtime.peers import Peer, Unanswered
from tillmesh.runtime.secret import Secret
from tillmesh.runtime.telemetry import trace_id

if TYPE_CHECKING:  # the generated modules have these in their types alone
    from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceAsyncStub
    from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceAsyncStub
    from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceAsyncStub

Payment = payment_api.Payment
Verdict = order_pb2.OrderPayment
Outcome = TypeVar("Outcome")
log = structlog.get_logger()

ANSWER_WITHIN_S = 10.0
ANSWER_MARGIN_S = 0.2  # for the way back to the caller
TELL_TIMEOUT_S = 1.0
PAYER_GRACE_MS = 5_000  # the payment server ends the payer's window itself; it gets the time to say so
PAYER_WAIT_MS_MAX = 600_000  # the payment server's clock may be wrong; no lock lasts longer than this


@dataclass(frozen=True, slots=True)
class Peers:
    """The two other servers."""

    order_server: Peer
    orders: "OrderServiceAsyncStub"
    payment_server: Peer
    payments: "PaymentServiceAsyncStub"
    refunds: "RefundServiceAsyncStub"

    @staticmethod
    def over(orders: aio.Channel, payments: aio.Channel) -> "Peers":
        """The servers at the other end of two channels."""
        return Peers(
            order_server=Peer(),
            orders=OrderServiceStub(orders),
            payment_server=Peer(),
            payments=PaymentServiceStub(payments),
            refunds=RefundServiceStub(payments),
        )


class Journal:
    """Drives each unanswered row, at start and all the time (rule 13)."""

    def __init__(self, database: Database, peers: Peers, clock: Clock, rng: random.Random) -> None:
        self._database = database
        self._peers = peers
        self._clock = clock
        self._rng = rng
        self._driver = Driver(self._get, self._step, rng)
        self._pay_codes: dict[str, Secret] = {}
        """Of payments that the payment server has not answered yet; nowhere else, and gone with the process."""

    async def run(self) -> None:
        """For ever: takes up what is unanswered."""
        await self._driver.resume(self._due)

    async def stop(self) -> None:
        """Stops asking; the rows stay as they are."""
        await self._driver.stop()

    async def settle(self, request_id: str, asked: Asked | None = None) -> Asked:
        """Waits until a row is answered, but no longer than the caller does; raises a refusal that came.

        Returns how the row and its checkout are then. Whoever has just read or written them gives them along.
        """
        settled = await self._driver.settle(request_id, _answer_within_s(), asked)
        if refusal := Refusal.from_status(status_pb2.Status.FromString(settled.entry.refusal)):
            raise refusal
        return settled

    def keep_pay_code(self, payment_id: str, code: Secret) -> None:
        """Adds what the payer showed to the payment's request, until that is answered."""
        self._pay_codes[payment_id] = code

    async def confirm_payment(self, request: payment_api.ConfirmPaymentRequest) -> None:
        """Passes on the payer's yes; raises what it is refused with."""
        set_deadline(_answer_within_s())
        await self._peers.payment_server.call(self._peers.payments.ConfirmPayment, request)

    def poke(self, request_id: str) -> None:
        """Asks at once instead of after a pause."""
        self._driver.drive(request_id)

    async def cancel_payment(self, checkout: Checkout, attempt: Attempt) -> None:
        """Ends a payment that was given up, even while the payment server is being waited for."""
        set_deadline(_answer_within_s())
        try:
            await self._release(checkout, attempt)
        except Unanswered as error:
            log.info("cancellation_unanswered", payment_id=attempt.payment_id, error=str(error))
            self.poke(attempt.payment_id)

    async def read_order(self, order_id: str) -> OrderCopy:
        """The order as it is now."""
        request = order_api.GetOrderRequest(order_id=order_id)
        return outward.order_copy(await self._peers.order_server.call(self._peers.orders.GetOrder, request))

    async def list_orders(self, request: order_api.ListOrdersRequest) -> order_api.ListOrdersResponse:
        """Orders as the order service has them."""
        return await self._peers.order_server.call(self._peers.orders.ListOrders, request)

    async def _due(self) -> Sequence[str]:
        replica, now_ms = self._database.replica, self._clock.now_ms()
        return await self._database.run(lambda connection: store.due_requests(connection, replica, now_ms))

    async def _get(self, request_id: str) -> Asked:
        return await self._database.run(lambda connection: operations.get_asked(connection, request_id))

    async def _step(self, asked: Asked) -> tuple[Asked, Progress]:
        asked, progress = await self._ask(asked) if asked.pending else (asked, Progress.DONE)
        if progress is Progress.DONE:
            self._pay_codes.pop(asked.entry.request_id, None)
        return asked, progress

    async def _ask(self, asked: Asked) -> tuple[Asked, Progress]:
        trace_id.set(asked.entry.trace_id)
        match asked.entry.kind:
            case Kind.PAY:
                return await self._step_payment(asked)
            case Kind.REFUND:
                return await self._step_refund(asked.entry), Progress.DONE
            case Kind.CREATE_ORDER | Kind.UPDATE_ORDER | Kind.CANCEL_ORDER:
                return await self._step_order(asked.entry), Progress.DONE

    async def _step_order(self, entry: JournalEntry) -> Asked:
        try:
            order = await self._ask_order_service(entry)
        except Refusal as refusal:
            fresh = await self.read_order(entry.checkout_id) if refusal.reason in STALE_COPY else None
            return await self._apply(outcomes.order_refused, request_id=entry.request_id, refusal=refusal, order=fresh)
        copy = outward.order_copy(order)
        return await self._apply(outcomes.order_done, request_id=entry.request_id, order=copy)

    async def _ask_order_service(self, entry: JournalEntry) -> order_pb2.Order:
        server, orders, stored = self._peers.order_server, self._peers.orders, entry.request
        if entry.kind is Kind.CREATE_ORDER:
            return await server.call(orders.CreateOrder, order_api.CreateOrderRequest.FromString(stored))
        if entry.kind is Kind.UPDATE_ORDER:
            return await server.call(orders.UpdateOrder, order_api.UpdateOrderRequest.FromString(stored))
        return await server.call(orders.CancelOrder, order_api.CancelOrderRequest.FromString(stored))

    async def _step_refund(self, entry: JournalEntry) -> Asked:
        request = refund_api.CreateRefundRequest.FromString(entry.request)
        try:
            refund = await self._peers.payment_server.call(self._peers.refunds.CreateRefund, request)
        except Refusal as refusal:
            return await self._apply(outcomes.refund_refused, refund_id=entry.request_id, refusal=refusal)
        amount = Money(refund.amount.currency_code, refund.amount.minor_units)
        return await self._apply(outcomes.refund_done, refund_id=entry.request_id, amount=amount)

    async def _step_payment(self, asked: Asked) -> tuple[Asked, Progress]:
        checkout = asked.of_checkout()
        attempt = checkout.attempt
        if attempt is None or checkout.unanswered != asked.entry.request_id:
            return asked, Progress.DONE  # a cancellation was answered meanwhile
        if attempt.canceling:
            return await self._release(checkout, attempt), Progress.DONE
        grace_ms = PAYER_GRACE_MS if attempt.reason == AWAITING_PAYER else 0
        if self._clock.now_ms() >= attempt.deadline_at_ms + grace_ms:
            return await self._give_up(asked, PAYMENT_TIMEOUT)
        return await self._ask_payment_server(asked)

    async def _ask_payment_server(self, asked: Asked) -> tuple[Asked, Progress]:
        """Sends the payment; sent again, the same request asks how it stands.

        The pay code is no part of what makes it the same: it is sent until the first answer, by this process alone.
        """
        entry, payment_id = asked.entry, asked.entry.request_id
        request = payment_api.CreatePaymentRequest.FromString(entry.request)
        if code := self._pay_codes.get(payment_id):
            request.pay_code = code.value.decode()
        try:
            payment = await self._peers.payment_server.call(self._peers.payments.CreatePayment, request)
        except Refusal as refusal:  # no proof that the attempt is dead: only the order's word is
            return await self._give_up(asked, refusal.reason)
        except Unanswered as error:
            log.info("payment_unanswered", payment_id=payment_id, error=str(error))
            return await self._look_whether_paid(asked)
        self._pay_codes.pop(payment_id, None)
        name = payment.payer_display_name
        match payment.state:
            case Payment.STATE_CAPTURED:
                return await self._paid(payment_id, name), Progress.DONE
            case Payment.STATE_VOIDED:
                return await self._end_payment(entry.checkout_id, payment_id, payment.reason), Progress.DONE
            case Payment.STATE_AWAITING_PAYER:
                deadline_ms = payment.confirm_deadline.ToMilliseconds()
                until_ms = min(deadline_ms, self._clock.now_ms() + PAYER_WAIT_MS_MAX)
                waiting = await self._apply(
                    outcomes.awaiting_payer, payment_id=payment_id, payer_display_name=name, until_ms=until_ms
                )
                return waiting, Progress.DONE  # for now: `run`, or who reads the checkout, asks again
        return await self._look_whether_paid(asked)

    async def _look_whether_paid(self, asked: Asked) -> tuple[Asked, Progress]:
        """PAID counts whether or not the payment server knows it (rule 11); nothing else here is proof."""
        payment_id = asked.entry.request_id
        order = await self.read_order(asked.entry.checkout_id)
        if not order.paid_by:
            return asked, Progress.WAITING
        if order.paid_by == payment_id:
            return await self._paid(payment_id, None), Progress.DONE
        reason = ORDER_ALREADY_PAID
        ended = await self._apply(outcomes.payment_ended, payment_id=payment_id, reason=reason, order=order)
        return ended, Progress.DONE

    async def _give_up(self, asked: Asked, reason: str) -> tuple[Asked, Progress]:
        payment_id = asked.entry.request_id
        log.info("payment_given_up", payment_id=payment_id, reason=reason)
        given_up = await self._apply(outcomes.payment_given_up, payment_id=payment_id, reason=reason)
        return given_up, Progress.STEPPED

    async def _release(self, checkout: Checkout, attempt: Attempt) -> Asked:
        """Asks the order to end the attempt: it decides whether that or the payment came first."""
        order_id, payment_id = checkout.checkout_id, attempt.payment_id
        request = order_api.CancelOrderPaymentRequest(payment_id=payment_id, order_id=order_id)
        try:
            verdict = await self._peers.order_server.call(self._peers.orders.CancelOrderPayment, request)
        except Refusal as refusal:
            if refusal.reason != CommonReason.REQUEST_ID_REUSED.name:
                raise
            # The id belongs to a payment of another order, so it can never pay this one.
            verdict = Verdict(state=Verdict.STATE_REFUSED, reason=refusal.reason)
        if verdict.state == Verdict.STATE_PAID:
            return await self._paid(payment_id, None)
        if verdict.state not in (Verdict.STATE_RELEASED, Verdict.STATE_REFUSED):
            raise Unanswered(f"the order service answered {Verdict.State.Name(verdict.state)} to a cancellation")
        given_up_for = attempt.reason if verdict.reason == PAYMENT_CANCELED else ""
        ended = await self._end_payment(order_id, payment_id, given_up_for or verdict.reason)
        await self._tell_payment_server(payment_id)
        return ended

    async def _paid(self, payment_id: str, payer_display_name: str | None) -> Asked:
        return await self._apply(outcomes.payment_paid, payment_id=payment_id, payer_display_name=payer_display_name)

    async def _end_payment(self, order_id: str, payment_id: str, reason: str) -> Asked:
        order = await self.read_order(order_id)
        return await self._apply(outcomes.payment_ended, payment_id=payment_id, reason=reason, order=order)

    async def _tell_payment_server(self, payment_id: str) -> None:
        """So that it need not find out, and stops asking the payer; nothing depends on it."""
        request = payment_api.CancelPaymentRequest(request_id=new_request_id(self._rng), payment_id=payment_id)
        server, payments = self._peers.payment_server, self._peers.payments
        try:
            await server.call(payments.CancelPayment, request, timeout_s=TELL_TIMEOUT_S)
        except (Refusal, Unanswered) as error:
            log.info("payment_server_not_told", payment_id=payment_id, error=str(error))

    async def _apply(self, outcome: Callable[..., Outcome], **what: Any) -> Outcome:
        now_ms = self._clock.now_ms()
        return await self._database.run(lambda connection: outcome(connection, now_ms=now_ms, **what))


def _answer_within_s() -> float:
    """What other servers get of the caller's time."""
    return max(0.0, remaining_s(ANSWER_WITHIN_S) - ANSWER_MARGIN_S)
