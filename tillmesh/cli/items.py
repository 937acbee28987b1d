"""Items as somebody types them in: SKU, SKU=QUANTITY or SKU=QUANTITY@PRICE."""

import re
from collections.abc import Sequence
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.cli.options import money

Items = Annotated[
    list[str],
    typer.Argument(
        help="SKU, SKU=QUANTITY or SKU=QUANTITY@PRICE. QUANTITY may end in g, ml or mm: PRICE is for 1,000 then."
    ),
]
_ITEM = re.compile(r"(?P<sku>[^=@]+)(=(?P<quantity>[0-9]{1,9})(?P<unit>g|ml|mm)?)?(@(?P<price>.+))?")
_UNITS = {
    "g": line_item_pb2.LineItem.UNIT_GRAM,
    "ml": line_item_pb2.LineItem.UNIT_MILLILITER,
    "mm": line_item_pb2.LineItem.UNIT_MILLIMETER,
}


def new_line(item: str, currency: str) -> checkout_api.NewLine:
    """The line of an item; without a price it needs the catalogue."""
    match = _ITEM.fullmatch(item)
    if match is None:
        raise typer.BadParameter(f"{item!r} is not SKU, SKU=QUANTITY or SKU=QUANTITY@PRICE", param_hint="ITEMS")
    line = checkout_api.NewLine(sku=match["sku"], quantity=int(match["quantity"] or 1))
    if match["unit"]:
        line.unit = _UNITS[match["unit"]]
    if match["price"] is not None:
        line.unit_price_minor = money(match["price"], currency).minor_units
    return line


def priced_lines(items: Sequence[str], currency: str) -> list[line_item_pb2.LineItem]:
    """Lines that somebody typed in, each with its price."""
    return [_priced(new_line(item, currency)) for item in items]


def _priced(line: checkout_api.NewLine) -> line_item_pb2.LineItem:
    if not line.HasField("unit_price_minor"):
        raise typer.BadParameter(f"{line.sku} has no price of its own: give it as SKU@PRICE", param_hint="ITEMS")
    unit = line.unit or line_item_pb2.LineItem.UNIT_PIECE
    return line_item_pb2.LineItem(
        sku=line.sku,
        quantity=line.quantity,
        unit=unit,
        unit_price_minor=line.unit_price_minor,
        price_quantity=1 if unit == line_item_pb2.LineItem.UNIT_PIECE else 1000,
    )
