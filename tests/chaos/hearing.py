"""Hearing what happens, instead of asking again and again."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from tests.chaos.witness import Checkout, Witness
from tillmesh.api.terminal.v1 import checkout_service_pb2 as till_api
from tillmesh.client.connections import Client
from tillmesh.client.watch import followed

Seen = TypeVar("Seen")


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
