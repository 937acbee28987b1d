"""Events in a line each: when, of what record, what happened, the state and the amount after it, and what matters."""

from collections.abc import Iterable
from typing import Any

from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.cli.display import amount, date_time, payer_name, short_actor, verdict_name
from tillmesh.runtime.foreign_text import visible

EVENT_WIDTH, STATE_WIDTH, AMOUNT_WIDTH = 20, 14, 12


def order_line(update: order_api.OrderUpdate) -> str:
    """What happened to an order."""
    event = update.event
    payment = f"payment {event.payment_id}" if event.payment_id else ""
    store = update.order.store_id
    return _line(event.order_id, event, update.order, [f"version {event.version}", store, payment, _by(event)])


def payment_line(update: payment_api.PaymentUpdate) -> str:
    """What happened to a payment."""
    event, payment = update.event, update.payment
    who = payment.identity_id or payer_name(payment.payer)
    tries = f"tries of the PIN left: {event.pin_tries_left}" if event.HasField("pin_tries_left") else ""
    refund = f"refund {event.refund_id}" if event.refund_id else ""
    order = f"order {payment.order_id}" if payment.order_id else ""
    matters = [order, payment.store_id, who, refund, event.reason, tries, _by(event)]
    return _line(event.payment_id, event, payment, matters)


def checkout_line(update: checkout_api.CheckoutUpdate) -> str:
    """What happened to a checkout, and what the till says now."""
    event, checkout = update.event, update.checkout
    about = f"about {event.reference}" if event.reference else ""
    says = f"till says {verdict_name(checkout)}" if checkout.verdict else ""
    return _line(event.checkout_id, event, checkout, [says, checkout.lane, about, event.reason, _by(event)])


def _line(record_id: str, event: Any, record: Any, matters: Iterable[str]) -> str:
    """`event` and `record` are those of one of the three streams."""
    what = event.Type.Name(event.type).removeprefix("TYPE_")
    state = record.State.Name(event.to_state).removeprefix("STATE_")
    columns = f"{what:<{EVENT_WIDTH}} {state:<{STATE_WIDTH}} {amount(event.amount):>{AMOUNT_WIDTH}}"
    told = map(visible, (date_time(event.event_time), record_id))
    return "  ".join((*told, columns, visible(", ".join(filter(None, matters))))).rstrip()


def _by(event: Any) -> str:
    return f"by {short_actor(event.actor)}" if event.actor else ""
