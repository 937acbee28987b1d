"""The story of an order: one plain-language timeline over all three servers, and where it stands."""

from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from rich.text import Text

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payment_pb2, refund_pb2
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.cli.display import amount, clock_times, date_time, out, short_actor, show_table
from tillmesh.cli.order_outcome import conclusion, next_step, paid_by
from tillmesh.cli.order_records import OrderRecords, payer_of, short
from tillmesh.runtime.foreign_text import named, quoted, visible

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


def tell(story: OrderRecords) -> None:
    """Prints the timeline, where it stands, and what comes next."""
    moments = timeline(story)
    times = clock_times([each.at for each in moments])
    rows = [
        (time, each.server, each.sentence, short_actor(each.actor)) for time, each in zip(times, moments, strict=True)
    ]
    columns = ["time", "server", "what happened", "by"]
    show_table(f"Order {named(story.order_id)}, from {date_time(moments[0].at)}", columns, rows)
    if pruned := events_pruned(story):
        out.print(f"{pruned:,} earlier events were pruned.", style="yellow")
    for reason in story.silent.values():
        out.print(Text.assemble(("Part of the story is missing.", "yellow"), f" {visible(reason)}"), soft_wrap=True)
    for sentence in filter(None, (conclusion(story), paid_by(story), next_step(story))):
        out.print(visible(sentence), style="bold", soft_wrap=True)


def timeline(story: OrderRecords) -> list[Moment]:
    """All that happened, by time."""
    moments = [Moment(event.event_time, "order service", event.actor, _of_order(event)) for event in story.order_events]
    payers = {payment.payment_id: payer_of(payment) for payment in story.payments}
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
        named(event.reason) if event.reason else quoted(refund.note) if refund and refund.note else "",
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
        named(event.reason) if event.reason else "",
        amount=amount(event.amount),
        version=str(event.order_version),
        reference=short(event.reference),
    )
