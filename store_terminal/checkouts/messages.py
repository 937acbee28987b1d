"""Records of the till on the wire, and what the servicers take off it."""

from collections.abc import Sequence

from store_terminal.checkouts.model import Checkout, CheckoutChange, Line, NewLine, Parking
from store_terminal.checkouts.verdicts import verdict
from tillmesh import paycode
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.auth.callers import Role, caller, shown_actor
from tillmesh.lines import LINES_MAX
from tillmesh.origin import Origin
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import (
    OVERRIDE_REASON_MAX,
    SKU_MAX,
    adjustments_of,
    kind_of,
    to_line_item,
    to_taxes,
    unit_of,
)
from tillmesh.rpc.messages import to_duration, to_money, to_payer, to_timestamp
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret

APPROVAL_ID_MAX = 64
PARKING_TEXT_MAX = 64
_STATES = checkout_pb2.Checkout.State
_TYPES = checkout_pb2.CheckoutEvent.Type


def to_checkout(checkout: Checkout, read_at_ms: int, now_ms: int) -> checkout_pb2.Checkout:
    """A checkout, with the verdict as it is now; `read_at_ms` is when its order was last read."""
    told = verdict(checkout, read_at_ms, now_ms)
    message = checkout_pb2.Checkout(
        checkout_id=checkout.checkout_id,
        store_id=checkout.store_id,
        terminal_id=checkout.origin.terminal_id,
        lane=checkout.origin.lane,
        cashier_id=checkout.origin.cashier_id,
        payer=to_payer(checkout.payer),
        lines=[to_line(line) for line in checkout.lines],
        prices_include_tax=checkout.prices_include_tax,
        amount=to_money(checkout.amount),
        taxes=to_taxes(checkout.totals.taxes),
        basket_version=checkout.basket_version,
        state=_STATES.Value(f"STATE_{checkout.state}"),
        order_version=checkout.order_version,
        busy=bool(checkout.busy_with),
        payment_id=checkout.attempt.payment_id if checkout.attempt else "",
        paid_by_payment_id=checkout.paid_by,
        verdict=checkout_pb2.Verdict.Value(f"VERDICT_{told.verdict}"),
        verdict_reason=told.reason,
        verdict_age=to_duration(told.age_ms),
        refunded=to_money(Money(checkout.amount.currency, checkout.refunded_minor)),
        labels=checkout.labels,
        payer_display_name=checkout.payer_display_name,
        create_time=to_timestamp(checkout.created_at_ms),
        update_time=to_timestamp(checkout.updated_at_ms),
        exchanged_refund_id=checkout.exchanged_refund_id,
    )
    if told.remaining_ms is not None:
        message.verdict_remaining.CopyFrom(to_duration(told.remaining_ms))
    if parking := checkout.parking:
        message.parking.CopyFrom(_to_parking(parking))
    return message


def _to_parking(parking: Parking) -> checkout_pb2.Parking:
    return checkout_pb2.Parking(
        owner=parking.owner,
        label=parking.label,
        park_time=to_timestamp(parking.parked_at_ms),
        expire_time=to_timestamp(parking.parked_until_ms) if parking.parked_until_ms else None,
    )


def to_line(line: Line) -> checkout_pb2.CheckoutLine:
    """A line of a checkout."""
    return checkout_pb2.CheckoutLine(line_number=line.number, item=to_line_item(line.item), deposit_of=line.deposit_of)


def to_event(entry: CheckoutChange) -> checkout_pb2.CheckoutEvent:
    """One thing that happened to a checkout."""
    return checkout_pb2.CheckoutEvent(
        checkout_id=entry.checkout_id,
        number=entry.number,
        type=_TYPES.Value(f"TYPE_{entry.event}"),
        from_state=_STATES.Value(f"STATE_{entry.from_state or 'UNSPECIFIED'}"),
        to_state=_STATES.Value(f"STATE_{entry.to_state}"),
        order_version=entry.order_version,
        amount=to_money(entry.amount),
        reference=entry.reference,
        reason=entry.reason,
        actor=shown_actor(entry.actor),
        trace_id=entry.trace_id,
        event_time=to_timestamp(entry.at_ms),
    )


def new_lines(fields: Fields, messages: Sequence[api.NewLine], *, least: int) -> tuple[NewLine, ...]:
    """Lines to add; what they come to is checked once they are priced."""
    fields.require(
        least <= len(messages) <= LINES_MAX, "lines", f"must be {least} to {LINES_MAX}, were {len(messages)}"
    )
    return tuple(_new_line(fields, f"lines[{index}]", line) for index, line in enumerate(messages[:LINES_MAX]))


def _new_line(fields: Fields, name: str, line: api.NewLine) -> NewLine:
    return NewLine(
        sku=fields.text(f"{name}.sku", line.sku, length_min=1, length_max=SKU_MAX),
        quantity=line.quantity,
        unit_price_minor=line.unit_price_minor if line.HasField("unit_price_minor") else None,
        title=line.title if line.HasField("title") else None,
        kind=kind_of(fields, name, line.kind),
        gtin=line.gtin,
        unit=unit_of(fields, name, line.unit),
        price_quantity=line.price_quantity,
        override_reason=override_reason(fields, f"{name}.override_reason", line.override_reason),
        label_amount_minor=line.label_amount_minor if line.HasField("label_amount_minor") else None,
        adjustments=adjustments_of(fields, name, line.adjustments),
        tax_code=line.tax_code if line.HasField("tax_code") else None,
        tax_rate_ppm=line.tax_rate_ppm if line.HasField("tax_rate_ppm") else None,
        note=line.note,
    )


def override_reason(fields: Fields, name: str, reason: str) -> str:
    """The reason of a price override."""
    return fields.text(name, reason, length_max=OVERRIDE_REASON_MAX)


def origin(fields: Fields, terminal_id: str, lane: str, cashier_id: str) -> Origin:
    """Where in the store something is asked for; a device that does not name its lane is known by its certificate."""
    acting = caller.get()
    if not lane and acting and acting.role is Role.DEVICE:
        lane = acting.uri.rpartition("/")[2]
    return fields.origin(terminal_id, lane, cashier_id)


def approval(fields: Fields, approval_id: str) -> None:
    """An approval, which is not looked at yet."""
    fields.text("approval_id", approval_id, length_max=APPROVAL_ID_MAX)


def pay_code(fields: Fields, text: str) -> Secret | None:
    """A pay code, if one was scanned; no answer repeats anything of it."""
    code = Secret(text.encode())
    ok = not text or paycode.parse(code) is not None
    fields.require(ok, "pay_code", f"must be a pay code of {paycode.DIGITS} digits with a valid check digit")
    return code if text else None
