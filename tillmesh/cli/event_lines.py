"""Events in a line each: when, of what record, what happened, the state and the amount after it, and what matters."""

from collections.abc import Iterable
from typing import Any

from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.cli.display import amount, date_time, payer_name, short_actor, verdict_name
from tillmesh.runtime.foreign_text import named

EVENT_WIDTH, STATE_WIDTH, AMOUNT_WIDTH = 20, 14, 12


def order_line(update: order_api.OrderUpdate) -> str:
    """What happened to an order."""
    event, order = update.event, update.order
    matters = [f"version {event.version}", _told(order.store_id), _told(event.payment_id, "payment"), _by(event)]
    return _line(event.order_id, event, order, matters)


def payment_line(update: payment_api.PaymentUpdate) -> str:
    """What happened to a payment."""
    event, payment = update.event, update.payment
    who = payment.identity_id or payer_name(payment.payer)
    about = [_told(payment.order_id, "order"), _told(payment.store_id), _told(who), _told(event.refund_id, "refund")]
    tries = f"tries of the PIN left: {event.pin_tries_left}" if event.HasField("pin_tries_left") else ""
    return _line(event.payment_id, event, payment, [*about, _told(event.reason), tries, _by(event)])


def checkout_line(update: checkout_api.CheckoutUpdate) -> str:
    """What happened to a checkout, and what the till says now."""
    event, checkout = update.event, update.checkout
    says = f"till says {verdict_name(checkout)}" if checkout.verdict else ""
    about = [_told(checkout.lane), _told(event.reference, "about"), _told(event.reason)]
    return _line(event.checkout_id, event, checkout, [says, *about, _by(event)])


def _line(record_id: str, event: Any, record: Any, matters: Iterable[str]) -> str:
    """`event` and `record` are those of one of the three streams."""
    what = event.Type.Name(event.type).removeprefix("TYPE_")
    state = record.State.Name(event.to_state).removeprefix("STATE_")
    columns = f"{what:<{EVENT_WIDTH}} {state:<{STATE_WIDTH}} {amount(event.amount):>{AMOUNT_WIDTH}}"
    told = ", ".join(filter(None, matters))
    return "  ".join((date_time(event.event_time), named(record_id), columns, told)).rstrip()


def _told(name: str, what: str = "") -> str:
    return f"{what} {named(name)}".lstrip() if name else ""


def _by(event: Any) -> str:
    return _told(short_actor(event.actor), "by")
