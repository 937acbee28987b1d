"""The order service in this process: its own classes on a real file, by a clock that the test moves."""

import random
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from google.protobuf import duration_pb2

from order_service.queries import FEED
from order_service.servicer import OrderServicer
from order_service.sweeper import Sweeper
from order_service.tables import METADATA
from tests.clocks import ManualClock
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import MESH, caller, parse_uri
from tillmesh.rpc.streams import Streams
from tillmesh.runtime.clock import DAY_MS
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage.database import open_database

LEASE_MAX_MS = 600_000
LEASE_MS = 60_000
OPEN_MAX_MS = 30 * DAY_MS
SERVER = "spiffe://tillmesh/orders/o1"


def line(sku: str, quantity: int, minor: int, title: str = "", **others: Any) -> LineItem:
    """A line as the service shows it: with everything that a request may leave out."""
    known: dict[str, Any] = {
        "kind": LineItem.KIND_GOODS,
        "unit": LineItem.UNIT_PIECE,
        "price_quantity": 1,
        "price_source": LineItem.PRICE_SOURCE_CATALOGUE,
        "amount_minor": quantity * minor,
    }
    return LineItem(sku=sku, title=title, quantity=quantity, unit_price_minor=minor, **(known | others))


TEA = (line("TEA", 2, 125, "Tea"),)
TEA_MINOR = 250
COFFEE = (line("COFFEE", 1, 400, "Coffee"),)
GIFT = (line("GIFT", 1, 0, "Gift"),)
PAYER = Payer(identity_id="payer-1")
REFERENCE = Payer(reference="0b5ad3a5-4e5d-4d4f-9f1c-2f6d7a1f1a01")


class Shop:
    """Calls the service as a till and a payment server do; what a test does not care for has a default."""

    def __init__(self, database_url: str, clock: ManualClock) -> None:
        self.clock = clock
        self.database = open_database(database_url, METADATA)
        self.streams = Streams(self.database, FEED, clock, random.Random(1))
        self.service = OrderServicer(self.database, clock, random.Random(1), LEASE_MAX_MS, self.streams)
        self.sweeper = Sweeper(self.database, clock, SERVER, OPEN_MAX_MS)

    async def create(
        self,
        order_id: str = "o-1",
        lines: Sequence[LineItem] = TEA,
        *,
        request_id: str = "",
        store_id: str = "store-1",
        payer: Payer = PAYER,
        currency: str = "GBP",
        prices_include_tax: bool = False,
        labels: Mapping[str, str] | None = None,
        terminal_id: str = "",
        lane: str = "",
        cashier_id: str = "",
    ) -> order_pb2.Order:
        request = api.CreateOrderRequest(
            request_id=request_id or new_request_id(),
            order_id=order_id,
            store_id=store_id,
            payer=payer,
            currency_code=currency,
            lines=lines,
            prices_include_tax=prices_include_tax,
            labels=labels,
            terminal_id=terminal_id,
            lane=lane,
            cashier_id=cashier_id,
        )
        return await self.service.CreateOrder(request)

    async def order(self, order_id: str = "o-1") -> order_pb2.Order:
        return await self.service.GetOrder(api.GetOrderRequest(order_id=order_id))

    async def version(self, version: int, order_id: str = "o-1") -> order_pb2.OrderVersion:
        return await self.service.GetOrderVersion(api.GetOrderVersionRequest(order_id=order_id, version=version))

    async def replace_lines(
        self, version: int, lines: Sequence[LineItem] = COFFEE, order_id: str = "o-1", request_id: str = ""
    ) -> order_pb2.Order:
        request = api.ReplaceOrderLinesRequest(
            request_id=request_id or new_request_id(), order_id=order_id, version=version, lines=lines
        )
        return await self.service.ReplaceOrderLines(request)

    async def cancel(self, version: int, order_id: str = "o-1", request_id: str = "") -> order_pb2.Order:
        request = api.CancelOrderRequest(request_id=request_id or new_request_id(), order_id=order_id, version=version)
        return await self.service.CancelOrder(request)

    async def complete_free(self, version: int, order_id: str = "o-1", request_id: str = "") -> order_pb2.Order:
        request = api.CompleteFreeOrderRequest(
            request_id=request_id or new_request_id(), order_id=order_id, version=version
        )
        return await self.service.CompleteFreeOrder(request)

    async def lock(
        self,
        payment_id: str,
        *,
        order_id: str = "o-1",
        version: int = 1,
        minor: int = TEA_MINOR,
        currency: str = "GBP",
        payer: Payer = PAYER,
        lease_ms: int = LEASE_MS,
    ) -> order_payment_pb2.OrderPayment:
        lease = duration_pb2.Duration()
        lease.FromMilliseconds(lease_ms)
        request = api.LockOrderRequest(
            payment_id=payment_id,
            order_id=order_id,
            payer=payer,
            order_version=version,
            amount=Money(currency_code=currency, minor_units=minor),
            lease=lease,
        )
        return await self.service.LockOrder(request)

    async def complete(self, payment_id: str, epoch: int, order_id: str = "o-1") -> order_payment_pb2.OrderPayment:
        request = api.CompleteOrderPaymentRequest(payment_id=payment_id, order_id=order_id, epoch=epoch)
        return await self.service.CompleteOrderPayment(request)

    async def cancel_payment(self, payment_id: str, order_id: str = "o-1") -> order_payment_pb2.OrderPayment:
        request = api.CancelOrderPaymentRequest(payment_id=payment_id, order_id=order_id)
        return await self.service.CancelOrderPayment(request)

    async def history(self, order_id: str = "o-1") -> list[order_pb2.OrderEvent]:
        answer = await self.service.ListOrderEvents(api.ListOrderEventsRequest(order_id=order_id, page_size=200))
        return list(answer.events)

    async def events(self, order_id: str = "o-1") -> list[str]:
        return [event_name(entry) for entry in await self.history(order_id)]

    async def sweep(self) -> int:
        return await self.sweeper.sweep()

    async def expire(self) -> int:
        return await self.sweeper.expire()


@contextmanager
def acting(uri: str) -> Iterator[None]:
    """Within this context a certificate's URI calls; empty is nobody, as in a server without certificates."""
    token = caller.set(parse_uri(uri, MESH) if uri else None)
    try:
        yield
    finally:
        caller.reset(token)


def state(record: order_pb2.Order | order_payment_pb2.OrderPayment) -> str:
    """The state's name as the tables spell it."""
    states: Any = type(record).State
    return str(states.Name(record.state)).removeprefix("STATE_")


def event_name(entry: order_pb2.OrderEvent) -> str:
    """The event's name as the tables spell it."""
    return order_pb2.OrderEvent.Type.Name(entry.type).removeprefix("TYPE_")


async def refused_fields(call: Awaitable[object]) -> list[str]:
    """The fields that a call is refused for."""
    with pytest.raises(Refusal) as raised:
        await call
    assert raised.value.reason == "INVALID_FIELD"
    return [violation.field for violation in raised.value.violations]
