"""Asks the other servers what the till has written down, until they have answered.

Each row is driven on from what the database says, so a crash at any point only means that the
same bytes are sent again: before the answer is stored the row is PENDING, and each server acts
once for a request however often it comes.
"""

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Concatenate, TypeVar

import structlog
from google.rpc import status_pb2

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Call, Checkout, Till
from store_terminal.checkouts.moves import get_checkout
from store_terminal.checkouts.named_orders import NamedOrder, check_code
from store_terminal.checkouts.queries import CHECKOUTS
from store_terminal.errors import NEVER_MADE, NUMBER_TAKEN, READ_AGAIN, Reason
from store_terminal.outbox import queries, replies, requests
from store_terminal.outbox.exchanges import Exchanges
from store_terminal.outbox.model import Exchange, OrderCopy, OutboxEntry, RequestKind
from store_terminal.outbox.payments import Payments
from store_terminal.outbox.peers import Peers
from store_terminal.outbox.voids import Voids
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import refund_pb2
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.auth.callers import act_as
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.deadlines import set_deadline, time_to_answer_s
from tillmesh.runtime.driver import DUE_A_PAGE, After, Driver, Due, Progress
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey, answer_once, find_resource, is_used, use_up
from tillmesh.storage.statements import Transaction

Outcome = TypeVar("Outcome")
log = structlog.get_logger()


