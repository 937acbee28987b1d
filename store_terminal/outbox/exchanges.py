"""What is going on between this till and the other servers."""

import asyncio
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
    """Reads exchanges and takes answers in; keeps in memory what belongs on no disk.

    `poke` has an exchange driven at once instead of after a pause.
    """

    def __init__(
        self, database: Database, peers: Peers, clock: Clock, server: str, poke: Callable[[str], object]
    ) -> None:
        self._database = database
        self._peers = peers
        self._clock = clock
        self.poke = poke
        self.pay_codes = PayCodes()
        self.orders = OrderReader(self._read_in_time, self._take_order, clock, server)
        self._alarms: dict[str, asyncio.TimerHandle] = {}

    async def get(self, request_id: str) -> Exchange:
        """An exchange as it is now."""
        return await self._database.run(queries.get_exchange, request_id)

    async def apply(self, outcome: Callable[..., Outcome], **what: Any) -> Outcome:
        """Takes an answer in, as one transaction."""
        taken = await self._database.run(outcome, now_ms=self._clock.now_ms(), **what)
        if isinstance(taken, Exchange) and not taken.pending:
            self.forget(taken.entry.request_id)
        return taken

    async def apply_with(self, order: OrderCopy, outcome: Callable[..., Exchange], **what: Any) -> Exchange:
        """Takes an answer in with how the order is since, and remembers the latter."""
        taken = await self.apply(outcome, order=order, **what)
        if taken.checkout:
            self.orders.note(taken.checkout, order)
        return taken

    def forget(self, request_id: str) -> None:
        """Drops what is kept in memory of an exchange that has ended."""
        self.pay_codes.drop(request_id)
        self.sleep(request_id)

    def lacks_pay_code(self, entry: OutboxEntry) -> bool:
        """True for a request that must be sent with a pay code which this process does not have."""
        return entry.pay_code_shown and self.pay_codes.find(entry.request_id) is None

    def wake_after(self, seconds: float, request_id: str) -> None:
        """Pokes an exchange later, also in a longer pause."""
        self.sleep(request_id)
        self._alarms[request_id] = asyncio.get_running_loop().call_later(seconds, self.poke, request_id)

    def sleep(self, request_id: str) -> None:
        """Pokes an exchange no longer."""
        if alarm := self._alarms.pop(request_id, None):
            alarm.cancel()

    async def stop(self) -> None:
        """Pokes nothing any more, and reads no order."""
        for request_id in list(self._alarms):
            self.sleep(request_id)
        await self.orders.stop()

    async def _read_in_time(self, order_id: str) -> OrderCopy:
        return await self._peers.read_order(order_id, READ_WITHIN_S)

    async def _take_order(self, order_id: str, order: OrderCopy) -> Checkout:
        checkout = await self.apply(replies.order_read, checkout_id=order_id, order=order)
        if checkout.attempt and checkout.state is not CheckoutState.PAYING:
            self.forget(checkout.attempt.payment_id)
        return checkout
