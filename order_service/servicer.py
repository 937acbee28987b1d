"""Protobuf to model and back, nothing else."""

import random
from collections.abc import Callable, Sequence

from order_service import operations, store
from order_service.lifecycle import OrderState, PaymentState
from order_service.model import LINES_MAX, Consent, HistoryEntry, LineItem, Order, OrderPayment, total_minor
from order_service.tables import REQUESTS
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.callers import require_store
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.convert import from_duration, state_names, to_duration, to_money, to_timestamp
from tillmesh.runtime.database import Database
from tillmesh.runtime.fields import Fields
from tillmesh.runtime.ids import new_transaction_number
from tillmesh.runtime.money import MINOR_UNITS_MAX
from tillmesh.runtime.paging import Page
from tillmesh.runtime.requests import Request
from tillmesh.runtime.statements import Connection


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
        fields.identifier("payer_id", request.payer_id)
        fields.currency("currency_code", request.currency_code)
        lines = _lines(fields, request.lines)
        fields.check()
        order_id = request.order_id or new_transaction_number(self._rng)
        now_ms = self._clock.now_ms()
        return await self._once(
            request,
            lambda connection: operations.create_order(
                connection,
                order_id=order_id,
                store_id=request.store_id,
                payer_id=request.payer_id,
                currency=request.currency_code,
                lines=lines,
                now_ms=now_ms,
            ),
        )

    async def GetOrder(self, request: api.GetOrderRequest) -> order_pb2.Order:
        """Reads one order."""
        order = await self._database.run(lambda connection: operations.get_order(connection, request.order_id))
        return self._order(order)

    async def ListOrders(self, request: api.ListOrdersRequest) -> api.ListOrdersResponse:
        """Lists orders, newest first."""
        states = [OrderState(name) for name in state_names(order_pb2.Order.State, request.states)]
        require_store(request.store_id or None)
        filters = [request.store_id, request.payer_id, states]
        page = Page[Order](request.page_size, request.page_token, filters, [int, str])
        rows = await self._database.run(
            lambda connection: store.list_orders(
                connection,
                store_id=request.store_id,
                payer_id=request.payer_id,
                states=states,
                before=page.after,
                at_most=page.at_most,
            )
        )
        shown, token = page.cut(
            rows, lambda order: [order.created_at_ms, order.order_id], lambda order: len(order.lines)
        )
        return api.ListOrdersResponse(orders=[self._order(order) for order in shown], next_page_token=token)

    async def UpdateOrder(self, request: api.UpdateOrderRequest) -> order_pb2.Order:
        """Changes the lines in place."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.positive("version", request.version)
        lines = _lines(fields, request.lines)
        fields.check()
        now_ms = self._clock.now_ms()
        return await self._once(
            request,
            lambda connection: operations.update_order(
                connection, order_id=request.order_id, version=request.version, lines=lines, now_ms=now_ms
            ),
        )

    async def CancelOrder(self, request: api.CancelOrderRequest) -> order_pb2.Order:
        """Withdraws the order."""
        fields = Fields()
        fields.identifier("request_id", request.request_id)
        fields.positive("version", request.version)
        fields.check()
        now_ms = self._clock.now_ms()
        return await self._once(
            request,
            lambda connection: operations.cancel_order(
                connection, order_id=request.order_id, version=request.version, now_ms=now_ms
            ),
        )

    async def LockOrder(self, request: api.LockOrderRequest) -> order_pb2.OrderPayment:
        """Locks the order for one payment."""
        fields = Fields()
        fields.identifier("payment_id", request.payment_id)
        fields.identifier("order_id", request.order_id)
        fields.identifier("payer_id", request.payer_id)
        fields.positive("order_version", request.order_version)
        amount = fields.money("amount", request.amount)
        lease_ms = fields.positive("lease", from_duration(request.lease))
        fields.identifier("store_id", request.store_id, optional=True)
        fields.check()
        consent = Consent(request.order_id, request.store_id, request.payer_id, request.order_version, amount)
        now_ms = self._clock.now_ms()
        payment, order = await self._database.run(
            lambda connection: operations.lock_order(
                connection,
                payment_id=request.payment_id,
                consent=consent,
                lease_ms=min(lease_ms, self._lease_max_ms),
                now_ms=now_ms,
            )
        )
        return self._payment(payment, order)

    async def CompleteOrderPayment(self, request: api.CompleteOrderPaymentRequest) -> order_pb2.OrderPayment:
        """The commit point of a payment."""
        fields = Fields()
        fields.identifier("payment_id", request.payment_id)
        fields.identifier("order_id", request.order_id)
        fields.positive("epoch", request.epoch)
        fields.check()
        now_ms = self._clock.now_ms()
        payment, order = await self._database.run(
            lambda connection: operations.complete_order_payment(
                connection,
                payment_id=request.payment_id,
                order_id=request.order_id,
                epoch=request.epoch,
                now_ms=now_ms,
            )
        )
        return self._payment(payment, order)

    async def CancelOrderPayment(self, request: api.CancelOrderPaymentRequest) -> order_pb2.OrderPayment:
        """Ends a payment attempt."""
        fields = Fields()
        fields.identifier("payment_id", request.payment_id)
        fields.identifier("order_id", request.order_id)
        fields.check()
        now_ms = self._clock.now_ms()
        payment, order = await self._database.run(
            lambda connection: operations.cancel_order_payment(
                connection, payment_id=request.payment_id, order_id=request.order_id, now_ms=now_ms
            )
        )
        return self._payment(payment, order)

    async def ListOrderEvents(self, request: api.ListOrderEventsRequest) -> api.ListOrderEventsResponse:
        """Lists an order's history."""
        page = Page[HistoryEntry](request.page_size, request.page_token, [request.order_id], [int])

        def read(connection: Connection) -> list[HistoryEntry]:
            operations.get_order(connection, request.order_id)
            return store.list_history(connection, request.order_id, page.after[0] if page.after else 0, page.at_most)

        shown, token = page.cut(await self._database.run(read), lambda entry: [entry.number])
        return api.ListOrderEventsResponse(events=[_event(entry) for entry in shown], next_page_token=token)

    async def _once(self, request: Request, operation: Callable[[Connection], Order]) -> order_pb2.Order:
        """Runs an operation once for its request id."""
        return await REQUESTS.run(
            self._database,
            request,
            lambda connection: REQUESTS.once(
                connection, request, order_pb2.Order, lambda: self._order(operation(connection))
            ),
        )

    def _order(self, order: Order) -> order_pb2.Order:
        message = order_pb2.Order(
            order_id=order.order_id,
            store_id=order.store_id,
            payer_id=order.payer_id,
            lines=[_line(line) for line in order.lines],
            amount=to_money(order.amount),
            version=order.version,
            state=order_pb2.Order.State.Value(f"STATE_{order.state}"),
            epoch=order.epoch,
            payment_id=order.payment_id,
            create_time=to_timestamp(order.created_at_ms),
            update_time=to_timestamp(order.updated_at_ms),
        )
        if order.state is OrderState.LOCKED:
            message.lease_remaining.CopyFrom(to_duration(order.lease_remaining_ms(self._clock.now_ms())))
        return message

    def _payment(self, payment: OrderPayment, order: Order | None) -> order_pb2.OrderPayment:
        message = order_pb2.OrderPayment(
            payment_id=payment.payment_id,
            order_id=payment.order_id,
            state=order_pb2.OrderPayment.State.Value(f"STATE_{payment.state}"),
            reason=payment.reason,
            epoch=payment.epoch,
            store_id=payment.store_id,
        )
        if payment.consent:
            message.order_version = payment.consent.order_version
            message.amount.CopyFrom(to_money(payment.consent.amount))
        if payment.state is PaymentState.HELD and order:
            message.lease_remaining.CopyFrom(to_duration(order.lease_remaining_ms(self._clock.now_ms())))
        return message


