"""`tillmesh explain ORDER`: one plain-language timeline of an order over all three servers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp
from rich.markup import escape

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_pb2, refund_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.display import amount, clock_time, date_time, out, payer_name, seconds, short_actor, show_table
from tillmesh.client.connections import Client
from tillmesh.client.failures import Failure, Unreachable
from tillmesh.runtime.errors import Refusal

P = payment_pb2.Payment
OrderEvent = order_pb2.OrderEvent
PaymentEvent = payment_pb2.PaymentEvent
CheckoutEvent = checkout_pb2.CheckoutEvent


@dataclass(frozen=True)
class Moment:
    """One line of the timeline."""

    at: Timestamp
    server: str
    actor: str
    """The actor; empty in a mesh without certificates."""
    sentence: str


@dataclass
class OrderRecords:
    """The records of an order, from the servers that answered."""

    order_id: str
    order: order_pb2.Order | None = None
    order_events: list[OrderEvent] = field(default_factory=list)
    payments: list[P] = field(default_factory=list)
    payment_events: list[PaymentEvent] = field(default_factory=list)
    refunds: dict[str, refund_pb2.Refund] = field(default_factory=dict)
    checkout_events: list[CheckoutEvent] = field(default_factory=list)
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
        unknown = f"No server that could be asked knows an order {order_id}."
        raise Failure(next(iter(story.silent.values()), unknown))
    return story


def tell(story: OrderRecords) -> None:
    """Prints the timeline and where it stands."""
    moments = timeline(story)
    rows = [(clock_time(each.at), each.server, each.sentence, short_actor(each.actor)) for each in moments]
    columns = ["time", "server", "what happened", "by"]
    show_table(f"Order {story.order_id}, from {date_time(moments[0].at)}", columns, rows)
    if pruned := events_pruned(story):
        out.print(f"[yellow]{pruned:,} earlier events were pruned.[/]")
    for reason in story.silent.values():
        out.print(f"[yellow]Part of the story is missing.[/] {escape(reason)}")
    out.print(escape(conclusion(story)), style="bold")


def timeline(story: OrderRecords) -> list[Moment]:
    """All that happened, by time."""
    moments = [Moment(event.event_time, "order service", event.actor, _of_order(event)) for event in story.order_events]
    payers = {payment.payment_id: _payer(payment) for payment in story.payments}
    moments += [
        Moment(
            event.event_time,
            "payment server",
            event.actor,
            _of_payment(event, payers[event.payment_id], story.refunds),
        )
        for event in story.payment_events
    ]
    moments += [
        Moment(event.event_time, "store terminal", event.actor, _of_checkout(event)) for event in story.checkout_events
    ]
    return sorted(moments, key=lambda moment: moment.at.ToNanoseconds())


def events_pruned(story: OrderRecords) -> int:
    """How many events are gone: those of each record are numbered from 1."""
    first: dict[str, int] = {}
    for payment_event in story.payment_events:
        first.setdefault(payment_event.payment_id, payment_event.number)
    for of_record in (story.order_events, story.checkout_events):
        if of_record:
            first[type(of_record[0]).__name__] = of_record[0].number
    return sum(first.values()) - len(first)


def conclusion(story: OrderRecords) -> str:
    """The state of the order, and where the money is."""
    return f"{_state_of_order(story)} {_where_the_money_is(story)}"


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


def _payer(payment: P) -> str:
    return payment.identity_id or payer_name(payment.payer)


def _told(words: Mapping[int, str], event: int, because: str, **values: str) -> str:
    """The sentence for an event; one that is new to this program is named by its number."""
    sentence = words.get(event, f"Event {event}, which this program does not know.").format(**values)
    return f"{sentence.rstrip('.')} ({because})." if because else sentence


ORDER_WORDS: Mapping[int, str] = {
    OrderEvent.TYPE_CREATED: "Raised as a pending transaction of {amount}.",
    OrderEvent.TYPE_LINES_REPLACED: "Changed in place: now version {version}, {amount}.",
    OrderEvent.TYPE_LOCKED: "Locked by payment {payment}: version {version}, {amount}, epoch {epoch}.",
    OrderEvent.TYPE_PAID: "Paid by payment {payment}, for good.",
    OrderEvent.TYPE_COMPLETED_FREE: "Completed at {amount}: there was nothing to pay.",
    OrderEvent.TYPE_LEASE_EXPIRED: "Unlocked: the time of payment {payment} ran out. Payment is pending again.",
    OrderEvent.TYPE_PAYMENT_CANCELED: "Unlocked: payment {payment} was given up. Payment is pending again.",
    OrderEvent.TYPE_CANCELED: "Withdrawn, for good.",
    OrderEvent.TYPE_EXPIRED: "Canceled, for good: nobody paid or changed it for a long time.",
}


def _of_order(event: OrderEvent) -> str:
    return _told(
        ORDER_WORDS,
        event.type,
        "",
        amount=amount(event.amount),
        version=str(event.version),
        epoch=str(event.epoch),
        payment=short(event.payment_id),
    )


PAYMENT_WORDS: Mapping[int, str] = {
    PaymentEvent.TYPE_CREATED: "Payment {payment}: {payer} is asked for {amount}.",
    PaymentEvent.TYPE_LOCKED_FOR_PAYER: "Payment {payment} waits for {payer} to confirm; nothing is held.",
    PaymentEvent.TYPE_PIN_REJECTED: "Payment {payment}: a wrong PIN was keyed in.",
    PaymentEvent.TYPE_FUNDS_HELD: "Payment {payment}: {amount} held in the wallet of {payer}; the order decides now.",
    PaymentEvent.TYPE_DECLINED: "Payment {payment} declined.",
    PaymentEvent.TYPE_EXPIRED: "Payment {payment} given up: its time was over.",
    PaymentEvent.TYPE_CANCELED: "Payment {payment} canceled.",
    PaymentEvent.TYPE_ORDER_PAID: "Payment {payment} captured: {amount} moved from {payer} to the store.",
    PaymentEvent.TYPE_ORDER_RELEASED: "Payment {payment} is void: it took no money and never will.",
    PaymentEvent.TYPE_SUPERSEDED: "Payment {payment} is void: the order was locked again.",
    PaymentEvent.TYPE_VOIDED_BY_OPERATOR: "Payment {payment} is void: the order service does not know it.",
    PaymentEvent.TYPE_REFUNDED: "Refund {refund} of payment {payment}: {amount} went back to {payer}.",
}


def _of_payment(event: PaymentEvent, payer: str, refunds: dict[str, refund_pb2.Refund]) -> str:
    refund = refunds.get(event.refund_id)
    return _told(
        PAYMENT_WORDS,
        event.type,
        event.reason or (refund.note if refund else ""),
        amount=amount(event.amount),
        payer=payer,
        payment=short(event.payment_id),
        refund=short(event.refund_id),
    )


CHECKOUT_WORDS: Mapping[int, str] = {
    CheckoutEvent.TYPE_OPENED: "Basket opened, {amount}.",
    CheckoutEvent.TYPE_RESUMED: "Pending transaction taken up, {amount}.",
    CheckoutEvent.TYPE_CHANGED: "Lines changed: now {amount}.",
    CheckoutEvent.TYPE_SUBMITTED: "Order raised: {amount}, version {version}.",
    CheckoutEvent.TYPE_PAYMENT_STARTED: "Payment {reference} of {amount} asked for.",
    CheckoutEvent.TYPE_PAYER_ASKED: "Payment {reference} waits for its payer.",
    CheckoutEvent.TYPE_PAYER_ACTED: "Payment {reference} no longer waits for its payer.",
    CheckoutEvent.TYPE_ORDER_LOCKED: "Somebody else's payment {reference} locked the order.",
    CheckoutEvent.TYPE_ORDER_UNLOCKED: "Payment {reference} no longer locks the order.",
    CheckoutEvent.TYPE_PAYMENT_CANCEL_ASKED: "Payment {reference} is to be canceled.",
    CheckoutEvent.TYPE_PAID: "Hand over the goods: the order is paid.",
    CheckoutEvent.TYPE_PAYMENT_ENDED: "Payment {reference} ended without money; safe to try again.",
    CheckoutEvent.TYPE_VOID_ASKED: "The sale is to be undone, by refund {reference} if it is paid.",
    CheckoutEvent.TYPE_REFUND_STARTED: "Refund {reference} of {amount} asked for.",
    CheckoutEvent.TYPE_REFUNDED: "Refund {reference}: the shopper has {amount} back.",
    CheckoutEvent.TYPE_REFUND_REFUSED: "Refund {reference} of {amount} was refused.",
    CheckoutEvent.TYPE_CANCELED: "Checkout abandoned.",
    CheckoutEvent.TYPE_EXPIRED: "Its time is over: nobody changed or recalled it for a long time.",
    CheckoutEvent.TYPE_PARKED: "Put aside.",
    CheckoutEvent.TYPE_RECALLED: "Taken up again.",
    CheckoutEvent.TYPE_REFUSED: "What was asked was refused.",
    CheckoutEvent.TYPE_REFRESHED: "Read the order again: version {version}, {amount}.",
}


def _of_checkout(event: CheckoutEvent) -> str:
    return _told(
        CHECKOUT_WORDS,
        event.type,
        event.reason,
        amount=amount(event.amount),
        version=str(event.order_version),
        reference=short(event.reference),
    )


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
        return f"{amount(held.amount)} is held in the wallet of {_payer(held)} until the order decides."
    return "No money has moved and none is held."


def _captured(payment: P) -> str:
    refunded = payment.refunded.minor_units
    where = f"{_payer(payment)} paid {amount(payment.amount)} to {payment.store_id}"
    if not refunded:
        return f"{where}, who has it."
    if refunded == payment.amount.minor_units:
        return f"{where} and has all of it back."
    left = money_pb2.Money(
        currency_code=payment.amount.currency_code, minor_units=payment.amount.minor_units - refunded
    )
    return f"{where}; {amount(payment.refunded)} was refunded, the store has {amount(left)}."
