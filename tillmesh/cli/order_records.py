"""The records of one order, from all three servers."""

from dataclasses import dataclass, field

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_pb2, refund_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.cli.display import payer_name
from tillmesh.client.connections import Client
from tillmesh.client.failures import Failure, Unreachable
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.foreign_text import named


@dataclass
class OrderRecords:
    """The records of an order, from the servers that answered."""

    order_id: str
    order: order_pb2.Order | None = None
    order_events: list[order_pb2.OrderEvent] = field(default_factory=list)
    payments: list[payment_pb2.Payment] = field(default_factory=list)
    payment_events: list[payment_pb2.PaymentEvent] = field(default_factory=list)
    refunds: dict[str, refund_pb2.Refund] = field(default_factory=dict)
    checkout_events: list[checkout_pb2.CheckoutEvent] = field(default_factory=list)
    silent: dict[str, str] = field(default_factory=dict)
    """Why a server is missing from the story, by server."""


async def read_order_records(client: Client, order_id: str) -> OrderRecords:
    """Asks all three servers; one that cannot be reached is left out and named."""
    story = OrderRecords(order_id)
    for server, read in (
        ("order service", _read_orders),
        ("payment server", _read_payments),
        ("store terminal", _read_checkout),
    ):
        try:
            await read(client, story)
        except Unreachable as error:
            story.silent[server] = str(error)
    if not (story.order or story.payments or story.checkout_events):
        unknown = f"No server that could be asked knows an order {named(order_id)}."
        raise Failure(next(iter(story.silent.values()), unknown))
    return story


async def _read_orders(client: Client, story: OrderRecords) -> None:
    try:
        story.order = await client.call(client.orders.GetOrder, order_api.GetOrderRequest(order_id=story.order_id))
    except Refusal as refusal:
        _require_reason(refusal, "ORDER_NOT_FOUND")
        return
    request = order_api.ListOrderEventsRequest(order_id=story.order_id)
    events = client.listed(client.orders.ListOrderEvents, request, lambda page: page.events)
    story.order_events = [event async for event in events]


async def _read_payments(client: Client, story: OrderRecords) -> None:
    request = payment_api.ListPaymentsRequest(order_id=story.order_id)
    payments = client.listed(client.payments.ListPayments, request, lambda page: page.payments)
    story.payments = [payment async for payment in payments]
    for payment in story.payments:
        list_events = payment_api.ListPaymentEventsRequest(payment_id=payment.payment_id)
        events = client.listed(client.payments.ListPaymentEvents, list_events, lambda page: page.events)
        story.payment_events += [event async for event in events]
        list_refunds = refund_api.ListRefundsRequest(payment_id=payment.payment_id)
        async for refund in client.listed(client.refunds.ListRefunds, list_refunds, lambda page: page.refunds):
            story.refunds[refund.refund_id] = refund


async def _read_checkout(client: Client, story: OrderRecords) -> None:
    request = checkout_api.ListCheckoutEventsRequest(checkout_id=story.order_id)
    events = client.listed(client.till.ListCheckoutEvents, request, lambda page: page.events)
    try:
        story.checkout_events = [event async for event in events]
    except Refusal as refusal:  # another till's order, or a web shop's
        _require_reason(refusal, "CHECKOUT_NOT_FOUND")


def _require_reason(refusal: Refusal, reason: str) -> None:
    if refusal.reason != reason:
        raise refusal


def short(identifier: str) -> str:
    """An id as a person tells it from others."""
    return identifier[:8]


def payer_of(payment: payment_pb2.Payment) -> str:
    """Who pays, or is asked to."""
    return named(payment.identity_id or payer_name(payment.payer))
