"""Items as somebody types them in: SKU, SKU=QUANTITY or SKU=QUANTITY@PRICE."""

import re

import typer

from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.cli.options import money

ITEMS_HELP = "SKU, SKU=QUANTITY or SKU=QUANTITY@PRICE. QUANTITY may end in g, ml or mm: PRICE is for 1,000 then."
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
