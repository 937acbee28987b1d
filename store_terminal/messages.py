"""Records of the till on the wire, and what the servicers take off it."""

import re
from collections.abc import Sequence

from store_terminal.model import CatalogueItem, Checkout, HistoryEntry, NewLine, ReturnedLine, TillRefund
from store_terminal.verdicts import Reading, verdict
from tillmesh import paycode
from tillmesh.api.terminal.v1 import catalogue_item_pb2, checkout_pb2, till_refund_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refund_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.auth.callers import Role, caller, shown_actor
from tillmesh.lines import LINES_MAX, Kind, Unit, default_price_quantity
from tillmesh.origin import Origin
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import (
    OVERRIDE_REASON_MAX,
    SKU_MAX,
    TITLE_MAX,
    adjustments_of,
    gtin,
    kind_of,
    tax,
    to_line_item,
    to_taxes,
    unit_of,
)
from tillmesh.rpc.messages import to_duration, to_money, to_payer, to_timestamp
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money
from tillmesh.runtime.secret import Secret

APPROVAL_ID_MAX = 64
_PIN = re.compile(r"[0-9]{4,12}")
_STATES = checkout_pb2.Checkout.State
_TYPES = checkout_pb2.CheckoutEvent.Type
_WIRE = line_item_pb2.LineItem


def checkout_message(checkout: Checkout, reading: Reading | None, now_ms: int) -> checkout_pb2.Checkout:
    """A checkout, with the verdict as it is now; `reading` is what its order said last."""
    told = verdict(checkout, reading, now_ms)
    message = checkout_pb2.Checkout(
        checkout_id=checkout.checkout_id,
        store_id=checkout.store_id,
        terminal_id=checkout.origin.terminal_id,
        lane=checkout.origin.lane,
        cashier_id=checkout.origin.cashier_id,
        payer=to_payer(checkout.payer),
        lines=[
            checkout_pb2.CheckoutLine(line_number=line.number, item=to_line_item(line.item)) for line in checkout.lines
        ],
        prices_include_tax=checkout.prices_include_tax,
        amount=to_money(checkout.amount),
        taxes=to_taxes(checkout.totals.taxes),
        basket_version=checkout.basket_version,
        state=_STATES.Value(f"STATE_{checkout.state}"),
        order_version=checkout.order_version,
        busy=bool(checkout.unanswered),
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
    )
    if told.remaining_ms is not None:
        message.verdict_remaining.CopyFrom(to_duration(told.remaining_ms))
    return message


def event_message(entry: HistoryEntry) -> checkout_pb2.CheckoutEvent:
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


def refund_message(refund: TillRefund) -> till_refund_pb2.TillRefund:
    """A refund; without an amount while the payment server has not said how much it is."""
    message = till_refund_pb2.TillRefund(
        refund_id=refund.refund_id,
        checkout_id=refund.checkout_id,
        payer=to_payer(refund.payer) if refund.payer else None,
        lines=map(to_line_item, refund.items),
        taxes=to_taxes(refund.taxes),
        note=refund.note,
        state=till_refund_pb2.TillRefund.State.Value(f"STATE_{refund.state}"),
        reason=refund.reason,
        lane=refund.origin.lane,
        cashier_id=refund.origin.cashier_id,
        create_time=to_timestamp(refund.created_at_ms),
    )
    if refund.amount_minor is not None:
        message.amount.CopyFrom(to_money(Money(refund.currency, refund.amount_minor)))
    return message


def item_message(item: CatalogueItem) -> catalogue_item_pb2.CatalogueItem:
    """An article."""
    return catalogue_item_pb2.CatalogueItem(
        sku=item.sku,
        gtin=item.gtin,
        title=item.title,
        kind=_WIRE.Kind.Value(f"KIND_{item.kind}"),
        unit=_WIRE.Unit.Value(f"UNIT_{item.unit}"),
        unit_price=to_money(item.unit_price),
        price_quantity=item.price_quantity,
        tax_code=item.tax_code,
        tax_rate_ppm=item.tax_rate_ppm,
    )


def catalogue_item(fields: Fields, name: str, message: catalogue_item_pb2.CatalogueItem) -> CatalogueItem:
    """An article off the wire."""
    unit = unit_of(fields, f"{name}.unit", message.unit) or Unit.PIECE
    price_quantity = message.price_quantity or default_price_quantity(unit)
    ok = 1 <= price_quantity <= MINOR_UNITS_MAX
    fields.require(ok, f"{name}.price_quantity", f"must be 1 to {MINOR_UNITS_MAX}, was {price_quantity}")
    tax(fields, name, message.tax_code, message.tax_rate_ppm)
    return CatalogueItem(
        sku=fields.text(f"{name}.sku", message.sku, length_min=1, length_max=SKU_MAX),
        gtin=gtin(fields, f"{name}.gtin", message.gtin),
        title=fields.text(f"{name}.title", message.title, length_max=TITLE_MAX),
        kind=kind_of(fields, f"{name}.kind", message.kind) or Kind.GOODS,
        unit=unit,
        unit_price=fields.money(f"{name}.unit_price", message.unit_price, minimum=0),
        price_quantity=price_quantity,
        tax_code=message.tax_code,
        tax_rate_ppm=message.tax_rate_ppm,
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
        kind=kind_of(fields, f"{name}.kind", line.kind),
        gtin=line.gtin,
        unit=unit_of(fields, f"{name}.unit", line.unit),
        price_quantity=line.price_quantity,
        override_reason=override_reason(fields, f"{name}.override_reason", line.override_reason),
        label_amount_minor=line.label_amount_minor if line.HasField("label_amount_minor") else None,
        adjustments=adjustments_of(fields, f"{name}.adjustments", line.adjustments),
        tax_code=line.tax_code if line.HasField("tax_code") else None,
        tax_rate_ppm=line.tax_rate_ppm if line.HasField("tax_rate_ppm") else None,
    )


def override_reason(fields: Fields, name: str, reason: str) -> str:
    """The reason of a price override."""
    return fields.text(name, reason, length_max=OVERRIDE_REASON_MAX)


def returned_lines(fields: Fields, messages: Sequence[refund_api.ReturnedLine]) -> tuple[ReturnedLine, ...]:
    """Lines of a checkout that came back."""
    fields.require(len(messages) <= LINES_MAX, "lines", f"must be at most {LINES_MAX}, were {len(messages)}")
    numbers: set[int] = set()
    for index, line in enumerate(messages[:LINES_MAX]):
        name = f"lines[{index}]"
        fields.positive(f"{name}.quantity", line.quantity)
        once = line.line_number not in numbers
        fields.require(once, f"{name}.line_number", f"must be there once, {line.line_number} came before")
        numbers.add(line.line_number)
    return tuple(ReturnedLine(line.line_number, line.quantity) for line in messages[:LINES_MAX])


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


def pin(fields: Fields, text: str) -> Secret:
    """A PIN, of which no answer repeats anything."""
    fields.require(bool(_PIN.fullmatch(text)), "pin", "must be 4 to 12 digits")
    return Secret(text.encode())
