"""Asking a server until it answers."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from google.protobuf.message import Message
from grpc import aio

from tests.chaos.witness import Witness
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.client.connections import Client
from tillmesh.client.failures import Unreachable
from tillmesh.runtime.errors import Refusal

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)
Seen = TypeVar("Seen")

POLL_INTERVAL_S = 0.05
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
            return await client.call(method, request, timeout_s=rng.choice((0.3, 2.0, 6.0)))
        except Unreachable:
            await asyncio.sleep(rng.uniform(0.05, 0.3))


async def poll(look: Callable[[], Awaitable[Seen]], done: Callable[[Seen], bool]) -> Seen:
    """Looks again and again until what is seen is what is waited for."""
    while True:
        seen = await look()
        if done(seen):
            return seen
        await asyncio.sleep(POLL_INTERVAL_S)