def _lines(fields: Fields, messages: Sequence[line_item_pb2.LineItem]) -> tuple[LineItem, ...]:
    fields.require(1 <= len(messages) <= LINES_MAX, "lines", f"must be 1 to {LINES_MAX}, were {len(messages)}")
    lines = tuple(LineItem(line.sku, line.title, line.quantity, line.unit_price_minor) for line in messages[:LINES_MAX])
    for index, line in enumerate(lines):
        name = f"lines[{index}]"
        fields.text(f"{name}.sku", line.sku, length_min=1, length_max=64)
        fields.text(f"{name}.title", line.title, length_max=256)
        fields.require(line.quantity != 0, f"{name}.quantity", "must not be 0")
        fields.in_range(f"{name}.quantity", line.quantity)
        fields.in_range(f"{name}.unit_price_minor", line.unit_price_minor)
    total = total_minor(lines)
    fields.require(0 <= total <= MINOR_UNITS_MAX, "lines", f"must sum to 0 to {MINOR_UNITS_MAX}, summed to {total}")
    return lines


def _line(line: LineItem) -> line_item_pb2.LineItem:
    return line_item_pb2.LineItem(
        sku=line.sku, title=line.title, quantity=line.quantity, unit_price_minor=line.unit_price_minor
    )


def _event(entry: HistoryEntry) -> order_pb2.OrderEvent:
    return order_pb2.OrderEvent(
        order_id=entry.order_id,
        number=entry.number,
        event=entry.event,
        from_state=order_pb2.Order.State.Value(f"STATE_{entry.from_state or 'UNSPECIFIED'}"),
        to_state=order_pb2.Order.State.Value(f"STATE_{entry.to_state}"),
        version=entry.version,
        epoch=entry.epoch,
        amount=to_money(entry.amount),
        payment_id=entry.payment_id,
        trace_id=entry.trace_id,
        event_time=to_timestamp(entry.at_ms),
    )
