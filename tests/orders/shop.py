"""The order service in this process: its own classes on a real file, by a clock that the test moves."""

import random
from collections.abc import Sequence
from typing import Any

from google.protobuf import duration_pb2

from order_service.servicer import OrderServicer
from order_service.sweeper import Sweeper
from order_service.tables import METADATA
from tests.clocks import ManualClock
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.database import open_database
from tillmesh.runtime.ids import new_request_id

LEASE_MAX_MS = 600_000
LEASE_MS = 60_000
TEA = (LineItem(sku="TEA", title="Tea", quantity=2, unit_price_minor=125),)
TEA_MINOR = 250
COFFEE = (LineItem(sku="COFFEE", title="Coffee", quantity=1, unit_price_minor=400),)


class Shop:
    """Calls the service as a till and a payment server do; what a test does not care for has a default."""

    def __init__(self, database_url: str, clock: ManualClock) -> None:
        self.clock = clock
        self.database = open_database(database_url, METADATA)
        self.service = OrderServicer(self.database, clock, random.Random(1), LEASE_MAX_MS)
        self.sweeper = Sweeper(self.database, clock)

    async def create(
        self,
        order_id: str = "o-1",
        lines: Sequence[LineItem] = TEA,
        *,
        request_id: str = "",
        store_id: str = "store-1",
        payer_id: str = "payer-1",
        currency: str = "GBP",
    ) -> order_pb2.Order:
        request = api.CreateOrderRequest(
            request_id=request_id or new_request_id(),
            order_id=order_id,
            store_id=store_id,
            payer_id=payer_id,
            currency_code=currency,
            lines=lines,
        )
        return await self.service.CreateOrder(request)

    async def order(self, order_id: str = "o-1") -> order_pb2.Order:
        return await self.service.GetOrder(api.GetOrderRequest(order_id=order_id))

    async def update(
        self, version: int, lines: Sequence[LineItem] = COFFEE, order_id: str = "o-1", request_id: str = ""
    ) -> order_pb2.Order:
        request = api.UpdateOrderRequest(
            request_id=request_id or new_request_id(), order_id=order_id, version=version, lines=lines
        )
        return await self.service.UpdateOrder(request)

    async def cancel(self, version: int, order_id: str = "o-1", request_id: str = "") -> order_pb2.Order:
        request = api.CancelOrderRequest(request_id=request_id or new_request_id(), order_id=order_id, version=version)
        return await self.service.CancelOrder(request)

    async def lock(
        self,
        payment_id: str,
        *,
        order_id: str = "o-1",
        version: int = 1,
        minor: int = TEA_MINOR,
        currency: str = "GBP",
        payer_id: str = "payer-1",
        lease_ms: int = LEASE_MS,
    ) -> order_pb2.OrderPayment:
        lease = duration_pb2.Duration()
        lease.FromMilliseconds(lease_ms)
        request = api.LockOrderRequest(
            payment_id=payment_id,
            order_id=order_id,
            payer_id=payer_id,
            order_version=version,
            amount=Money(currency_code=currency, minor_units=minor),
            lease=lease,
        )
        return await self.service.LockOrder(request)

    async def complete(self, payment_id: str, epoch: int, order_id: str = "o-1") -> order_pb2.OrderPayment:
        request = api.CompleteOrderPaymentRequest(payment_id=payment_id, order_id=order_id, epoch=epoch)
        return await self.service.CompleteOrderPayment(request)

    async def cancel_payment(self, payment_id: str, order_id: str = "o-1") -> order_pb2.OrderPayment:
        request = api.CancelOrderPaymentRequest(payment_id=payment_id, order_id=order_id)
        return await self.service.CancelOrderPayment(request)

    async def history(self, order_id: str = "o-1") -> list[order_pb2.OrderEvent]:
        answer = await self.service.ListOrderEvents(api.ListOrderEventsRequest(order_id=order_id, page_size=200))
        return list(answer.events)

    async def events(self, order_id: str = "o-1") -> list[str]:
        return [entry.event for entry in await self.history(order_id)]

    async def sweep(self) -> int:
        return await self.sweeper.sweep()


def state(record: order_pb2.Order | order_pb2.OrderPayment) -> str:
    """The state's name as the tables spell it."""
    states: Any = type(record).State
    return str(states.Name(record.state)).removeprefix("STATE_")
