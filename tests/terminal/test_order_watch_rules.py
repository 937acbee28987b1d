"""What the order watch takes for news, in what order it takes it in, and when it keeps its place."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from grpc import StatusCode

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout
from store_terminal.checkouts.moves import get_checkout
from store_terminal.checkouts.queries import CHECKOUTS, HISTORY
from store_terminal.outbox import order_watch
from store_terminal.outbox.model import OrderCopy
from store_terminal.outbox.order_watch import REST_S_MAX, OrderWatch, is_news
from store_terminal.outbox.queries import find_cursor, keep_cursor
from tests.clocks import ManualClock
from tests.terminal.inside import Inside, now_ms, terminal
from tests.terminal.test_lifecycle import attempt, in_state, order
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.runtime.errors import CommonReason, Refusal, Unanswered
from tillmesh.storage.statements import Transaction

S = CheckoutState
Event = order_pb2.OrderEvent
Answer = order_api.WatchOrdersResponse | Exception


def event(kind: str, payment_id: str = "", version: int = 1, order_id: str = "c-1") -> Event:
    return Event(
        order_id=order_id,
        type=Event.Type.Value(f"TYPE_{kind}"),
        payment_id=payment_id,
        version=version,
        trace_id="of the phone",
    )


def answer(cursor: str, *events: Event) -> order_api.WatchOrdersResponse:
    updates = [order_api.OrderUpdate(event=each) for each in events]
    return order_api.WatchOrdersResponse(updates=updates, cursor=cursor)


@dataclass
class Orders:
    """An order service that sends what a test says, and has the orders that it says."""

    streams: list[list[Answer]] = field(default_factory=list)
    orders: dict[str, OrderCopy | Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """The cursors that it was asked to go on from."""
    read: list[str] = field(default_factory=list)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self, _method: object, request: order_api.WatchOrdersRequest) -> AsyncIterator[Any]:
        self.asked.append(request.cursor)
        assert (request.store_id, request.events_only) == ("store-1", True)
        self.opened.set()
        for each in self.streams.pop(0):
            if isinstance(each, Exception):
                raise each
            yield each

    async def read_order(self, order_id: str) -> OrderCopy:
        self.read.append(order_id)
        found = self.orders[order_id]
        if isinstance(found, Exception):
            raise found
        return found

    def peers(self) -> Any:
        server = SimpleNamespace(watch=self.watch)
        return SimpleNamespace(
            order_server=server, orders=SimpleNamespace(WatchOrders=None), read_order=self.read_order
        )


class Watch:
    """A terminal that watches that order service, a stream at a time."""

    def __init__(self, inside: Inside, orders: Orders) -> None:
        self.database, self.orders = inside.database, orders
        self.poked: list[str] = []
        outbox: Any = SimpleNamespace(exchanges=inside.outbox.exchanges, poke=self.poked.append)
        self._watch = OrderWatch(inside.database, orders.peers(), outbox, random.Random(1), "spiffe://us", "store-1")

    async def has(self, *checkouts: Checkout) -> None:
        def begin(transaction: Transaction) -> None:
            for checkout in checkouts:
                HISTORY.begin(transaction, checkout, "OPENED")

        await self.database.run(begin)

    async def change(self, checkout_id: str = "c-1", **changes: Any) -> None:
        def change(transaction: Transaction) -> None:
            before = get_checkout(transaction, checkout_id)
            CHECKOUTS.change(transaction, before, replace(before, **changes))

        await self.database.run(change)

    async def stream(self, *answers: Answer) -> float:
        """Reads one stream to its end; returns the rest after it."""
        self.orders.streams.append(list(answers))
        return await self._watch._round()

    async def cursor(self) -> str:
        return await self.database.run(find_cursor)

    async def checkout(self, checkout_id: str = "c-1") -> Checkout:
        return await self.database.run(get_checkout, checkout_id)


@asynccontextmanager
async def opened(database_url: str, closed_port: str, cursor: str = "known") -> AsyncIterator[Watch]:
    async with terminal(database_url, closed_port, closed_port, ManualClock(now_ms())) as inside:
        watch = Watch(inside, Orders())
        await watch.database.run(keep_cursor, cursor)
        yield watch


def submitted(checkout_id: str = "c-1", **changes: Any) -> Checkout:
    return replace(in_state(S.SUBMITTED), checkout_id=checkout_id, **changes)


@pytest.mark.parametrize(
    ("checkout", "of", "news"),
    [
        (submitted(), event("LINES_REPLACED", version=1), False),
        (submitted(), event("LINES_REPLACED", version=2), True),
        (submitted(), event("LOCKED", "pay-1"), False),
        (submitted(), event("LOCKED", "phone-1"), True),
        (submitted(locked_by="phone-1"), event("LOCKED", "phone-1"), False),
        (submitted(locked_by="phone-1"), event("LOCKED", "phone-2"), True),
        (submitted(locked_by="phone-1"), event("LEASE_EXPIRED", "phone-1"), True),
        (submitted(locked_by="phone-1"), event("PAYMENT_CANCELED", "phone-1"), True),
        (submitted(), event("PAYMENT_CANCELED", "phone-1"), False),
        (submitted(), event("PAYMENT_CANCELED", "pay-1"), False),
        (in_state(S.PAYING), event("PAYMENT_CANCELED", "pay-1"), True),
        (in_state(S.PAYING), event("LEASE_EXPIRED", "pay-1"), True),
        (
            replace(in_state(S.PAYING), attempt=replace(attempt(), canceling=True)),
            event("LEASE_EXPIRED", "pay-1"),
            False,
        ),
        (in_state(S.PAYING), event("LEASE_EXPIRED", "phone-1"), False),
        (in_state(S.PAYING), event("LOCKED", "pay-1"), False),
        *(
            (in_state(state), event(kind), True)
            for state in (S.SUBMITTED, S.PAYING)
            for kind in ("CANCELED", "EXPIRED")
        ),
        *((in_state(state), event("PAID", "phone-1"), True) for state in (S.SUBMITTED, S.PAYING)),
        (in_state(S.SUBMITTED), event("COMPLETED_FREE"), True),
        *((in_state(state), event("PAID", "phone-1"), False) for state in (S.PAID, S.CANCELED)),
    ],
)
def test_what_is_news(checkout: Checkout, of: Event, news: bool) -> None:
    assert is_news(checkout, of) is news


async def test_an_order_is_read_once_for_all_its_events_of_an_answer(database_url: str, closed_port: str) -> None:
    async with opened(database_url, closed_port) as watch:
        await watch.has(submitted("c-1"), submitted("c-2"))
        watch.orders.orders = {
            "c-1": order(locked_by="phone-2", epoch=2, lease_remaining_ms=9),
            "c-2": order(order_id="c-2", version=2),
        }
        await watch.stream(
            answer(
                "next",
                event("LOCKED", "phone-1"),
                event("LINES_REPLACED", version=2, order_id="c-2"),
                event("PAYMENT_CANCELED", "phone-1"),
                event("LOCKED", "phone-2"),
                event("PAID", "phone-1", order_id="of another till"),
            )
        )
        assert sorted(watch.orders.read) == ["c-1", "c-2"]
        assert (await watch.checkout()).locked_by == "phone-2"
        assert (await watch.checkout("c-2")).order_version == 2
        assert await watch.cursor() == "next"
        history = await watch.database.run(lambda transaction: HISTORY.list(transaction, "c-1", None, 9))
        assert [(each.event, each.trace_id) for each in history][1:] == [("ORDER_LOCKED", "of the phone")]


async def test_who_drives_a_payment_is_poked_and_nothing_is_read(database_url: str, closed_port: str) -> None:
    async with opened(database_url, closed_port) as watch:
        await watch.has(in_state(S.PAYING))
        for kind in ("LOCKED", "PAID", "LEASE_EXPIRED", "PAYMENT_CANCELED"):
            await watch.stream(answer(f"after {kind}", event(kind, "pay-1")))
        assert watch.poked == ["pay-1"] * 3
        assert watch.orders.read == []


@pytest.mark.parametrize("failure", [Unanswered("away"), CommonReason.CONCURRENT_CHANGE()])
async def test_a_place_is_kept_only_once_all_before_it_is_taken_in(
    database_url: str, closed_port: str, failure: Exception
) -> None:
    async with opened(database_url, closed_port) as watch:
        await watch.has(submitted())
        watch.orders.orders["c-1"] = failure
        for _ in range(2):
            await watch.stream(answer("first"), answer("second", event("CANCELED")), answer("never"))
            assert await watch.cursor() == "first"
        watch.orders.orders["c-1"] = order(canceled=True)
        await watch.stream(answer("second", event("CANCELED")))
        assert (await watch.checkout()).state is S.CANCELED
        assert await watch.cursor() == "second"
        assert watch.orders.asked == ["known", "first", "first"]


@pytest.mark.parametrize(
    "failure", [Refusal(StatusCode.NOT_FOUND, "ORDER_NOT_FOUND", "There is none."), ValueError("a fault")]
)
async def test_an_order_that_cannot_be_taken_in_does_not_keep_the_others_from_it(
    database_url: str, closed_port: str, failure: Exception
) -> None:
    async with opened(database_url, closed_port) as watch:
        await watch.has(submitted("c-1"), submitted("c-2"))
        watch.orders.orders = {"c-1": failure, "c-2": order(order_id="c-2", canceled=True)}
        await watch.stream(answer("next", event("CANCELED"), event("CANCELED", order_id="c-2")))
        assert [(await watch.checkout(key)).state for key in ("c-1", "c-2")] == [S.SUBMITTED, S.CANCELED]
        assert await watch.cursor() == "next"


async def test_what_comes_before_the_answer_to_what_the_till_asked_is_read_after_it(
    database_url: str, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_watch, "BUSY_LOOK_S", 0.001)
    monkeypatch.setattr(order_watch, "BUSY_LOOKS", 1_000_000)
    async with opened(database_url, closed_port) as watch:
        await watch.has(submitted(unanswered="ask-1"))
        watch.orders.orders["c-1"] = order(canceled=True)
        following = asyncio.create_task(watch.stream(answer("next", event("CANCELED"))))
        await watch.orders.opened.wait()
        await watch.change(unanswered="")
        await following
        assert (await watch.checkout()).state is S.CANCELED


async def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(
    database_url: str, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_watch, "BUSY_LOOK_S", 0.001)
    async with opened(database_url, closed_port) as watch:
        await watch.has(submitted("c-1", unanswered="ask-1"), submitted("c-2"))
        watch.orders.orders = {"c-1": order(canceled=True), "c-2": order(order_id="c-2", canceled=True)}
        await watch.stream(answer("next", event("CANCELED"), event("CANCELED", order_id="c-2")))
        assert (await watch.checkout("c-2")).state is S.CANCELED
        assert await watch.cursor() == "next"


async def test_without_a_place_all_that_is_pending_is_read_once_before_one_is_kept(
    database_url: str, closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_watch, "PENDING_A_PAGE", 3)
    async with opened(database_url, closed_port, cursor="") as watch:
        pending = [f"c-{number}" for number in range(7)]
        paid = replace(in_state(S.PAID), checkout_id="c-paid")
        await watch.has(*map(submitted, pending), paid, replace(in_state(S.BASKET), checkout_id="c-basket"))
        watch.orders.orders = {key: order(order_id=key) for key in pending}
        watch.orders.orders["c-6"] = Unanswered("away")
        await watch.stream(answer("now"))
        assert await watch.cursor() == ""
        watch.orders.orders["c-6"] = order(order_id="c-6", canceled=True)
        watch.orders.read.clear()
        await watch.stream(answer("now"), answer("then"))
        assert sorted(watch.orders.read) == pending
        assert await watch.cursor() == "then"
        assert (await watch.checkout("c-6")).state is S.CANCELED


async def test_a_place_that_is_no_longer_there_is_given_up(database_url: str, closed_port: str) -> None:
    async with opened(database_url, closed_port) as watch:
        await watch.stream(CommonReason.CURSOR_EXPIRED())
        assert await watch.cursor() == ""


async def test_an_order_service_that_is_away_is_asked_ever_less_often(database_url: str, closed_port: str) -> None:
    async with opened(database_url, closed_port) as watch:
        rests = [await watch.stream(Unanswered("away")) for _ in range(200)]
        assert max(rests[:3]) < 1 < max(rests) <= REST_S_MAX
        assert len(set(rests)) == len(rests)
        assert await watch.stream(answer("known")) < 1  # it was heard
