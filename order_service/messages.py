"""Records on the wire."""

from order_service.lifecycle import OrderState, PaymentState
from order_service.model import Order, OrderChange, OrderPayment, OrderVersion
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.auth.callers import shown_actor
from tillmesh.lines import totals
from tillmesh.rpc.line_messages import to_line_item, to_taxes
from tillmesh.rpc.messages import to_duration, to_money, to_payer, to_timestamp

_ORDER_STATES = {state: order_pb2.Order.State.Value(f"STATE_{state}") for state in OrderState}
_PAYMENT_STATES = {state: order_payment_pb2.OrderPayment.State.Value(f"STATE_{state}") for state in PaymentState}


def to_order(order: Order, now_ms: int) -> order_pb2.Order:
    """An order as it is now."""
    lines = order.lines
    message = order_pb2.Order(
        order_id=order.order_id,
        store_id=order.store_id,
        payer=to_payer(order.payer),
        lines=map(to_line_item, lines),
        prices_include_tax=order.prices_include_tax,
        amount=to_money(order.amount),
        taxes=to_taxes(totals(lines, prices_include_tax=order.prices_include_tax).taxes),
        version=order.version,
        state=_ORDER_STATES[order.state],
        epoch=order.epoch,
        payment_id=order.payment_id,
        labels=order.labels,
        terminal_id=order.origin.terminal_id,
        lane=order.origin.lane,
        cashier_id=order.origin.cashier_id,
        create_time=to_timestamp(order.created_at_ms),
        update_time=to_timestamp(order.updated_at_ms),
    )
    if order.state is OrderState.LOCKED:
        message.lease_remaining.CopyFrom(to_duration(order.lease_remaining_ms(now_ms)))
    return message


def to_version(version: OrderVersion) -> order_pb2.OrderVersion:
    """A version of an order."""
    lines = version.lines
    return order_pb2.OrderVersion(
        order_id=version.order_id,
        version=version.version,
        lines=map(to_line_item, lines),
        prices_include_tax=version.prices_include_tax,
        amount=to_money(version.amount),
        taxes=to_taxes(totals(lines, prices_include_tax=version.prices_include_tax).taxes),
        create_time=to_timestamp(version.created_at_ms),
    )


def to_payment(payment: OrderPayment, order: Order | None, now_ms: int) -> order_payment_pb2.OrderPayment:
    """The verdict on an attempt; `order` is the one that it may hold."""
    message = order_payment_pb2.OrderPayment(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        state=_PAYMENT_STATES[payment.state],
        reason=payment.reason,
        epoch=payment.epoch,
        store_id=payment.store_id,
    )
    if payment.consent:
        message.order_version = payment.consent.order_version
        message.amount.CopyFrom(to_money(payment.consent.amount))
    if payment.state is PaymentState.GRANTED and order:
        message.lease_remaining.CopyFrom(to_duration(order.lease_remaining_ms(now_ms)))
    return message


def to_event(entry: OrderChange) -> order_pb2.OrderEvent:
    """A change of an order, as the caller may see it."""
    return order_pb2.OrderEvent(
        order_id=entry.order_id,
        number=entry.number,
        type=order_pb2.OrderEvent.Type.Value(f"TYPE_{entry.event}"),
        from_state=order_pb2.Order.State.Value(f"STATE_{entry.from_state or 'UNSPECIFIED'}"),
        to_state=order_pb2.Order.State.Value(f"STATE_{entry.to_state}"),
        version=entry.version,
        epoch=entry.epoch,
        amount=to_money(entry.amount),
        payment_id=entry.payment_id,
        actor=shown_actor(entry.actor),
        trace_id=entry.trace_id,
        event_time=to_timestamp(entry.at_ms),
    )
