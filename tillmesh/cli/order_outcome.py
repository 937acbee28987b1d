"""How an order stands: where the money is, what paid it, and who acts next."""

from google.protobuf.duration_pb2 import Duration

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.display import amount, date_time, seconds, short_actor, time_in
from tillmesh.cli.order_records import OrderRecords, payer_of, short
from tillmesh.runtime.foreign_text import named

Order = order_pb2.Order
P = payment_pb2.Payment


def conclusion(story: OrderRecords) -> str:
    """The state of the order, and where the money is."""
    return f"{_state_of_order(story)} {_where_the_money_is(story)}"


def paid_by(story: OrderRecords) -> str:
    """The payment that paid an order, with who asked for it and when; empty if none did."""
    order = story.order
    if order is None or order.state != Order.STATE_PAID or not order.payment_id:
        return ""
    asked = [event for event in story.payment_events if event.payment_id == order.payment_id]
    by = f", asked for by {named(short_actor(asked[0].actor))}" if asked and asked[0].actor else ""
    paid = [event for event in story.order_events if event.type == order_pb2.OrderEvent.TYPE_PAID]
    at = f" at {date_time(paid[0].event_time)}" if paid else ""
    return f"Payment {named(order.payment_id)} paid it{at}{by}{_elsewhere(story, order.payment_id)}."


def next_step(story: OrderRecords) -> str:
    """What is due, who acts next, and until when."""
    order = story.order
    if order is None:
        return ""
    if order.state in (Order.STATE_PAID, Order.STATE_CANCELED):
        return f"Nothing is due.{_last_steps(story)}"
    due = f"{amount(order.amount)} is due."
    if order.state == Order.STATE_LOCKED:
        return f"{due} {_step_of_lock(story, order)}"
    return f"{due} Nobody has to act: the order waits for a payment.{_last_steps(story)}"


def _elsewhere(story: OrderRecords, payment_id: str) -> str:
    """Says so where a till knows the order and did not ask for the payment, as when a phone paid."""
    started = checkout_pb2.CheckoutEvent.TYPE_PAYMENT_STARTED
    here = any(event.type == started and event.reference == payment_id for event in story.checkout_events)
    return "; this till did not ask for it" if story.checkout_events and not here else ""


def _step_of_lock(story: OrderRecords, order: Order) -> str:
    """The next step of the payment that holds the lock."""
    ends = f"The lock lasts {_until(order.lease_remaining)} at most."
    payment = next((each for each in story.payments if each.payment_id == order.payment_id), None)
    if payment is None:
        return f"Only the payment server knows what payment {short(order.payment_id)} waits for. {ends}"
    if payment.state == P.STATE_AWAITING_PAYER:
        until = _until(payment.confirm_remaining)
        return f"Next, {payer_of(payment)} confirms on the phone, or keys in the PIN at the till, {until}. {ends}"
    return f"Next, the payment server {_DOES.get(payment.state, 'goes on')}, by itself. {ends}"


_DOES = {
    P.STATE_PENDING: "asks the payer or holds the money",
    P.STATE_AUTHORIZED: "lets the order decide, and asks again until it is answered",
    P.STATE_VOIDING: "unlocks the order, and asks again until it is answered",
}


def _last_steps(story: OrderRecords) -> str:
    """The payments that are not final although they do not hold the lock."""
    final = (P.STATE_CAPTURED, P.STATE_VOIDED)
    left = [short(payment.payment_id) for payment in story.payments if payment.state not in final]
    return f" The payment server still works on payment {', '.join(left)}, by itself." if left else ""


def _until(left: Duration) -> str:
    return f"until {time_in(left)} ({seconds(left)} s)"


def _state_of_order(story: OrderRecords) -> str:
    order = story.order
    if order is None:
        unknown = "order service" in story.silent
        return "The state of the order is not known." if unknown else "The order service has no such order."
    what = f"The order is {order_pb2.Order.State.Name(order.state).removeprefix('STATE_')}"
    size = f"at version {order.version}, {amount(order.amount)}"
    if order.state == order_pb2.Order.STATE_LOCKED:
        left_s = seconds(order.lease_remaining)
        return f"{what} {size}, by payment {short(order.payment_id)} for {left_s} more seconds at most."
    return f"{what} {size}."


def _where_the_money_is(story: OrderRecords) -> str:
    if "payment server" in story.silent:
        return "Where the money is, only the payment server can say."
    captured = next((payment for payment in story.payments if payment.state == P.STATE_CAPTURED), None)
    held = next((payment for payment in story.payments if payment.state == P.STATE_AUTHORIZED), None)
    if captured:
        return _captured(captured)
    if held:
        return f"{amount(held.amount)} is held in the wallet of {payer_of(held)} until the order decides."
    return "No money has moved and none is held."


def _captured(payment: P) -> str:
    refunded = payment.refunded.minor_units
    where = f"{payer_of(payment)} paid {amount(payment.amount)} to {named(payment.store_id)}"
    if not refunded:
        return f"{where}, who has it."
    if refunded == payment.amount.minor_units:
        return f"{where} and has all {amount(payment.refunded)} back."
    left = money_pb2.Money(
        currency_code=payment.amount.currency_code, minor_units=payment.amount.minor_units - refunded
    )
    return f"{where}; {amount(payment.refunded)} was refunded, the store has {amount(left)}."
