"""Readers of the three servers' streams, who store a cursor with what they have seen, and what they must have seen."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message

from tests.simulation.network import ORDERS, PAYMENTS, TERMINAL
from tests.simulation.reading import Violation, rows
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from tillmesh.rpc.peers import Peer
from tillmesh.rpc.streams import OLDEST
from tillmesh.runtime.errors import Refusal, Unanswered

if TYPE_CHECKING:
    from tests.simulation.world import World

STORE = "store-1"
NOW = ""
LIST = "list"
PAGE = 200
STOPS = 0.08
"""Of the answers, how many a reader does not store: it dies, and comes back to the cursor before."""
STALLS = 0.05
"""And after how many it takes no other for a good while."""
STALLS_S = 20.0
CAUGHT_UP_WITHIN_S = 90.0
Told = tuple[str, int, str, int]
"""An event: its record, its number, what happened, and when."""


@dataclass(frozen=True)
class Feed:
    """What there is to watch at one server."""

    server: str
    history: str
    records: str
    key: str
    stub: Callable[[Any], Any]
    watch: str
    list: str
    watch_request: Callable[..., Message]
    list_request: Callable[..., Message]
    types: Any
    states: Any
    filters: Sequence[tuple[dict[str, str], str]]
    """What readers may ask for, and the same in SQL."""


@dataclass(frozen=True)
class Row:
    """A row of a history."""

    row_id: int
    told: Told
    to_state: str


FEEDS = (
    Feed(
        ORDERS, "order_history", "orders", "order_id", OrderServiceStub, "WatchOrders", "ListOrders",
        orders_api.WatchOrdersRequest, orders_api.ListOrdersRequest, order_pb2.OrderEvent.Type, order_pb2.Order.State,
        (({"store_id": STORE}, f"store_id = '{STORE}'"),),
    ),
    Feed(
        PAYMENTS, "payment_history", "payments", "payment_id", PaymentServiceStub, "WatchPayments", "ListPayments",
        payments_api.WatchPaymentsRequest, payments_api.ListPaymentsRequest, payment_pb2.PaymentEvent.Type,
        payment_pb2.Payment.State,
        (({"identity_id": "ada"}, "identity_id = 'ada'"), ({"store_id": STORE}, f"store_id = '{STORE}'")),
    ),
    Feed(
        TERMINAL, "checkout_history", "checkouts", "checkout_id", CheckoutServiceStub, "WatchCheckouts",
        "ListCheckouts", checkouts_api.WatchCheckoutsRequest, checkouts_api.ListCheckoutsRequest,
        checkout_pb2.CheckoutEvent.Type, checkout_pb2.Checkout.State,
        (({"lane": "lane-1"}, "lane = 'lane-1'"),),
    ),
)  # fmt: skip


class Reader:
    """Reads one feed on and on; what it stores, it stores together with the cursor behind it."""

    def __init__(self, world: "World", feed: Feed, name: str) -> None:
        self.world, self.feed, self.name = world, feed, name
        self.rng = random.Random(world.rng.getrandbits(64))
        self._stub = feed.stub(world.channel(name, feed.server))
        self._peer = Peer()
        self.filters, self._condition = self.rng.choice([({}, "true"), ({}, "true"), *feed.filters])
        self._types = self.rng.sample(feed.types.values()[1:], 4) if self.rng.random() < 0.2 else []
        self._events_only = self.rng.random() < 0.5
        self._begins = self.rng.choice((NOW, OLDEST, LIST)) if not self._types and not self.filters else OLDEST
        self.begin()

    def begin(self) -> None:
        """Forgets everything."""
        self.cursor = OLDEST if self._begins == OLDEST else NOW
        self.seen: list[Told] = []
        self._listed: dict[str, str] | None = None
        self._begun_by: int | None = 0 if self._begins == OLDEST else None
        """The newest row when it knew that it had begun."""
        self._stored: list[tuple[str, int]] = []
        self._before_pruning: list[Row] = []
        self._surely_at = 0
        """A row that its cursor is not before: where a stream began that sent nothing yet, nobody knows."""

    def go_back(self) -> None:
        """Comes back with a cursor that it stored some time ago, and asks for all that followed."""
        if not self._stored:
            return
        self._before_pruning = self._expected()
        cursor, known = self.rng.choice(self._stored)
        last = {row.told: row.row_id for row in self._before_pruning}
        self._surely_at = last[self.seen[known - 1]] if known else 0
        begun_by = self._surely_at or self._begun_by
        self.cursor, self._begun_by, self.seen, self._stored = cursor, begun_by, [], []
        self._listed = None

    async def read(self) -> None:
        """Reads until it is cancelled."""
        while True:
            await asyncio.sleep(self.rng.choice((0.0, 0.5, self.rng.uniform(0, 12))))
            try:
                await self._read_stream()
            except Unanswered:
                continue
            except Refusal as refusal:
                if refusal.reason != "CURSOR_EXPIRED" or not self._is_behind_pruned():
                    raise Violation(f"{self.name} was refused at {self.cursor!r}: {refusal}") from refusal
                self.world.network.counts["cursors_expired"] += 1
                self._begins = LIST
                self.begin()

    async def _read_stream(self) -> None:
        if self._begins == LIST and (self.cursor == NOW or self.rng.random() < 0.3):
            self.begin()
            await self._list()
        elif self._stored and self.rng.random() < 0.1:
            self.cursor, known = self.rng.choice(self._stored)
            del self.seen[known:]
            self._stored = [stored for stored in self._stored if stored[1] <= known]
        request = self.feed.watch_request(
            cursor=self.cursor, types=self._types, events_only=self._events_only, **self.filters
        )
        async with aclosing(self._peer.watch(getattr(self._stub, self.feed.watch), request)) as answers:
            async for answer in answers:
                if self.rng.random() < STOPS:
                    return
                self._store(answer)
                if self.rng.random() < STALLS:
                    await asyncio.sleep(self.rng.uniform(0, STALLS_S))

    async def _list(self) -> None:
        """Takes a list, and the cursor that goes with it."""
        request = self.feed.list_request(page_size=PAGE)
        answer = await self._peer.call(getattr(self._stub, self.feed.list), request)
        records = getattr(answer, self.feed.records)
        names = self.feed.states
        self._listed = {
            getattr(record, self.feed.key): names.Name(record.state).removeprefix("STATE_") for record in records
        }
        self.cursor, self._begun_by = answer.cursor, self._newest_row()

    def _store(self, answer: Any) -> None:
        for update in answer.updates:
            event = update.event
            told = self._told(event)
            self._require_on_disk(told)
            if told in self.seen:
                raise Violation(f"{self.name} was sent {told} twice")
            if not self._events_only:
                record = getattr(update, self.feed.records.removesuffix("s"))
                if getattr(record, self.feed.key) != told[0]:
                    raise Violation(f"{self.name} was sent {told} with the record {record}")
            self.seen.append(told)
        if self._begun_by is None:
            self._begun_by = self._newest_row()
        self.cursor = answer.cursor
        self._stored.append((self.cursor, len(self.seen)))
        self.world.network.counts["events_seen"] += len(answer.updates)

    def _told(self, event: Any) -> Told:
        name = self.feed.types.Name(event.type).removeprefix("TYPE_")
        return getattr(event, self.feed.key), event.number, name, event.event_time.ToMilliseconds()

    def _newest_row(self) -> int:
        return int(self.world.sql(self.feed.server, f"SELECT coalesce(max(row_id), 0) FROM {self.feed.history}")[0][0])

    def _require_on_disk(self, told: Told) -> None:
        query = f"SELECT row_id FROM {self.feed.history} WHERE {self.feed.key} = ? AND number = ?"
        found = self.world.sql(self.feed.server, query, *told[:2])
        if found and found[0][0] > self.world.on_disk[self.feed.server]:
            raise Violation(f"{self.name} was sent {told}, which was not on disk yet")

    def _is_pruned(self) -> bool:
        return bool(self.world.sql(self.feed.server, "SELECT 1 FROM pruned LIMIT 1"))

    def _is_behind_pruned(self) -> bool:
        """True if rows behind its cursor were pruned, or may have been."""
        query = "SELECT coalesce(max(through_row_id), 0) FROM pruned"
        return self._surely_at < int(self.world.sql(self.feed.server, query)[0][0])

    def _expected(self) -> list[Row]:
        """The rows of the history that it asks for, less those that were pruned before it began."""
        feed, names = self.feed, [self.feed.types.Name(value).removeprefix("TYPE_") for value in self._types]
        query = f"""
            SELECT row_id, {feed.key}, number, event, at_ms, to_state FROM {feed.history} WHERE {self._condition}
            ORDER BY row_id
        """
        known = self._before_pruning[-1].row_id if self._before_pruning else 0
        found = [Row(row[0], row[1:5], row[5]) for row in rows(self.world.parts.databases[feed.server], query)]
        fresh = [row for row in found if row.row_id > known and (not names or row.told[2] in names)]
        return [*self._before_pruning, *fresh]

    def is_behind(self) -> bool:
        """True while there are events that it has not seen."""
        expected = self._expected()
        if self._begun_by is None or self.cursor == NOW:
            return True
        return bool(expected) and expected[-1].row_id > self._begun_by and expected[-1].told not in self.seen[-1:]

    def check(self) -> None:
        """It has seen all that it asked for, in order, each once, and nothing else."""
        expected = self._expected()
        missed = expected[: len(expected) - len(self.seen)]
        told = [row.told for row in expected[len(missed) :]]
        if told != self.seen:
            wrong = next((pair for pair in zip(told, self.seen, strict=False) if pair[0] != pair[1]), None)
            raise Violation(f"{self.name} has seen {len(self.seen)} events of {len(expected)}; first other: {wrong}")
        if missed and (self._begun_by is None or missed[-1].row_id > self._begun_by):
            raise Violation(f"{self.name} missed {missed[-1].told}")
        if self._listed is not None and not self._types:  # by some types alone nobody follows a state
            states = {row.told[0]: row.to_state for row in missed}
            fits = states.items() <= self._listed.items() if self._is_pruned() else states == self._listed
            if not fits:
                raise Violation(f"{self.name} was told of {self._listed} by a list, and of all that follows {states}")


class Readers:
    """Somebody at each feed."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._readers = [
            Reader(world, feed, f"reader-{feed.history.split('_')[0]}-{number}") for feed in FEEDS for number in (1, 2)
        ]

    def start(self) -> list["asyncio.Task[None]"]:
        """Has all of them read."""
        return [asyncio.ensure_future(self.world.guarded(reader.read())) for reader in self._readers]

    async def catch_up(self) -> None:
        """Returns once all have seen everything, which they must soon."""
        until_s = asyncio.get_running_loop().time() + CAUGHT_UP_WITHIN_S
        while behind := [reader for reader in self._readers if reader.is_behind()]:
            if asyncio.get_running_loop().time() > until_s:
                behind[0].check()
                raise Violation(f"{behind[0].name} is behind, though all is healed")
            await asyncio.sleep(1)

    def go_back(self) -> None:
        """Has all come back with older cursors."""
        for reader in self._readers:
            reader.go_back()

    def check(self) -> None:
        """All have seen what they asked for."""
        for reader in self._readers:
            reader.check()
