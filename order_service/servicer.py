"""Protobuf to model and back, nothing else."""

import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from order_service import operations, queries
from order_service.lifecycle import OrderState
from order_service.messages import to_event, to_order, to_payment, to_version
from order_service.model import Consent, NewOrder, Order, OrderPayment
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.auth.callers import Role, acting_role, actor, require_store
from tillmesh.line_rows import SALT_BYTES
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import order_lines
from tillmesh.rpc.messages import from_duration, state_names
from tillmesh.rpc.servicer import Servicer
from tillmesh.rpc.streams import Streams
from tillmesh.runtime.ids import new_transaction_number
from tillmesh.storage.feeds import EVERYTHING, Only
from tillmesh.storage.requests import answer_once
from tillmesh.storage.statements import Row

_Ending = api.CancelOrderRequest | api.CompleteFreeOrderRequest
_Change = api.CreateOrderRequest | api.ReplaceOrderLinesRequest | _Ending
_Effect = Callable[..., Order]


@dataclass(frozen=True)
class OrderServicer(Servicer):
    """tillmesh.api.order.v1.OrderService."""

    rng: random.Random
    lease_max_ms: int
    streams: Streams

    async def CreateOrder(self, request: api.CreateOrderRequest) -> order_pb2.Order:
        """Raises a pending transaction."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            fields.identifier("order_id", request.order_id, optional=True)
            fields.identifier("store_id", request.store_id)
            payer = fields.payer("payer", request.payer)
            fields.currency("currency_code", request.currency_code)
            taxed = request.prices_include_tax
            lines, _ = order_lines(fields, request.lines, prices_include_tax=taxed, actor=_price_setter())
            labels = fields.labels("labels", request.labels)
            origin = fields.origin(request.terminal_id, request.lane, request.cashier_id)
        order_id = request.order_id or new_transaction_number(self.rng)
        new = NewOrder(order_id, request.store_id, payer, request.currency_code, lines, taxed, labels, origin)
        return await self._change(request, order_id, operations.create_order, new=new, salt=self._salt())

    async def GetOrder(self, request: api.GetOrderRequest) -> order_pb2.Order:
        """Reads one order."""
        order = await self.database.run(operations.get_order, request.order_id)
        return self._order(order)

    async def GetOrderVersion(self, request: api.GetOrderVersionRequest) -> order_pb2.OrderVersion:
        """Reads one version of an order."""
        version = await self.database.run(operations.get_version, request.order_id, request.version)
        return to_version(version)

    async def ListOrders(self, request: api.ListOrdersRequest) -> api.ListOrdersResponse:
        """Lists orders, newest first."""
        states = [OrderState(name) for name in state_names(order_pb2.Order.State, request.states)]
        with Fields() as fields:
            payer = fields.payer_filter(request)
        require_store(request.store_id or None)
        filters = request.store_id, payer, states
        shown, token, cursor = await self._found_to_watch(
            self.streams, request, queries.list_orders, self._order, *filters
        )
        return api.ListOrdersResponse(orders=shown, next_page_token=token, cursor=cursor)

    async def ReplaceOrderLines(self, request: api.ReplaceOrderLinesRequest) -> order_pb2.Order:
        """Replaces the lines in place."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            fields.positive("version", request.version)
            # Whether taxes come on top, the order says: what it comes to then, the operation checks.
            lines, _ = order_lines(fields, request.lines, prices_include_tax=True, actor=_price_setter())
        return await self._change(
            request,
            request.order_id,
            operations.replace_lines,
            order_id=request.order_id,
            version=request.version,
            lines=lines,
            salt=self._salt(),
        )

    async def CancelOrder(self, request: api.CancelOrderRequest) -> order_pb2.Order:
        """Withdraws the order."""
        return await self._end(request, operations.cancel_order)

    async def CompleteFreeOrder(self, request: api.CompleteFreeOrderRequest) -> order_pb2.Order:
        """Completes an order that comes to 0."""
        return await self._end(request, operations.complete_free_order)

    async def LockOrder(self, request: api.LockOrderRequest) -> order_payment_pb2.OrderPayment:
        """Locks the order for one payment."""
        with Fields() as fields:
            fields.identifier("payment_id", request.payment_id)
            fields.identifier("order_id", request.order_id)
            payer = fields.payer("payer", request.payer)
            fields.positive("order_version", request.order_version)
            amount = fields.money("amount", request.amount, minimum=0)  # 0 is REFUSED, for good
            lease_ms = fields.positive("lease", from_duration(request.lease))
            fields.identifier("store_id", request.store_id, optional=True)
        consent = Consent(request.order_id, request.store_id, payer, request.order_version, amount)
        now_ms = self.clock.now_ms()
        payment, order = await self.database.run(
            operations.lock_order,
            payment_id=request.payment_id,
            consent=consent,
            lease_ms=min(lease_ms, self.lease_max_ms),
            now_ms=now_ms,
        )
        return self._payment(payment, order)

    async def CompleteOrderPayment(self, request: api.CompleteOrderPaymentRequest) -> order_payment_pb2.OrderPayment:
        """The commit point of a payment."""
        with Fields() as fields:
            fields.identifier("payment_id", request.payment_id)
            fields.identifier("order_id", request.order_id)
            fields.positive("epoch", request.epoch)
        now_ms = self.clock.now_ms()
        payment, order = await self.database.run(
            operations.complete_order_payment,
            payment_id=request.payment_id,
            order_id=request.order_id,
            epoch=request.epoch,
            now_ms=now_ms,
        )
        return self._payment(payment, order)

    async def CancelOrderPayment(self, request: api.CancelOrderPaymentRequest) -> order_payment_pb2.OrderPayment:
        """Ends a payment attempt."""
        with Fields() as fields:
            fields.identifier("payment_id", request.payment_id)
            fields.identifier("order_id", request.order_id)
        now_ms = self.clock.now_ms()
        payment, order = await self.database.run(
            operations.cancel_order_payment, payment_id=request.payment_id, order_id=request.order_id, now_ms=now_ms
        )
        return self._payment(payment, order)

    async def ListOrderEvents(self, request: api.ListOrderEventsRequest) -> api.ListOrderEventsResponse:
        """Lists an order's history."""
        shown, token = await self._listed(
            request, operations.list_events, lambda entry: (entry.number,), to_event, request.order_id
        )
        return api.ListOrderEventsResponse(events=shown, next_page_token=token)

    async def WatchOrders(self, request: api.WatchOrdersRequest) -> AsyncGenerator[api.WatchOrdersResponse]:
        """Sends what happens to orders."""
        require_store(request.store_id or None)
        only = Only("store_id", request.store_id) if request.store_id else EVERYTHING
        async with aclosing(self._watched(self.streams, request, only, order_pb2.OrderEvent.Type)) as answers:
            async for rows, cursor in answers:
                wanted = () if request.events_only else rows
                orders = await self.streams.read(queries.orders_of, wanted) if wanted else {}
                updates = [self._update(row, orders.get(row["order_id"])) for row in rows]
                yield api.WatchOrdersResponse(updates=updates, cursor=cursor)

    async def _change(self, request: _Change, resource: str, change: _Effect, **what: object) -> order_pb2.Order:
        """Changes an order once for the request's id; a repeat gets the order as it is now."""
        key = self._key(request, request.request_id)
        changing = partial(change, **what, now_ms=key.at_ms)
        return self._order(await answer_once(self.database, key, resource, operations.get_order, changing))

    async def _end(self, request: _Ending, end: _Effect) -> order_pb2.Order:
        """Ends an order that is as the caller read it."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            fields.positive("version", request.version)
        return await self._change(request, request.order_id, end, order_id=request.order_id, version=request.version)

    def _update(self, row: Row, order: Order | None) -> api.OrderUpdate:
        event = to_event(queries.HISTORY.entry(row))
        return api.OrderUpdate(event=event, order=self._order(order) if order else None)

    def _order(self, order: Order) -> order_pb2.Order:
        return to_order(order, self.clock.now_ms())

    def _payment(self, payment: OrderPayment, order: Order | None) -> order_payment_pb2.OrderPayment:
        return to_payment(payment, order, self.clock.now_ms())

    def _salt(self) -> bytes:
        return self.rng.randbytes(SALT_BYTES)


def _price_setter() -> str | None:
    """The actor of price overrides. None believes the lines: a store terminal knows which device asked it."""
    return None if acting_role() in (None, Role.TERMINAL) else actor()
