"""Prints checkouts and their lines, for people."""

from collections.abc import Iterator, Sequence

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.cli.display import (
    amount,
    date_time,
    payer_name,
    say,
    short_actor,
    show_json,
    show_table,
    verdict_name,
)
from tillmesh.runtime.foreign_text import named, quoted, visible
from tillmesh.runtime.money import Money

Item = line_item_pb2.LineItem
_UNITS = {Item.UNIT_GRAM: " g", Item.UNIT_MILLILITER: " ml", Item.UNIT_MILLIMETER: " mm"}


def show_checkouts(checkouts: Sequence[checkout_pb2.Checkout]) -> None:
    """Prints checkouts; of those that are put aside, by whom and until when."""
    if show_json(checkouts):
        return
    rows = [
        (
            checkout.checkout_id,
            date_time(checkout.create_time),
            payer_name(checkout.payer),
            checkout.lane,
            checkout.cashier_id,
            amount(checkout.amount),
            checkout_pb2.Checkout.State.Name(checkout.state).removeprefix("STATE_"),
            verdict_name(checkout),
            _parked(checkout),
        )
        for checkout in checkouts
    ]
    columns = ["checkout", "opened", "payer", "lane", "cashier", "amount", "state", "verdict", "parked"]
    show_table("Checkouts", columns, rows, right=["amount"])


def show_lines(checkout: checkout_pb2.Checkout) -> None:
    """Prints the lines of a checkout with their numbers, and what they come to."""
    if show_json([checkout]):
        return
    currency = checkout.amount.currency_code
    rows = [
        (
            str(line.line_number),
            article_name(line.item),
            quantity_of(line.item),
            _price(line.item, currency),
            "; ".join(_remarks(line, currency)),
            Money(currency, line.item.amount_minor).decimal(),
        )
        for line in checkout.lines
    ]
    columns = ["line", "what", "quantity", "price", "remarks", currency]
    show_table(f"Checkout {checkout.checkout_id}", columns, rows, right=["line", "quantity", "price", currency])
    version = f"order version {checkout.order_version}" if checkout.order_version else "no order yet"
    parked = f" Parked: {_parked(checkout)}." if checkout.HasField("parking") else ""
    say(f"It comes to {amount(checkout.amount)}, {version}.{parked}")


def article_name(item: Item) -> str:
    """What a shopper reads: the title, or the shop's code where it shows nothing."""
    return visible(item.title).strip() or item.sku


def quantity_of(item: Item) -> str:
    """How much of it, with its unit: "432 g", or "2" pieces."""
    return f"{item.quantity}{_UNITS.get(item.unit, '')}"


def _price(item: Item, currency: str) -> str:
    if item.price_source == Item.PRICE_SOURCE_LABEL:
        return "label"
    price = Money(currency, item.unit_price_minor).decimal()
    return price if item.price_quantity == 1 else f"{price} / {item.price_quantity}{_UNITS.get(item.unit, '')}"


def _remarks(line: checkout_pb2.CheckoutLine, currency: str) -> Iterator[str]:
    item = line.item
    if item.kind != Item.KIND_GOODS:
        of = f" of line {line.deposit_of}" if line.deposit_of else ""
        yield Item.Kind.Name(item.kind).removeprefix("KIND_").lower() + of
    if item.HasField("price_override"):
        told = item.price_override
        usual = ""
        if told.HasField("catalogue_price_minor"):
            usual = f" instead of {Money(currency, told.catalogue_price_minor).decimal()}"
        because = f": {quoted(told.reason)}" if told.reason else ""
        yield f"price by {short_actor(told.actor)}{usual}{because}"
    for each in item.adjustments:
        text = f" {quoted(each.text)}" if each.text else ""
        yield f"{each.reason_code}{text} {Money(currency, each.amount_minor).decimal()}"
    if item.note:
        yield quoted(item.note)


def _parked(checkout: checkout_pb2.Checkout) -> str:
    if not checkout.HasField("parking"):
        return ""
    parking = checkout.parking
    what = quoted(parking.label) if parking.label else "without a label"
    by = f" by {named(parking.owner)}" if parking.owner else ""
    until = f" until {date_time(parking.expire_time)}" if parking.HasField("expire_time") else ""
    return f"{what}{by}{until}"
