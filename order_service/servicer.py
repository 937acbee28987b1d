"""Protobuf to model and back, nothing else."""

import random
from collections.abc import Callable
from functools import partial

from order_service import operations, queries
from order_service.lifecycle import OrderState
from order_service.messages import to_event, to_order, to_payment, to_version
from order_service.model import Consent, NewOrder, Order, OrderChange, OrderPayment
from order_service.queries import HISTORY
from order_service.tables import REQUESTS
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.auth.callers import Role, acting_role, actor, require_store
from tillmesh.line_rows import SALT_BYTES
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import order_lines
from tillmesh.rpc.messages import from_duration, state_names
from tillmesh.rpc.paging import Page
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.ids import new_transaction_number
from tillmesh.storage.database import Database
from tillmesh.storage.requests import IdempotencyKey
from tillmesh.storage.statements import Transaction

_Change = api.CreateOrderRequest | api.ReplaceOrderLinesRequest | api.CancelOrderRequest | api.CompleteFreeOrderRequest
_Effect = Callable[[Transaction], Order]


class OrderServicer:
    """tillmesh.api.order.v1.OrderService."""

    def __init__(self, database: Database, clock: Clock, rng: random.Random, lease_max_ms: int) -> None:
        self._database = database
        self._clock = clock
        self._rng = rng
        self._lease_max_ms = lease_max_ms

    async def CreateOrder(self, request: api.CreateOrderRequest) -> order_pb2.Order:
        """Raises a pending transaction."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.identifier("order_id", request.order_id, optional=True)
        fields.identifier("store_id", request.store_id)
        payer = fields.payer("payer", request.payer)
        fields.currency("currency_code", request.currency_code)
        taxed = request.prices_include_tax
        lines, _ = order_lines(fields, request.lines, prices_include_tax=taxed, actor=_price_setter())
        labels = fields.labels("labels", request.labels)
        origin = fields.origin(request.terminal_id, request.lane, request.cashier_id)
        fields.check()
        order_id = request.order_id or new_transaction_number(self._rng)
        new = NewOrder(order_id, request.store_id, payer, request.currency_code, lines, taxed, labels, origin)
        salt, now_ms = self._salt(), self._clock.now_ms()
        return await self._once(
            request, order_id, now_ms, partial(operations.create_order, new=new, salt=salt, now_ms=now_ms)
        )

    async def GetOrder(self, request: api.GetOrderRequest) -> order_pb2.Order:
        """Reads one order."""
        order = await self._database.run(operations.get_order, request.order_id)
        return self._order(order)

    async def GetOrderVersion(self, request: api.GetOrderVersionRequest) -> order_pb2.OrderVersion:
        """Reads one version of an order."""
        version = await self._database.run(operations.get_version, request.order_id, request.version)
        return to_version(version)

    async def ListOrders(self, request: api.ListOrdersRequest) -> api.ListOrdersResponse:
        """Lists orders, newest first."""
        states = [OrderState(name) for name in state_names(order_pb2.Order.State, request.states)]
        fields = Fields()
        payer = fields.payer_filter(request)
        fields.check()
        require_store(request.store_id or None)
        filters = ["ListOrders", request.store_id, payer, states]
        page = Page[Order](self._database.seal, request.page_size, request.page_token, filters)
        rows = await self._database.run(
            queries.list_orders,
            store_id=request.store_id,
            payer=payer,
            states=states,
            before=page.after,
            at_most=page.at_most,
        )
        shown, token = page.cut(rows, lambda order: [order.created_at_ms, order.order_id], self._order)
        return api.ListOrdersResponse(orders=shown, next_page_token=token)

    async def ReplaceOrderLines(self, request: api.ReplaceOrderLinesRequest) -> order_pb2.Order:
        """Replaces the lines in place."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.positive("version", request.version)
        # Whether taxes come on top, the order says: what it comes to then, the operation checks.
        lines, _ = order_lines(fields, request.lines, prices_include_tax=True, actor=_price_setter())
        fields.check()
        salt, now_ms = self._salt(), self._clock.now_ms()
        change = partial(
            operations.replace_lines,
            order_id=request.order_id,
            version=request.version,
            lines=lines,
            salt=salt,
            now_ms=now_ms,
        )
        return await self._once(request, request.order_id, now_ms, change)

    async def CancelOrder(self, request: api.CancelOrderRequest) -> order_pb2.Order:
        """Withdraws the order."""
        _check_change(request)
        now_ms = self._clock.now_ms()
        change = partial(operations.cancel_order, order_id=request.order_id, version=request.version, now_ms=now_ms)
        return await self._once(request, request.order_id, now_ms, change)

    async def CompleteFreeOrder(self, request: api.CompleteFreeOrderRequest) -> order_pb2.Order:
        """Completes an order that comes to 0."""
        _check_change(request)
        now_ms = self._clock.now_ms()
        change = partial(
            operations.complete_free_order, order_id=request.order_id, version=request.version, now_ms=now_ms
        )
        return await self._once(request, request.order_id, now_ms, change)

    async def LockOrder(self, request: api.LockOrderRequest) -> order_payment_pb2.OrderPayment:
        """Locks the order for one payment."""
        fields = Fields()
        fields.identifier("payment_id", request.payment_id)
        fields.identifier("order_id", request.order_id)
        payer = fields.payer("payer", request.payer)
        fields.positive("order_version", request.order_version)
        amount = fields.money("amount", request.amount, minimum=0)  # 0 is REFUSED, for good
        lease_ms = fields.positive("lease", from_duration(request.lease))
        fields.identifier("store_id", request.store_id, optional=True)
        fields.check()
        consent = Consent(request.order_id, request.store_id, payer, request.order_version, amount)
        now_ms = self._clock.now_ms()
        payment, order = await self._database.run(
            operations.lock_order,
            payment_id=request.payment_id,
            consent=consent,
            lease_ms=min(lease_ms, self._lease_max_ms),
            now_ms=now_ms,
        )
        return self._payment(payment, order)

    async def CompleteOrderPayment(self, request: api.CompleteOrderPaymentRequest) -> order_payment_pb2.OrderPayment:
        """The commit point of a payment."""
        fields = Fields()
        fields.identifier("payment_id", request.payment_id)
        fields.identifier("order_id", request.order_id)
        fields.positive("epoch", request.epoch)
        fields.check()
        now_ms = self._clock.now_ms()
        payment, order = await self._database.run(
            operations.complete_order_payment,
            payment_id=request.payment_id,
            order_id=request.order_id,
            epoch=request.epoch,
            now_ms=now_ms,
        )
        return self._payment(payment, order)

    async def CancelOrderPayment(self, request: api.CancelOrderPaymentRequest) -> order_payment_pb2.OrderPayment:
        """Ends a payment attempt."""
        fields = Fields()
        fields.identifier("payment_id", request.payment_id)
        fields.identifier("order_id", request.order_id)
        fields.check()
        now_ms = self._clock.now_ms()
        payment, order = await self._database.run(
            operations.cancel_order_payment, payment_id=request.payment_id, order_id=request.order_id, now_ms=now_ms
        )
        return self._payment(payment, order)

    async def ListOrderEvents(self, request: api.ListOrderEventsRequest) -> api.ListOrderEventsResponse:
        """Lists an order's history."""
        filters = ["ListOrderEvents", request.order_id]
        page = Page[OrderChange](self._database.seal, request.page_size, request.page_token, filters)

        def read(transaction: Transaction) -> list[OrderChange]:
            operations.get_order(transaction, request.order_id)
            return HISTORY.list(transaction, request.order_id, page.after[0] if page.after else 0, page.at_most)

        shown, token = page.cut(await self._database.run(read), lambda entry: [entry.number], to_event)
        return api.ListOrderEventsResponse(events=shown, next_page_token=token)

    async def _once(self, request: _Change, order_id: str, now_ms: int, change: _Effect) -> order_pb2.Order:
        """Changes an order once for the request's id; a repeat gets the order as it is now."""
        key = IdempotencyKey.of(request, request.request_id, now_ms)
        return self._order(await REQUESTS.answer_once(self._database, key, order_id, operations.get_order, change))

    def _order(self, order: Order) -> order_pb2.Order:
        return to_order(order, self._clock.now_ms())

    def _payment(self, payment: OrderPayment, order: Order | None) -> order_payment_pb2.OrderPayment:
        return to_payment(payment, order, self._clock.now_ms())

    def _salt(self) -> bytes:
        return self._rng.randbytes(SALT_BYTES)


def _check_change(request: api.CancelOrderRequest | api.CompleteFreeOrderRequest) -> None:
    fields = Fields()
    fields.identifier("request_id", request.request_id)
    fields.positive("version", request.version)
    fields.check()


def _price_setter() -> str | None:
    """The actor of price overrides. None believes the lines: a store terminal knows which device asked it."""
    return None if acting_role() in (None, Role.TERMINAL) else actor()