class Outbox:
    """Drives each unanswered row, at start and all the time (rule 13)."""

    def __init__(
        self, database: Database, peers: Peers, clock: Clock, rng: random.Random, till: Till, server: str
    ) -> None:
        self._database = database
        self.peers = peers
        self._clock = clock
        self._till = till
        self.exchanges = Exchanges(database, peers, clock, server)
        self._driver = Driver(self.exchanges.get, self._step, rng, partial(act_as, server))
        self._voids = Voids(self.exchanges, peers, rng, self._step)
        self._payments = Payments(self.exchanges, self._driver, database, peers, clock, rng, till)

    async def run(self) -> None:
        """For ever: takes up what is unanswered."""
        await self._driver.resume(self._due)

    async def stop(self) -> None:
        """Stops asking; the rows stay as they are."""
        await self.exchanges.stop()
        await self._driver.stop()

    @asynccontextmanager
    async def writing(self, key: IdempotencyKey, entry_id: str = "") -> AsyncIterator[Call]:
        """The call of a request that may write an entry; a pay code whose entry is not there is forgotten.

        The entry's id is that of the request, unless another one is given.
        """
        try:
            yield Call(key.request_id, self._database.replica, key.at_ms)
        except Refusal:
            await self._forget_unwritten(entry_id or key.request_id)
            raise

    async def resume(self, key: IdempotencyKey, named: NamedOrder) -> Checkout:
        """Takes up an order that was raised elsewhere; a repeated request gets the checkout as it is now."""
        answered = await self._database.run(find_resource, key)
        if answered is not None:
            return await self._database.run(get_checkout, answered)
        order = await self._order_or_refusal(named.order_id)

        def resume(transaction: Transaction) -> Checkout:
            if isinstance(order, Refusal):
                raise order
            if known := CHECKOUTS.find(transaction, named.order_id):
                check_code(transaction, known, named, self._till.terminal_id)
            return replies.resume_checkout(transaction, order=order, store_id=self._till.store_id, now_ms=key.at_ms)

        checkout = await answer_once(self._database, key, named.order_id, get_checkout, resume)
        if isinstance(order, OrderCopy):
            self.exchanges.orders.note(checkout)
        return checkout

    async def taking_up(
        self,
        key: IdempotencyKey,
        named: NamedOrder,
        effect: Callable[Concatenate[Transaction, Call, ...], Outcome],
        *,
        refreshes: bool = False,
        forbids: bool = False,
    ) -> Callable[[Transaction, Call], Outcome]:
        """An effect on the checkout of an order, which is taken up first where this till does not have it.

        With `refreshes`, what is not final at this till is read anew as well: it may have been paid elsewhere. With
        `forbids`, the number of an order that is not there is used up: a sale that comes late is refused then.
        """

        def is_elsewhere(transaction: Transaction) -> bool:
            if find_resource(transaction, key) is not None:
                return False
            checkout = CHECKOUTS.find(transaction, named.order_id)
            return checkout is None or (refreshes and checkout.state in (CheckoutState.SUBMITTED, CheckoutState.PAYING))

        order = None
        if await self._database.run(is_elsewhere):
            order = await self._order_or_refusal(named.order_id)
        if isinstance(order, OrderCopy):
            order = await self._taken_up(order, key.at_ms)
        if order is not None and forbids:
            await self._database.run(_forbid, replace(key, request_id=named.order_id))

        def then(transaction: Transaction, call: Call) -> Outcome:
            if order is not None and CHECKOUTS.find(transaction, named.order_id) is None:
                raise order  # unless it was sold here meanwhile
            check_code(transaction, get_checkout(transaction, named.order_id), named, self._till.terminal_id)
            return effect(transaction, call, checkout_id=named.order_id)

        return then

    async def settle(self, request_id: str, exchange: Exchange | None = None) -> Exchange:
        """Waits until a row is answered, but no longer than the caller does; raises a refusal that came.

        Returns how the row and its checkout are then. Whoever has just read or written them gives them along.
        """
        settled = await self._driver.settle(request_id, time_to_answer_s(), exchange)
        if refusal := Refusal.from_status(status_pb2.Status.FromString(settled.entry.refusal)):
            raise refusal
        return settled

    def poke(self, request_id: str) -> None:
        """Asks at once instead of after a pause."""
        self._driver.poke(request_id)

    async def confirm_payment(self, request: payment_api.ConfirmPaymentRequest) -> None:
        """Passes on the payer's yes; raises what it is refused with."""
        set_deadline(time_to_answer_s())
        await self.peers.payment_server.call(self.peers.payments.ConfirmPayment, request)

    async def cancel_payment(self, checkout: Checkout) -> None:
        """Ends a payment that was given up, even while the payment server is being waited for."""
        set_deadline(time_to_answer_s())
        await self._payments.cancel(checkout)

    async def _forget_unwritten(self, request_id: str) -> None:
        if self.exchanges.pay_codes.find(request_id) is None:
            return
        exchange = None
        try:
            exchange = await self._database.run(queries.find_exchange, request_id)
        finally:
            if exchange is None:
                self.exchanges.pay_codes.drop(request_id)

    async def _taken_up(self, order: OrderCopy, now_ms: int) -> Refusal | None:
        """Takes an order up, in a transaction of its own; the refusal, if this store has no such order."""
        store_id = self._till.store_id
        try:
            taken = await self._database.run(replies.resume_checkout, order=order, store_id=store_id, now_ms=now_ms)
        except Refusal as refusal:
            return refusal
        self.exchanges.drop_ended(taken)
        return None

    async def _order_or_refusal(self, order_id: str) -> OrderCopy | Refusal:
        try:
            return await self.peers.read_order(order_id)
        except Refusal as refusal:
            return refusal

    async def _due(self, after: After) -> Sequence[Due]:
        replica, now_ms = self._database.replica, self._clock.now_ms()
        return await self._database.run(queries.due_requests, replica, now_ms, after, DUE_A_PAGE)

    async def _step(self, exchange: Exchange) -> tuple[Exchange, Progress]:
        if not exchange.entry.ended:
            return await self._ask(exchange)
        self.exchanges.pay_codes.drop(exchange.entry.request_id)
        return exchange, Progress.DONE

    async def _ask(self, exchange: Exchange) -> tuple[Exchange, Progress]:
        trace_id.set(exchange.entry.trace_id)
        if exchange.waiting:
            return await self._ask_first(exchange)
        match exchange.entry.kind:
            case RequestKind.PAY:
                return await self._payments.step(exchange)
            case RequestKind.REFUND | RequestKind.UNREFERENCED_REFUND:
                return await self._step_refund(exchange)
            case (
                RequestKind.CREATE_ORDER
                | RequestKind.REPLACE_ORDER_LINES
                | RequestKind.CANCEL_ORDER
                | RequestKind.COMPLETE_FREE_ORDER
            ):
                answered = await self._step_order(exchange.entry)
                if answered.beside:
                    self.poke(answered.beside.request_id)
                return answered, Progress.DONE
            case RequestKind.VOID:
                return await self._voids.step(exchange)

    async def _ask_first(self, exchange: Exchange) -> tuple[Exchange, Progress]:
        """Creates the order that a request waits for. The next step sends that request, or finds that it has ended."""
        before = exchange.beside
        if before is None:
            before = (await self.exchanges.get(exchange.of_checkout().unanswered)).entry
        answered = await self._step_order(before)
        if answered.beside:
            return Exchange(answered.beside, answered.checkout), Progress.STEPPED
        return await self.exchanges.get(exchange.entry.request_id), Progress.STEPPED

    async def _step_order(self, entry: OutboxEntry) -> Exchange:
        request_id, wait_ms = entry.request_id, self._till.payment_wait_ms
        try:
            order = requests.order_copy(await self._ask_order_service(entry))
        except Refusal as refusal:
            if refusal.reason in NUMBER_TAKEN and (sold := await self._sold_elsewhere(entry)):
                return await self.exchanges.apply_with(
                    sold, replies.order_was_there, request_id=request_id, refusal=refusal
                )
            if refusal.reason not in READ_AGAIN:
                return await self.exchanges.apply(
                    replies.order_refused, request_id=request_id, refusal=refusal, order=None
                )
            fresh = await self.peers.read_order(entry.checkout_id)
            if _is_what_was_wanted(entry.kind, fresh):  # somebody else was first
                return await self.exchanges.apply_with(
                    fresh, replies.order_done, request_id=request_id, wait_ms=wait_ms
                )
            return await self.exchanges.apply_with(fresh, replies.order_refused, request_id=request_id, refusal=refusal)
        return await self.exchanges.apply(replies.order_done, request_id=request_id, order=order, wait_ms=wait_ms)

    async def _sold_elsewhere(self, entry: OutboxEntry) -> OrderCopy | None:
        """The same sale as another terminal of the store made it; None where the number is of something else."""
        order = await self._order_or_refusal(entry.checkout_id)
        if isinstance(order, Refusal) or order.store_id != self._till.store_id:
            return None
        return order if requests.is_same_order(entry, order) else None

    async def _ask_order_service(self, entry: OutboxEntry) -> order_pb2.Order:
        server, orders, stored = self.peers.order_server, self.peers.orders, entry.request
        match entry.kind:
            case RequestKind.CREATE_ORDER:
                return await server.call(orders.CreateOrder, order_api.CreateOrderRequest.FromString(stored))
            case RequestKind.REPLACE_ORDER_LINES:
                lines = order_api.ReplaceOrderLinesRequest.FromString(stored)
                return await server.call(orders.ReplaceOrderLines, lines)
            case RequestKind.COMPLETE_FREE_ORDER:
                complete = order_api.CompleteFreeOrderRequest.FromString(stored)
                return await server.call(orders.CompleteFreeOrder, complete)
        return await server.call(orders.CancelOrder, order_api.CancelOrderRequest.FromString(stored))

    async def _step_refund(self, exchange: Exchange) -> tuple[Exchange, Progress]:
        entry, refund_id = exchange.entry, exchange.entry.request_id
        lost = self.exchanges.lacks_pay_code(entry)
        if lost and queries.is_anothers(entry, self._database.replica, self._clock.now_ms()):
            return exchange, Progress.WAITING  # the process that was shown the code sends it
        try:
            refund = await self._ask_for_refund(entry)
        except Refusal as refusal:
            lost = lost and refusal.reason in NEVER_MADE
            why = Reason.PAY_CODE_LOST(request_id=refund_id) if lost else refusal
            return await self.exchanges.apply(replies.refund_refused, refund_id=refund_id, refusal=why), Progress.DONE
        refunded = requests.refunded(refund)
        return await self.exchanges.apply(replies.refund_done, refund_id=refund_id, refunded=refunded), Progress.DONE

    async def _ask_for_refund(self, entry: OutboxEntry) -> refund_pb2.Refund:
        """Sends the refund.

        Sent without its pay code, which is gone, it gets the refund that was made, or uses up the refund's id: a copy
        with the code that comes late pays nothing.
        """
        server, service = self.peers.payment_server, self.peers.refunds
        if entry.kind is RequestKind.REFUND:
            return await server.call(service.RefundPayment, refund_api.RefundPaymentRequest.FromString(entry.request))
        request = refund_api.CreateUnreferencedRefundRequest.FromString(entry.request)
        if code := self.exchanges.pay_codes.find(entry.request_id):
            request.pay_code = code.value.decode()
        return await server.call(service.CreateUnreferencedRefund, request)


def _forbid(transaction: Transaction, key: IdempotencyKey) -> None:
    """Uses up the number of a checkout that is not there, unless something came of it before."""
    if CHECKOUTS.find(transaction, key.request_id) is None and not is_used(transaction, key.request_id):
        use_up(transaction, key, "")


def _is_what_was_wanted(kind: RequestKind, order: OrderCopy) -> bool:
    """True where the order service refuses what somebody else has done already."""
    if kind is RequestKind.COMPLETE_FREE_ORDER:
        return order.paid
    return kind is RequestKind.CANCEL_ORDER and order.canceled
