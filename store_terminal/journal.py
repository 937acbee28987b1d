"""Asks the other servers what the till has written down, until they have answered.

Each row is driven on from what the database says, so a crash at any point only means that the
same bytes are sent again: before the answer is stored the row is PENDING, and each server acts
once for a request however often it comes.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog
from google.rpc import status_pb2

from store_terminal import journal_store, operations, outcomes, outward, refunds
from store_terminal.errors import NEVER_MADE, READ_AGAIN, Reason
from store_terminal.lifecycle import CheckoutState
from store_terminal.model import Asked, Checkout, JournalEntry, Kind, OrderCopy, Till
from store_terminal.order_reader import READ_WITHIN_S, OrderReader
from store_terminal.pay_codes import PayCodes
from store_terminal.payments import Payments
from store_terminal.peers import Peers
from store_terminal.tables import REQUESTS
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import refund_pb2
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.auth.callers import act_as
from tillmesh.rpc.peers import CALL_TIMEOUT_S
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.deadlines import set_deadline, time_to_answer_s
from tillmesh.runtime.driver import Driver, Progress
from tillmesh.runtime.errors import Refusal, Unanswered
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction

Outcome = TypeVar("Outcome")
log = structlog.get_logger()

NAME_TIMEOUT_S = 0.5
"""Nothing depends on a name, so goods wait no longer for it."""


class Journal:
    """Drives each unanswered row, at start and all the time (rule 13)."""

    def __init__(
        self, database: Database, peers: Peers, clock: Clock, rng: random.Random, till: Till, server: str
    ) -> None:
        self._database = database
        self._peers = peers
        self._clock = clock
        self._till = till
        self._driver = Driver(self.get, self._step, rng, partial(act_as, server))
        self.pay_codes = PayCodes()
        self.orders = OrderReader(self._read_in_time, self._take_order, clock, server)
        self._payments = Payments(self, database, peers, clock, rng, till)

    async def run(self) -> None:
        """For ever: takes up what is unanswered."""
        await self._driver.resume(self._due)

    async def stop(self) -> None:
        """Stops asking; the rows stay as they are."""
        self._payments.stop()
        await self.orders.stop()
        await self._driver.stop()

    async def write(self, key: IdempotencyKey, operation: Callable[[Transaction], Outcome]) -> Outcome:
        """Runs once what writes a row down; a pay code whose row is not there is forgotten."""
        try:
            return await REQUESTS.run(self._database, key, operation)
        except Refusal:
            await self._forget_unwritten(key.request_id)
            raise

    async def resume(self, key: IdempotencyKey, order_id: str) -> Checkout:
        """Takes up an order that was raised elsewhere; a repeated request gets the checkout as it is now."""
        if known := await self._database.run(lambda transaction: operations.find_resumed(transaction, key)):
            return known
        order = await self._order_or_refusal(order_id)

        def resume(transaction: Transaction) -> Checkout:
            if known := operations.find_resumed(transaction, key):
                return known
            if isinstance(order, Refusal):
                raise order
            REQUESTS.claim(transaction, key, order_id)
            return outcomes.resume_checkout(transaction, order=order, store_id=self._till.store_id, now_ms=key.at_ms)

        checkout = await REQUESTS.run(self._database, key, resume)
        if isinstance(order, OrderCopy):
            self.orders.note(checkout, order)
        return checkout

    async def settle(self, request_id: str, asked: Asked | None = None) -> Asked:
        """Waits until a row is answered, but no longer than the caller does; raises a refusal that came.

        Returns how the row and its checkout are then. Whoever has just read or written them gives them along.
        """
        settled = await self._driver.settle(request_id, time_to_answer_s(), asked)
        if refusal := Refusal.from_status(status_pb2.Status.FromString(settled.entry.refusal)):
            raise refusal
        return settled

    async def get(self, request_id: str) -> Asked:
        """A row and its checkout as they are now."""
        return await self._database.run(lambda transaction: operations.get_asked(transaction, request_id))

    def poke(self, request_id: str) -> None:
        """Asks at once instead of after a pause."""
        self._driver.drive(request_id)

    async def confirm_payment(self, request: payment_api.ConfirmPaymentRequest) -> None:
        """Passes on the payer's yes; raises what it is refused with."""
        set_deadline(time_to_answer_s())
        await self._peers.payment_server.call(self._peers.payments.ConfirmPayment, request)

    async def cancel_payment(self, checkout: Checkout) -> None:
        """Ends a payment that was given up, even while the payment server is being waited for."""
        set_deadline(time_to_answer_s())
        await self._payments.cancel(checkout)

    async def read_order(self, order_id: str, timeout_s: float = CALL_TIMEOUT_S) -> OrderCopy:
        """The order as it is now; if it is paid, with the name that the payment server has of its payer."""
        request = order_api.GetOrderRequest(order_id=order_id)
        order = await self._peers.order_server.call(self._peers.orders.GetOrder, request, timeout_s=timeout_s)
        copy = outward.order_copy(order)
        return replace(copy, payer_display_name=await self.payer_of(copy.paid_by)) if copy.paid_by else copy

    async def payer_of(self, payment_id: str) -> str | None:
        """The display name of a payment's payer; None where the payment server does not answer."""
        request = payment_api.GetPaymentRequest(payment_id=payment_id)
        server, payments = self._peers.payment_server, self._peers.payments
        try:
            return (await server.call(payments.GetPayment, request, timeout_s=NAME_TIMEOUT_S)).payer_display_name
        except (Refusal, Unanswered) as error:
            log.info("payer_not_named", payment_id=payment_id, error=str(error))
            return None

    async def list_orders(self, request: order_api.ListOrdersRequest) -> order_api.ListOrdersResponse:
        """Orders as the order service has them."""
        return await self._peers.order_server.call(self._peers.orders.ListOrders, request)

    async def apply(self, outcome: Callable[..., Outcome], **what: Any) -> Outcome:
        """Takes an answer in, as one transaction."""
        now_ms = self._clock.now_ms()
        taken = await self._database.run(lambda transaction: outcome(transaction, now_ms=now_ms, **what))
        if isinstance(taken, Asked) and not taken.pending:
            self._forget(taken.entry.request_id)
        return taken

    async def apply_with(self, order: OrderCopy, outcome: Callable[..., Asked], **what: Any) -> Asked:
        """Takes an answer in with how the order is since, and remembers the latter."""
        taken = await self.apply(outcome, order=order, **what)
        if taken.checkout:
            self.orders.note(taken.checkout, order)
        return taken

    def _forget(self, request_id: str) -> None:
        """A row that has ended needs no pay code, and nobody to wake."""
        self.pay_codes.drop(request_id)
        self._payments.sleep(request_id)

    async def _forget_unwritten(self, request_id: str) -> None:
        if self.pay_codes.find(request_id) is None:
            return
        asked = None
        try:
            asked = await self._database.run(lambda transaction: operations.find_asked(transaction, request_id))
        finally:
            if asked is None:
                self.pay_codes.drop(request_id)

    async def _order_or_refusal(self, order_id: str) -> OrderCopy | Refusal:
        try:
            return await self.read_order(order_id)
        except Refusal as refusal:
            return refusal

    async def _read_in_time(self, order_id: str) -> OrderCopy:
        return await self.read_order(order_id, READ_WITHIN_S)

    async def _take_order(self, order_id: str, order: OrderCopy) -> Checkout:
        checkout = await self.apply(outcomes.order_read, checkout_id=order_id, order=order)
        if checkout.attempt and checkout.state is not CheckoutState.PAYING:
            self._forget(checkout.attempt.payment_id)
        return checkout

    async def _due(self) -> Sequence[str]:
        replica, now_ms = self._database.replica, self._clock.now_ms()
        return await self._database.run(lambda transaction: journal_store.due_requests(transaction, replica, now_ms))

    async def _step(self, asked: Asked) -> tuple[Asked, Progress]:
        if asked.pending:
            return await self._ask(asked)
        self._forget(asked.entry.request_id)
        return asked, Progress.DONE

    async def _ask(self, asked: Asked) -> tuple[Asked, Progress]:
        trace_id.set(asked.entry.trace_id)
        match asked.entry.kind:
            case Kind.PAY:
                return await self._payments.step(asked)
            case Kind.REFUND | Kind.UNREFERENCED_REFUND:
                return await self._step_refund(asked)
            case Kind.CREATE_ORDER | Kind.REPLACE_ORDER_LINES | Kind.CANCEL_ORDER | Kind.COMPLETE_FREE_ORDER:
                return await self._step_order(asked.entry), Progress.DONE

    async def _step_order(self, entry: JournalEntry) -> Asked:
        request_id = entry.request_id
        try:
            order = outward.order_copy(await self._ask_order_service(entry))
        except Refusal as refusal:
            if refusal.reason not in READ_AGAIN:
                return await self.apply(outcomes.order_refused, request_id=request_id, refusal=refusal, order=None)
            fresh = await self.read_order(entry.checkout_id)
            if _is_what_was_wanted(entry.kind, fresh):  # somebody else was first
                return await self.apply_with(fresh, outcomes.order_done, request_id=request_id)
            return await self.apply_with(fresh, outcomes.order_refused, request_id=request_id, refusal=refusal)
        return await self.apply(outcomes.order_done, request_id=request_id, order=order)

    async def _ask_order_service(self, entry: JournalEntry) -> order_pb2.Order:
        server, orders, stored = self._peers.order_server, self._peers.orders, entry.request
        match entry.kind:
            case Kind.CREATE_ORDER:
                return await server.call(orders.CreateOrder, order_api.CreateOrderRequest.FromString(stored))
            case Kind.REPLACE_ORDER_LINES:
                lines = order_api.ReplaceOrderLinesRequest.FromString(stored)
                return await server.call(orders.ReplaceOrderLines, lines)
            case Kind.COMPLETE_FREE_ORDER:
                complete = order_api.CompleteFreeOrderRequest.FromString(stored)
                return await server.call(orders.CompleteFreeOrder, complete)
        return await server.call(orders.CancelOrder, order_api.CancelOrderRequest.FromString(stored))

    async def _step_refund(self, asked: Asked) -> tuple[Asked, Progress]:
        entry, refund_id = asked.entry, asked.entry.request_id
        lost = self._lacks_pay_code(entry)
        if lost and journal_store.is_anothers(entry, self._database.replica, self._clock.now_ms()):
            return asked, Progress.WAITING  # the process that was shown the code sends it
        try:
            refund = await self._ask_for_refund(entry)
        except Refusal as refusal:
            lost = lost and refusal.reason in NEVER_MADE
            why = Reason.PAY_CODE_LOST(request_id=refund_id) if lost else refusal
            return await self.apply(refunds.refund_refused, refund_id=refund_id, refusal=why), Progress.DONE
        refunded = outward.refunded(refund)
        return await self.apply(refunds.refund_done, refund_id=refund_id, refunded=refunded), Progress.DONE

    async def _ask_for_refund(self, entry: JournalEntry) -> refund_pb2.Refund:
        """Sends the refund.

        Sent without its pay code, which is gone, it gets the refund that was made, or uses up the refund's id: a copy
        with the code that comes late pays nothing.
        """
        server, service = self._peers.payment_server, self._peers.refunds
        if entry.kind is Kind.REFUND:
            return await server.call(service.RefundPayment, refund_api.RefundPaymentRequest.FromString(entry.request))
        request = refund_api.CreateUnreferencedRefundRequest.FromString(entry.request)
        if code := self.pay_codes.find(entry.request_id):
            request.pay_code = code.value.decode()
        return await server.call(service.CreateUnreferencedRefund, request)

    def _lacks_pay_code(self, entry: JournalEntry) -> bool:
        return entry.pay_code_shown and self.pay_codes.find(entry.request_id) is None


def _is_what_was_wanted(kind: Kind, order: OrderCopy) -> bool:
    """True where the order service refuses what somebody else has done already."""
    if kind is Kind.COMPLETE_FREE_ORDER:
        return order.paid
    return kind is Kind.CANCEL_ORDER and order.canceled
