"""What the servicers share: the till itself, its records on the wire, and lines off it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from store_terminal.model import (
    LINES_MAX,
    CatalogueItem,
    Checkout,
    HistoryEntry,
    LineItem,
    NewLine,
    TillRefund,
    Verdict,
    verdict,
)
from store_terminal.outward import to_items
from tillmesh import paycode
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import terminal_service_pb2 as api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refund_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.convert import to_money, to_timestamp
from tillmesh.runtime.fields import Fields
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret

SKU_MAX = 64
TITLE_MAX = 256
_PIN = re.compile(r"[0-9]{4,12}")


@dataclass(frozen=True, slots=True)
class Till:
    """Which till this is."""

    store_id: str
    terminal_id: str
    currency: str
    payment_wait_ms: int


def checkout_message(checkout: Checkout, now_ms: int) -> checkout_pb2.Checkout:
    """A checkout, with the verdict as it is now."""
    currency, said = checkout.amount.currency, verdict(checkout, now_ms)
    message = checkout_pb2.Checkout(
        checkout_id=checkout.checkout_id,
        store_id=checkout.store_id,
        payer_id=checkout.payer_id,
        payer_display_name=checkout.payer_display_name,
        lines=[
            checkout_pb2.CheckoutLine(line_number=line.number, item=item)
            for line, item in zip(checkout.lines, to_items([line.item for line in checkout.lines]), strict=True)
        ],
        amount=to_money(checkout.amount),
        state=checkout_pb2.Checkout.State.Value(f"STATE_{checkout.state}"),
        order_version=checkout.order_version,
        busy=bool(checkout.unanswered),
        verdict=checkout_pb2.Verdict.Value(f"VERDICT_{said}"),
        refunded=to_money(Money(currency, checkout.refunded_minor)),
        create_time=to_timestamp(checkout.created_at_ms),
        update_time=to_timestamp(checkout.updated_at_ms),
    )
    if checkout.attempt:
        message.payment_id = checkout.attempt.payment_id
        if said is not Verdict.HAND_OVER_GOODS:
            message.verdict_reason = checkout.attempt.reason
        if said is Verdict.WAIT:
            message.verdict_deadline.CopyFrom(to_timestamp(checkout.attempt.deadline_at_ms))
    return message


def event_message(entry: HistoryEntry) -> checkout_pb2.CheckoutEvent:
    """One thing that happened to a checkout."""
    return checkout_pb2.CheckoutEvent(
        checkout_id=entry.checkout_id,
        number=entry.number,
        event=entry.event,
        from_state=checkout_pb2.Checkout.State.Value(f"STATE_{entry.from_state or 'UNSPECIFIED'}"),
        to_state=checkout_pb2.Checkout.State.Value(f"STATE_{entry.to_state}"),
        order_version=entry.order_version,
        amount=to_money(entry.amount),
        reference=entry.reference,
        reason=entry.reason,
        trace_id=entry.trace_id,
        event_time=to_timestamp(entry.at_ms),
    )


def refund_message(refund: TillRefund) -> refund_api.TillRefund:
    """A refund; without an amount while "all that is left" is not answered."""
    message = refund_api.TillRefund(
        refund_id=refund.refund_id,
        checkout_id=refund.checkout_id,
        payer_id=refund.payer_id,
        lines=to_items(refund.items),
        note=refund.note,
        state=refund_api.TillRefund.State.Value(f"STATE_{refund.state}"),
        reason=refund.reason,
        create_time=to_timestamp(refund.created_at_ms),
    )
    if refund.amount_minor is not None:
        message.amount.CopyFrom(to_money(Money(refund.currency, refund.amount_minor)))
    return message


def item_message(item: CatalogueItem) -> catalogue_api.CatalogueItem:
    """An article."""
    return catalogue_api.CatalogueItem(sku=item.sku, title=item.title, unit_price=to_money(item.unit_price))


def new_lines(fields: Fields, messages: Sequence[api.NewLine], *, least: int) -> tuple[NewLine, ...]:
    """Lines to add."""
    fields.require(
        least <= len(messages) <= LINES_MAX, "lines", f"must be {least} to {LINES_MAX}, were {len(messages)}"
    )
    for index, line in enumerate(messages[:LINES_MAX]):
        _check_line(fields, f"lines[{index}]", line)
    return tuple(
        NewLine(
            line.sku,
            line.quantity,
            line.unit_price_minor if line.HasField("unit_price_minor") else None,
            line.title if line.HasField("title") else None,
        )
        for line in messages[:LINES_MAX]
    )


def returned_items(fields: Fields, messages: Sequence[line_item_pb2.LineItem], *, least: int) -> tuple[LineItem, ...]:
    """Goods that came back."""
    fields.require(
        least <= len(messages) <= LINES_MAX, "lines", f"must be {least} to {LINES_MAX}, were {len(messages)}"
    )
    for index, line in enumerate(messages[:LINES_MAX]):
        _check_line(fields, f"lines[{index}]", line)
        fields.require(line.quantity > 0, f"lines[{index}].quantity", f"must be above 0, was {line.quantity}")
    return tuple(LineItem(line.sku, line.title, line.quantity, line.unit_price_minor) for line in messages[:LINES_MAX])


def pay_code(fields: Fields, text: str) -> Secret | None:
    """A pay code, if one was scanned; no answer repeats anything of it."""
    code = Secret(text.encode())
    fields.require(not text or paycode.parse(code) is not None, "pay_code", "is none, or was misread; scan it again")
    return code if text else None


def pin(fields: Fields, text: str) -> Secret:
    """A PIN, of which no answer repeats anything."""
    fields.require(bool(_PIN.fullmatch(text)), "pin", "must be 4 to 12 digits")
    return Secret(text.encode())


def _check_line(fields: Fields, name: str, line: api.NewLine | line_item_pb2.LineItem) -> None:
    fields.text(f"{name}.sku", line.sku, length_min=1, length_max=SKU_MAX)
    fields.text(f"{name}.title", line.title, length_max=TITLE_MAX)
    fields.require(line.quantity != 0, f"{name}.quantity", "must not be 0")
    fields.in_range(f"{name}.quantity", line.quantity)
    fields.in_range(f"{name}.unit_price_minor", line.unit_price_minor)
