"""Reads orders for whoever asks how a checkout stands: once a second at most for each, shared by all who ask."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout
from store_terminal.outbox.model import OrderCopy
from tillmesh.auth.callers import act_as
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.deadlines import time_to_answer_s
from tillmesh.runtime.errors import Refusal, Unanswered

READ_EVERY_MS = 1_000
READ_WITHIN_S = 1.0
READINGS_MAX = 1_000
"""A shop has a handful of checkouts that are asked for again and again; beyond this the oldest is forgotten."""
log = structlog.get_logger()


@dataclass(slots=True)
class _Slot:
    """The last read of one order."""

    started_ms: int
    event_count: int
    """That of the checkout: a read says nothing about a checkout that has changed since."""
    read_at_ms: int = 0
    """When it was answered; 0 if it was not."""
    task: "asyncio.Task[None] | None" = None

    @property
    def is_busy(self) -> bool:
        """True while the read is under way."""
        return self.task is not None and not self.task.done()


class OrderReader:
    """When orders were last read, in memory. It keeps those that were asked for last.

    `read` asks the order service, `take` takes the answer in and returns the checkout as it is then.
    """

    def __init__(
        self,
        read: Callable[[str], Awaitable[OrderCopy]],
        take: Callable[[str, OrderCopy], Awaitable[Checkout]],
        clock: Clock,
        server: str,
        at_most: int = READINGS_MAX,
    ) -> None:
        self._read = read
        self._take = take
        self._clock = clock
        self._server = server
        self._at_most = at_most
        self._slots: dict[str, _Slot] = {}

    def __len__(self) -> int:
        """The number of orders that are remembered."""
        return len(self._slots)

    def read_at_ms(self, checkout: Checkout) -> int:
        """When the order said that the checkout is as it is; 0 if that is not known."""
        slot = self._slots.get(checkout.checkout_id)
        return slot.read_at_ms if slot and slot.event_count == checkout.event_count else 0

    def note(self, checkout: Checkout) -> None:
        """Remembers that an order was read elsewhere; `checkout` is as it is with that taken in."""
        slot = self._slots.get(checkout.checkout_id)
        if slot is None or not slot.is_busy:
            slot = self._open(checkout)
        self._keep(slot, checkout)

    def start(self, checkout: Checkout) -> bool:
        """Starts to read an order; False if that is under way, or if what is known is of now: a second old at most."""
        slot = self._slots.get(checkout.checkout_id)
        if slot and (slot.is_busy or self._is_of_now(slot, checkout)):
            return False
        read_at_ms = self.read_at_ms(checkout)
        slot = self._open(checkout)
        slot.read_at_ms = read_at_ms
        slot.task = asyncio.get_running_loop().create_task(self._run(checkout.checkout_id, slot))
        return True

    async def refresh(self, checkout: Checkout, within_s: float = READ_WITHIN_S) -> bool:
        """Waits for a fresh reading, a second at most; False if there is one already."""
        self.start(checkout)
        task = self._slots[checkout.checkout_id].task
        if task is None or task.done():
            return False
        await asyncio.wait({task}, timeout=min(within_s, READ_WITHIN_S, time_to_answer_s()))
        return True

    async def stop(self) -> None:
        """Cancels all reads."""
        tasks = [slot.task for slot in self._slots.values() if slot.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _is_of_now(self, slot: _Slot, checkout: Checkout) -> bool:
        """False also where the checkout has changed since: at another replica, that needs no second."""
        is_young = 0 <= self._clock.now_ms() - slot.started_ms < READ_EVERY_MS
        return is_young and slot.event_count >= checkout.event_count

    def _open(self, checkout: Checkout) -> _Slot:
        checkout_id = checkout.checkout_id
        self._slots.pop(checkout_id, None)  # the order in which they are is that of their reads
        slot = self._slots[checkout_id] = _Slot(self._clock.now_ms(), checkout.event_count)
        if len(self._slots) > self._at_most:
            oldest = next((key for key, each in self._slots.items() if not each.is_busy), None)
            if oldest not in (None, checkout_id):
                del self._slots[oldest]
        return slot

    async def _run(self, checkout_id: str, slot: _Slot) -> None:
        act_as(self._server)  # whoever asked first may have less patience than those who share the answer
        try:
            order = await self._read(checkout_id)
            checkout = await self._take(checkout_id, order)
        except (Refusal, Unanswered) as error:
            log.info("order_not_read", order_id=checkout_id, error=str(error))
            return
        except Exception as error:
            log.exception("order_read_failed", order_id=checkout_id, exc_info=error)
            return
        self._keep(slot, checkout)

    def _keep(self, slot: _Slot, checkout: Checkout) -> None:
        """Keeps when it was read, unless the checkout is final and nobody asks any more."""
        slot.event_count, slot.read_at_ms = checkout.event_count, self._clock.now_ms()
        if checkout.state in (CheckoutState.PAID, CheckoutState.CANCELED):
            self._slots.pop(checkout.checkout_id, None)
