"""Watches the orders of the store, and takes what happens to them elsewhere into the checkouts that this till has.

Nobody waits for it: whoever asks for a checkout reads its order anyway. Several replicas may each watch: what one of
them has taken in is no news to the other.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import aclosing

import structlog
from grpc import StatusCode

from store_terminal.checkouts.lifecycle import CHECKOUT, CheckoutState
from store_terminal.checkouts.model import Checkout
from store_terminal.checkouts.moves import get_checkout
from store_terminal.checkouts.queries import find_checkouts, pending_checkouts
from store_terminal.outbox.peers import Peers
from store_terminal.outbox.queries import find_cursor, keep_cursor
from store_terminal.outbox.worker import Outbox
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.auth.callers import act_as
from tillmesh.rpc.peers import CALL_TIMEOUT_S
from tillmesh.rpc.watching import watch
from tillmesh.runtime.errors import CommonReason, Refusal, Unanswered
from tillmesh.runtime.rounds import go_round
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.database import Database

Event = order_pb2.OrderEvent
TYPES = (
    Event.TYPE_LINES_REPLACED,
    Event.TYPE_LOCKED,
    Event.TYPE_PAID,
    Event.TYPE_COMPLETED_FREE,
    Event.TYPE_LEASE_EXPIRED,
    Event.TYPE_PAYMENT_CANCELED,
    Event.TYPE_CANCELED,
    Event.TYPE_EXPIRED,
)
PENDING_A_PAGE = 64
FOLLOWED_AT_A_TIME = 8
REST_FIRST_S = 0.1
REST_S_MAX = 10.0
BUSY_LOOK_S = 0.25
BUSY_LOOKS = int(CALL_TIMEOUT_S / BUSY_LOOK_S) + 1
log = structlog.get_logger()


class OrderWatch:
    """Watches the orders of one store; `server` is the URI in whose name it acts.

    The `peers` are its own, with a budget of their own: no payment goes without a retry because of it.
    """

    def __init__(
        self, database: Database, peers: Peers, outbox: Outbox, rng: random.Random, server: str, store_id: str
    ) -> None:
        self._database = database
        self._peers = peers
        self._outbox = outbox
        self._rng = rng
        self._server = server
        self._store_id = store_id
        self._cursor: str | None = None
        """Where to go on; empty without a place, None until it is read."""
        self._tries = 0

    async def run(self) -> None:
        """Watches until it is cancelled."""
        act_as(self._server)
        await go_round("order watch", self._round)

    async def _round(self) -> float:
        """Reads until something goes wrong; returns the seconds of rest, which grow until something is heard again."""
        self._tries += 1
        try:
            await self._watch()
        except (Refusal, Unanswered) as error:
            _log_unwatched(error)
            if isinstance(error, Refusal) and error.reason == CommonReason.CURSOR_EXPIRED.name:
                await self._keep("")
        return self._rng.uniform(0, min(REST_S_MAX, REST_FIRST_S * (1 << min(self._tries, 10))))

    async def _watch(self) -> None:
        """Takes in what is sent; a cursor is kept once all before it is taken in."""
        if self._cursor is None:
            self._cursor = await self._database.run(find_cursor)
        request = order_api.WatchOrdersRequest(
            cursor=self._cursor, store_id=self._store_id, types=TYPES, events_only=True
        )
        server, orders = self._peers.order_server, self._peers.orders
        async with aclosing(watch(server, orders.WatchOrders, request, self._rng, _log_unwatched)) as answers:
            async for answer in answers:
                if not self._cursor:  # this answer is of now: what was before, nobody sends
                    await self._follow_pending()
                await self._take_in([update.event for update in answer.updates])
                await self._keep(answer.cursor)
                self._tries = 0

    async def _keep(self, cursor: str) -> None:
        if cursor != self._cursor:
            await self._database.run(keep_cursor, cursor)
            self._cursor = cursor

    async def _follow_pending(self) -> None:
        """Reads every order anew that is neither paid nor canceled as this till knows it."""
        after = ""
        while pending := await self._database.run(pending_checkouts, after, PENDING_A_PAGE):
            await self._follow_all(pending, {})
            after = pending[-1].checkout_id

    async def _take_in(self, events: Sequence[Event]) -> None:
        """Takes in events of any orders of the store, most of which this till does not have."""
        if not events:
            return
        of_order: dict[str, list[Event]] = defaultdict(list)
        for event in events:
            of_order[event.order_id].append(event)
        checkouts = await self._database.run(find_checkouts, list(of_order))
        await self._follow_all(list(checkouts.values()), of_order)

    async def _follow_all(self, checkouts: Sequence[Checkout], events: Mapping[str, Sequence[Event]]) -> None:
        for start in range(0, len(checkouts), FOLLOWED_AT_A_TIME):
            some = checkouts[start : start + FOLLOWED_AT_A_TIME]
            following = (self._follow(checkout, events.get(checkout.checkout_id)) for checkout in some)
            for outcome in await asyncio.gather(*following, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _follow(self, checkout: Checkout, events: Sequence[Event] | None) -> None:
        """Takes in what happened to one order; events None is whatever happened.

        What no repeat would change is logged and left: the other orders of the store go on.
        """
        checkout_id = checkout.checkout_id
        try:
            await self._follow_one(checkout, events)
        except Unanswered:
            raise
        except Refusal as refusal:
            if refusal.code in (StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED):  # of the own database
                raise
            log.warning("order_not_followed", order_id=checkout_id, error=str(refusal))
        except Exception as error:
            log.exception("order_not_followed", order_id=checkout_id, exc_info=error)

    async def _follow_one(self, checkout: Checkout, events: Sequence[Event] | None) -> None:
        checkout = await self._once_answered(checkout)
        if events is not None:
            events = [event for event in events if is_news(checkout, event)]
            if not events:
                return
            trace_id.set(events[-1].trace_id)
            if checkout.state is CheckoutState.PAYING and {event.payment_id for event in events} == {
                checkout.unanswered
            }:
                self._outbox.poke(checkout.unanswered)  # who drives the payment asks what became of it
                return
        order = await self._peers.read_order(checkout.checkout_id)
        await self._outbox.exchanges.take_read(order)

    async def _once_answered(self, checkout: Checkout) -> Checkout:
        """The checkout, once it waits for no answer that may be older than what is to be taken in.

        A call ends within its time-out. An answer that comes later is to a later call, and says all of it anyway.
        """
        for _ in range(BUSY_LOOKS):
            if checkout.state is CheckoutState.PAYING or not checkout.unanswered:
                break
            await asyncio.sleep(BUSY_LOOK_S)
            checkout = await self._database.run(get_checkout, checkout.checkout_id)
        return checkout


def _log_unwatched(error: Exception) -> None:
    log.info("orders_not_watched", error=str(error))


def is_news(checkout: Checkout, event: Event) -> bool:
    """False for an event of which the till knows already, as it caused it or has read the order since."""
    if CHECKOUT.is_final(checkout.state):
        return False
    own = checkout.attempt.payment_id if checkout.attempt else ""
    match event.type:
        case Event.TYPE_LINES_REPLACED:
            return event.version > checkout.order_version
        case Event.TYPE_LOCKED:
            return event.payment_id not in (own, checkout.locked_by)
        case Event.TYPE_LEASE_EXPIRED | Event.TYPE_PAYMENT_CANCELED:
            is_under_way = checkout.state is CheckoutState.PAYING and not (
                checkout.attempt and checkout.attempt.canceling
            )
            return event.payment_id == checkout.locked_by or (is_under_way and event.payment_id == own)
    return True
