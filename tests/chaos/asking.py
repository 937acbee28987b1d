"""Asking a server until it answers, and noting what it says."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from google.protobuf.message import Message
from grpc import aio

from tests.chaos.witness import Witness
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.client.connections import Client
from tillmesh.client.failures import Failure, Unreachable
from tillmesh.runtime.errors import Refusal

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)
Seen = TypeVar("Seen")

POLL_INTERVAL_S = 0.05
TIMEOUTS_S = (0.3, 2.0, 6.0)
# What a shopper is told no for who does several things at once; any other refusal is a finding.
EXPECTED = {
    "BASKET_VERSION_MISMATCH",
    "CHECKOUT_BUSY",
    "CHECKOUT_PAID",
    "CONSENT_MISMATCH",
    "NO_PAYMENT",
    "ORDER_ALREADY_PAID",
    "ORDER_LOCKED",
    "PAYMENT_ALREADY_REFUNDED",
    "PAYMENT_NOT_CAPTURED",
    "PAYMENT_NOT_FOUND",
    "PAYMENT_NOT_WAITING",
    "PAYMENT_UNDER_WAY",
    "REFUND_EXCEEDS_LINE",
    "REFUND_EXCEEDS_PAYMENT",
    "UNREFERENCED_REFUND_LIMIT_EXCEEDED",
    "VERSION_MISMATCH",
}


def gbp(minor: int) -> Money:
    return Money(currency_code="GBP", minor_units=minor)


async def ask(
    client: Client,
    witness: Witness,
    rng: random.Random,
    method: aio.UnaryUnaryMultiCallable[Req, Res],
    request: Req,
) -> Res:
    """The answer, however often it takes to ask the same again; it is witnessed."""
    witness.asking += 1
    known = witness.known_of(request)
    try:
        answer = await _answer(client, rng, method, request)
    except Refusal as refusal:
        if refusal.reason not in EXPECTED:
            witness.wrong.append(f"{type(request).__name__} was refused: {refusal}")
        raise
    finally:
        witness.asking -= 1
    witness.note(request, answer, known)
    return answer


async def _answer(
    client: Client, rng: random.Random, method: aio.UnaryUnaryMultiCallable[Req, Res], request: Req
) -> Res:
    while True:
        try:
            return await client.call(method, request, timeout_s=rng.choice(TIMEOUTS_S))
        except Unreachable:
            await asyncio.sleep(rng.uniform(0.05, 0.3))


class Observed:
    """Connections of a till that are in no hurry, or in too much, and whose every answer is witnessed."""

    def __init__(self, client: Client, witness: Witness, rng: random.Random) -> None:
        self._client = client
        self._witness = witness
        self._rng = rng

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def call(
        self, method: aio.UnaryUnaryMultiCallable[Req, Res], request: Req, *, timeout_s: float, attempts: int
    ) -> Res:
        """One try, with a deadline of whatever length."""
        self._witness.asking += 1
        known = self._witness.known_of(request)
        try:
            answer = await self._client.call(method, request, timeout_s=self._rng.choice(TIMEOUTS_S), attempts=attempts)
        except Refusal as refusal:
            if refusal.reason not in EXPECTED:
                self._witness.wrong.append(f"{type(request).__name__} was refused: {refusal}")
            raise
        finally:
            self._witness.asking -= 1
        self._witness.note(request, answer, known)
        return answer

    async def watch(self, method: Any, request: Any, on_cut: Callable[[Failure], None]) -> AsyncGenerator[Any]:
        """A stream, of which each event must come once and in its order."""
        last: dict[str, int] = {}
        async with aclosing(self._client.watch(method, request, on_cut)) as answers:
            async for answer in answers:
                for update in answer.updates:
                    event = update.event
                    before = last.setdefault(event.checkout_id, event.number - 1)
                    if event.number != before + 1:
                        text = f"of {event.checkout_id}, event {event.number} was sent after {before}"
                        self._witness.wrong.append(text)
                    last[event.checkout_id] = event.number
                    self._witness.note(request, update.checkout)
                yield answer


async def poll(look: Callable[[], Awaitable[Seen]], done: Callable[[Seen], bool]) -> Seen:
    """Looks again and again until what is seen is what is waited for."""
    while True:
        seen = await look()
        if done(seen):
            return seen
        await asyncio.sleep(POLL_INTERVAL_S)
