"""Calls that are repeated until they are answered."""

import asyncio
import time
from typing import TypeVar

from google.protobuf.message import Message
from grpc import aio

from tillmesh.client.connections import Client
from tillmesh.client.failures import Unreachable

ANSWER_WITHIN_S = 60.0
BACK_WITHIN_S = 30.0
PAUSE_S = 0.02

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


async def call(client: Client, method: aio.UnaryUnaryMultiCallable[Req, Res], request: Req) -> Res:
    """Repeats a call that was not answered, for as long as a server takes to start again.

    The ids in the requests make that safe.
    """
    end = time.monotonic() + BACK_WITHIN_S
    while True:
        try:
            return await client.call(method, request, timeout_s=ANSWER_WITHIN_S)
        except Unreachable:
            if time.monotonic() >= end:
                raise
            await asyncio.sleep(PAUSE_S)
