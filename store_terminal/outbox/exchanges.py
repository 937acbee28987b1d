"""What is going on between this till and the other servers."""

from collections.abc import Callable
from typing import Any, TypeVar

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout
from store_terminal.outbox import queries, replies
from store_terminal.outbox.model import Exchange, OrderCopy, OutboxEntry
from store_terminal.outbox.order_reader import READ_WITHIN_S, OrderReader
from store_terminal.outbox.pay_codes import PayCodes
from store_terminal.outbox.peers import Peers
from tillmesh.runtime.clock import Clock
from tillmesh.storage.database import Database

Outcome = TypeVar("Outcome")


class Exchanges:
    """Reads exchanges and takes answers in; keeps in memory what belongs on no disk."""

    def __init__(self, database: Database, peers: Peers, clock: Clock, server: str) -> None:
        self._database = database
        self._peers = peers
        self._clock = clock
        self.pay_codes = PayCodes()
        self.orders = OrderReader(self._read_in_time, self._take_order, clock, server)

    async def get(self, request_id: str) -> Exchange:
        """An exchange as it is now."""
        return await self._database.run(queries.get_exchange, request_id)

    async def apply(self, outcome: Callable[..., Outcome], **what: Any) -> Outcome:
        """Takes an answer in, as one transaction."""
        taken = await self._database.run(outcome, now_ms=self._clock.now_ms(), **what)
        if isinstance(taken, Exchange):
            for entry in (taken.entry, taken.beside):
                if entry and entry.ended:
                    self.pay_codes.drop(entry.request_id)
        return taken

    async def apply_with(self, order: OrderCopy, outcome: Callable[..., Exchange], **what: Any) -> Exchange:
        """Takes an answer in with how the order is since, and remembers that it was read."""
        taken = await self.apply(outcome, order=order, **what)
        if taken.checkout:
            self.orders.note(taken.checkout)
        return taken

    async def take_read(self, order: OrderCopy) -> None:
        """Takes in an order that was read because something happened to it, and remembers that it was read."""
        self.orders.note(await self._take_order(order.order_id, order))

    def lacks_pay_code(self, entry: OutboxEntry) -> bool:
        """True for a request that must be sent with a pay code which this process does not have."""
        return entry.pay_code_shown and self.pay_codes.find(entry.request_id) is None

    def drop_ended(self, checkout: Checkout) -> None:
        """Forgets the pay code of a payment that has ended."""
        if checkout.attempt and checkout.state is not CheckoutState.PAYING:
            self.pay_codes.drop(checkout.attempt.payment_id)

    async def stop(self) -> None:
        """Reads no order any more."""
        await self.orders.stop()

    async def _read_in_time(self, order_id: str) -> OrderCopy:
        return await self._peers.read_order(order_id, READ_WITHIN_S)

    async def _take_order(self, order_id: str, order: OrderCopy) -> Checkout:
        checkout = await self.apply(replies.order_read, checkout_id=order_id, order=order)
        self.drop_ended(checkout)
        return checkout
