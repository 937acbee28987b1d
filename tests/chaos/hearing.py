"""Hears what happens, instead of asking; each event must come once, in order, and none may be missing."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.chaos.reckoning import FINAL_WITHIN_S, Reckoning
from tests.chaos.witness import Checkout, Witness
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as till_api
from tillmesh.client.connections import Client
from tillmesh.client.watch import followed

Seen = TypeVar("Seen")
Key = tuple[str, int]
"""A record, and the number of an event of it."""
OLDEST = "oldest"
WRONG_TOLD_MAX = 5


async def heard(seen: AsyncGenerator[Seen], done: Callable[[Seen], bool]) -> Seen:
    """The record, once it is as it is waited for."""
    async with aclosing(seen):
        async for one in seen:
            if done(one):
                return one
    raise AssertionError("a watch does not end")


def follow_checkout(
    client: Client, witness: Witness, checkout_id: str, read: Callable[[], Awaitable[Checkout]]
) -> AsyncGenerator[Checkout]:
    """A checkout as a till's display hears of it; what it is told is witnessed."""
    request = till_api.WatchCheckoutsRequest(checkout_id=checkout_id)
    numbers: list[int] = []

    def record_of(update: till_api.CheckoutUpdate) -> Checkout:
        if numbers and update.event.number != numbers[-1] + 1:
            witness.wrong.append(f"of {checkout_id}, event {update.event.number} was sent after {numbers[-1]}")
        numbers.append(update.event.number)
        witness.note(request, update.checkout)
        return update.checkout

    return followed(client.watch(client.till.WatchCheckouts, request), read, record_of)


@dataclass(frozen=True)
class Stream:
    """One of the three streams, and the lists that have the same events."""

    watch: Callable[[], AsyncGenerator[Any]]
    id_of: Callable[[Any], str]
    record_ids: Callable[[], AsyncIterator[str]]
    events: Callable[[str], AsyncIterator[Any]]


class Listener:
    """Listens to all three servers from the beginning on, through everything that happens to them."""

    def __init__(self, client: Client) -> None:
        self._streams = _streams(client)
        self._heard: dict[str, list[Key]] = {name: [] for name in self._streams}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._listen(name)) for name in self._streams]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def compare(self, reckoning: Reckoning) -> None:
        """Compares what was heard with what the servers list, now that nothing happens any more."""
        for (name, stream), task in zip(self._streams.items(), self._tasks, strict=True):
            listed = [
                (record_id, event.number)
                async for record_id in stream.record_ids()
                async for event in stream.events(record_id)
            ]
            with suppress(TimeoutError):
                async with asyncio.timeout(FINAL_WITHIN_S):
                    await self._hear(name, len(listed))
            if task.done():
                reckoning.broken.append(f"the watch of {name} ended: {task.exception()!r}")
            reckoning.broken += differences(name, self._heard[name], listed)[:WRONG_TOLD_MAX]

    async def _hear(self, name: str, count: int) -> None:
        while True:
            if len(self._heard[name]) >= count:
                return
            await asyncio.sleep(0.1)

    async def _listen(self, name: str) -> None:
        stream = self._streams[name]
        async with aclosing(stream.watch()) as answers:
            async for answer in answers:
                self._heard[name] += [(stream.id_of(update.event), update.event.number) for update in answer.updates]


def differences(name: str, heard: list[Key], listed: list[Key]) -> list[str]:
    """What was missed, came twice, was never listed, or came before what happened before it."""
    times, last = Counter(heard), Counter[str]()
    wrong = [f"event {number} of {name} {record_id} was missed" for record_id, number in set(listed) - set(heard)]
    wrong += [f"event {number} of {name} {record_id} is not listed" for record_id, number in set(heard) - set(listed)]
    wrong += [f"event {key[1]} of {name} {key[0]} came {count} times" for key, count in times.items() if count > 1]
    for record_id, number in heard:
        if number != last[record_id] + 1:
            wrong.append(f"event {number} of {name} {record_id} came after {last[record_id]}")
        last[record_id] = number
    return wrong


def _streams(client: Client) -> dict[str, Stream]:
    async def order_ids() -> AsyncIterator[str]:
        request = orders_api.ListOrdersRequest()
        async for order in client.listed(client.orders.ListOrders, request, lambda page: page.orders):
            yield order.order_id

    async def payment_ids() -> AsyncIterator[str]:
        request = payments_api.ListPaymentsRequest()
        async for payment in client.listed(client.payments.ListPayments, request, lambda page: page.payments):
            yield payment.payment_id

    async def checkout_ids() -> AsyncIterator[str]:
        request = till_api.ListCheckoutsRequest()
        async for checkout in client.listed(client.till.ListCheckouts, request, lambda page: page.checkouts):
            yield checkout.checkout_id

    return {
        "order": Stream(
            lambda: client.watch(
                client.orders.WatchOrders, orders_api.WatchOrdersRequest(cursor=OLDEST, events_only=True)
            ),
            lambda event: event.order_id,
            order_ids,
            lambda order_id: client.listed(
                client.orders.ListOrderEvents,
                orders_api.ListOrderEventsRequest(order_id=order_id),
                lambda page: page.events,
            ),
        ),
        "payment": Stream(
            lambda: client.watch(
                client.payments.WatchPayments, payments_api.WatchPaymentsRequest(cursor=OLDEST, events_only=True)
            ),
            lambda event: event.payment_id,
            payment_ids,
            lambda payment_id: client.listed(
                client.payments.ListPaymentEvents,
                payments_api.ListPaymentEventsRequest(payment_id=payment_id),
                lambda page: page.events,
            ),
        ),
        "checkout": Stream(
            lambda: client.watch(
                client.till.WatchCheckouts, till_api.WatchCheckoutsRequest(cursor=OLDEST, events_only=True)
            ),
            lambda event: event.checkout_id,
            checkout_ids,
            lambda checkout_id: client.listed(
                client.till.ListCheckoutEvents,
                till_api.ListCheckoutEventsRequest(checkout_id=checkout_id),
                lambda page: page.events,
            ),
        ),
    }
