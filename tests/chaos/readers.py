"""Readers of the streams, who are cut off again and again, and must have seen each event once."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self

from grpc import StatusCode, aio

from tests.chaos.asking import poll
from tests.processes import DEADLINE_S
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as till_api
from tillmesh.client.connections import Client
from tillmesh.local.processes import ServerName
from tillmesh.rpc.streams import OLDEST
from tillmesh.storage.database import open_engine, parse_url

ANSWERS_MAX = 6
"""A reader is cut off after so many at most."""
LOST = 0.3
"""The part of readers that die before they stored the last answer."""
PAUSE_S_MAX = 0.3
FINDINGS_MAX = 20
AGAIN = {StatusCode.UNAVAILABLE, StatusCode.CANCELLED, StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNKNOWN}
HISTORIES: Mapping[ServerName, tuple[str, str]] = {
    ServerName.ORDERS: ("order_history", "order_id"),
    ServerName.PAYMENTS: ("payment_history", "payment_id"),
    ServerName.TERMINAL: ("checkout_history", "checkout_id"),
}
Event = tuple[str, int]
_REQUESTS: Mapping[ServerName, Callable[[Client], tuple[Any, Any]]] = {
    ServerName.ORDERS: lambda client: (client.orders.WatchOrders, orders_api.WatchOrdersRequest),
    ServerName.PAYMENTS: lambda client: (client.payments.WatchPayments, payments_api.WatchPaymentsRequest),
    ServerName.TERMINAL: lambda client: (client.till.WatchCheckouts, till_api.WatchCheckoutsRequest),
}


@dataclass
class Reader:
    """Reads one stream from its beginning, and stores each cursor together with its events."""

    role: ServerName
    open_client: Callable[[], Client]
    rng: random.Random
    cursor: str = OLDEST
    seen: Counter[Event] = field(default_factory=Counter)
    cuts: int = 0

    async def read(self) -> None:
        """Reads until it is cancelled."""
        while True:
            async with self.open_client() as client:
                await self._read_some(client)
            self.cuts += 1
            await asyncio.sleep(self.rng.uniform(0, PAUSE_S_MAX))

    async def _read_some(self, client: Client) -> None:
        method, request = _REQUESTS[self.role](client)
        left = self.rng.randint(1, ANSWERS_MAX)
        try:
            async for answer in method(request(cursor=self.cursor, events_only=self.rng.random() < 0.5)):
                left -= 1
                if left == 0 and self.rng.random() < LOST:
                    return
                self._store(answer)
                if left == 0:
                    return
        except aio.AioRpcError as error:
            if error.code() not in AGAIN:
                raise

    def _store(self, answer: Any) -> None:
        key = HISTORIES[self.role][1]
        self.seen.update((getattr(update.event, key), update.event.number) for update in answer.updates)
        self.cursor = answer.cursor


class Readers:
    """A reader of each stream."""

    def __init__(self, open_client: Callable[[], Client], urls: Mapping[ServerName, str], rng: random.Random) -> None:
        self.readers = [Reader(role, open_client, rng) for role in ServerName]
        self._urls = urls
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(reader.read()) for reader in self.readers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def cuts(self) -> int:
        """How often they were cut off."""
        return sum(reader.cuts for reader in self.readers)

    async def findings(self) -> list[str]:
        """What they saw twice, missed, or saw although it is in no history; nothing may happen any more."""
        found = []
        for reader, task in zip(self.readers, self._tasks, strict=True):
            written = await asyncio.to_thread(_written, self._urls[reader.role], reader.role)
            with suppress(TimeoutError):
                await asyncio.wait_for(poll(partial(_has_seen, reader, task, written), bool), DEADLINE_S)
            seen = reader.seen.keys()
            of_reader = [
                *(f"saw {event} twice" for event, count in reader.seen.items() if count > 1),
                *(f"missed {event}" for event in written - seen),
                *(f"saw {event}, which is not there" for event in seen - written),
                *([f"ended with {task.exception()!r}"] if task.done() else []),
            ]
            found += [f"a reader of {reader.role} {what}" for what in of_reader]
        return found[:FINDINGS_MAX]


async def _has_seen(reader: Reader, task: "asyncio.Task[None]", written: set[Event]) -> bool:
    return task.done() or reader.seen.keys() >= written


def _written(url: str, role: ServerName) -> set[Event]:
    history, key = HISTORIES[role]
    engine = open_engine(parse_url(url))
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(f"SELECT {key}, number FROM {history}").all()
    engine.dispose()
    return {(row[0], row[1]) for row in rows}
