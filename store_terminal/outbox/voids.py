"""A sale that is undone: step by step to a canceled order, or to a refund of all that is left (VoidCheckout)."""

import random
from collections.abc import Awaitable, Callable

from store_terminal.checkouts.lifecycle import CheckoutEvent, CheckoutState
from store_terminal.checkouts.model import Checkout
from store_terminal.checkouts.moves import advance
from store_terminal.errors import READ_AGAIN
from store_terminal.outbox import requests
from store_terminal.outbox.exchanges import Exchanges
from store_terminal.outbox.model import EntryState, Exchange, OrderCopy, OutboxEntry
from store_terminal.outbox.peers import Peers
from store_terminal.outbox.queries import become_refund, end_entry, end_refused, get_exchange
from store_terminal.outbox.replies import refresh
from store_terminal.refunds.model import TillRefund
from store_terminal.refunds.queries import REFUNDS
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.auth.callers import actor
from tillmesh.origin import Origin
from tillmesh.runtime.driver import Progress
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.statements import Transaction

Step = Callable[[Exchange], Awaitable[tuple[Exchange, Progress]]]


def go_on(transaction: Transaction, exchange: Exchange, now_ms: int) -> Exchange:
    """Does of a void what needs no other server: ends it, or makes it the refund of a paid checkout."""
    entry, checkout = exchange.entry, exchange.of_checkout()
    match checkout.state:
        case CheckoutState.BASKET if not checkout.unanswered:
            canceled = advance(transaction, checkout, checkout, CheckoutEvent.CANCELED, now_ms)
            return Exchange(end_entry(transaction, entry, EntryState.DONE), canceled)
        case CheckoutState.PAID if checkout.paid_by:
            return _refund(transaction, entry, checkout, now_ms)
        case CheckoutState.CANCELED | CheckoutState.PAID:
            return Exchange(end_entry(transaction, entry, EntryState.DONE), checkout)
    return exchange


def void_continued(transaction: Transaction, *, refund_id: str, now_ms: int) -> Exchange:
    """What it waited for is answered."""
    exchange = get_exchange(transaction, refund_id)
    return go_on(transaction, exchange, now_ms) if requests.is_void(exchange) else exchange


def void_answered(transaction: Transaction, *, refund_id: str, order: OrderCopy, now_ms: int) -> Exchange:
    """The order is so, after its cancellation was asked for."""
    exchange = get_exchange(transaction, refund_id)
    if not requests.is_void(exchange):
        return exchange
    checkout = refresh(transaction, exchange.of_checkout(), order, now_ms)
    return go_on(transaction, Exchange(exchange.entry, checkout), now_ms)


def void_refused(transaction: Transaction, *, refund_id: str, refusal: Refusal, now_ms: int) -> Exchange:
    """The order service wants to cancel nothing: the checkout stays as it is, and may be changed and paid again."""
    exchange = get_exchange(transaction, refund_id)
    if not requests.is_void(exchange):
        return exchange
    checkout = exchange.of_checkout()
    if checkout.state is not CheckoutState.SUBMITTED:
        return go_on(transaction, exchange, now_ms)
    entry = end_refused(transaction, exchange.entry, refusal)
    after = checkout.without_void(refund_id)
    event = CheckoutEvent.REFUSED
    return Exchange(entry, advance(transaction, checkout, after, event, now_ms, reason=refusal.reason))


def _refund(transaction: Transaction, entry: OutboxEntry, checkout: Checkout, now_ms: int) -> Exchange:
    """The entry becomes the refund of all that is left, under the same id."""
    message = refund_api.RefundPaymentRequest.FromString(entry.request)
    message.payment_id = checkout.paid_by
    entry = become_refund(transaction, entry, message.SerializeToString())
    refund = TillRefund(
        refund_id=entry.request_id,
        checkout_id=checkout.checkout_id,
        payer=checkout.payer,
        currency=checkout.amount.currency,
        note=message.note,
        origin=Origin(message.terminal_id, message.lane, message.cashier_id),
        actor=actor(),
        created_at_ms=now_ms,
    )
    REFUNDS.insert(transaction, refund)
    event, nothing = CheckoutEvent.REFUND_STARTED, Money(checkout.amount.currency, 0)
    started = advance(transaction, checkout, checkout, event, now_ms, amount=nothing, reference=entry.request_id)
    return Exchange(entry, started)


class Voids:
    """Steps of voids that are under way; `step` takes any request one step on."""

    def __init__(self, exchanges: Exchanges, peers: Peers, rng: random.Random, step: Step) -> None:
        self._exchanges = exchanges
        self._peers = peers
        self._rng = rng
        self._step_other = step

    async def step(self, exchange: Exchange) -> tuple[Exchange, Progress]:
        """Takes a void one step on."""
        checkout, refund_id = exchange.of_checkout(), exchange.entry.request_id
        if checkout.unanswered:  # a payment that was given up, or what was asked before
            await self._step_other(await self._exchanges.get(checkout.unanswered))
            trace_id.set(exchange.entry.trace_id)
            now = await self._exchanges.apply(void_continued, refund_id=refund_id)
            is_stuck = now.of_checkout().unanswered == checkout.unanswered
            return now, Progress.WAITING if is_stuck else Progress.STEPPED
        if checkout.state is CheckoutState.SUBMITTED:
            return await self._cancel_order(refund_id, checkout)
        return await self._exchanges.apply(void_continued, refund_id=refund_id), Progress.STEPPED

    async def _cancel_order(self, refund_id: str, checkout: Checkout) -> tuple[Exchange, Progress]:
        """Asks for the cancellation of the order as this till knows it, under a new id each time.

        It is what the void was written down for, and nobody takes it back: a copy that comes late does no harm.
        """
        request = order_api.CancelOrderRequest(
            request_id=new_request_id(self._rng), order_id=checkout.checkout_id, version=checkout.order_version
        )
        server, orders = self._peers.order_server, self._peers.orders
        try:
            order = requests.order_copy(await server.call(orders.CancelOrder, request))
        except Refusal as refusal:
            if refusal.reason not in READ_AGAIN:
                ended = await self._exchanges.apply(void_refused, refund_id=refund_id, refusal=refusal)
                return ended, Progress.STEPPED
            order = await self._peers.read_order(checkout.checkout_id)
        now = await self._exchanges.apply_with(order, void_answered, refund_id=refund_id)
        is_stuck = now.of_checkout().state is CheckoutState.SUBMITTED  # somebody else's payment has the lock, or had it
        return now, Progress.WAITING if is_stuck else Progress.STEPPED
