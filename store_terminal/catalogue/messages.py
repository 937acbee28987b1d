"""Articles on the wire."""

from store_terminal.catalogue.model import CatalogueItem
from tillmesh.api.terminal.v1 import catalogue_item_pb2
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.lines import Kind, Unit, default_price_quantity
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import SKU_MAX, TITLE_MAX, gtin, kind_of, tax, unit_of
from tillmesh.rpc.messages import to_money
from tillmesh.runtime.money import MINOR_UNITS_MAX


def to_item(item: CatalogueItem) -> catalogue_item_pb2.CatalogueItem:
    """An article."""
    return catalogue_item_pb2.CatalogueItem(
        sku=item.sku,
        gtin=item.gtin,
        title=item.title,
        kind=LineItem.Kind.Value(f"KIND_{item.kind}"),
        unit=LineItem.Unit.Value(f"UNIT_{item.unit}"),
        unit_price=to_money(item.unit_price),
        price_quantity=item.price_quantity,
        tax_code=item.tax_code,
        tax_rate_ppm=item.tax_rate_ppm,
    )


def catalogue_item(fields: Fields, name: str, message: catalogue_item_pb2.CatalogueItem) -> CatalogueItem:
    """An article off the wire."""
    unit = unit_of(fields, name, message.unit) or Unit.PIECE
    price_quantity = message.price_quantity or default_price_quantity(unit)
    ok = 1 <= price_quantity <= MINOR_UNITS_MAX
    fields.require(ok, f"{name}.price_quantity", f"must be 1 to {MINOR_UNITS_MAX}, was {price_quantity}")
    tax(fields, name, message.tax_code, message.tax_rate_ppm)
    return CatalogueItem(
        sku=fields.text(f"{name}.sku", message.sku, length_min=1, length_max=SKU_MAX),
        gtin=gtin(fields, name, message.gtin),
        title=fields.text(f"{name}.title", message.title, length_max=TITLE_MAX),
        kind=kind_of(fields, name, message.kind) or Kind.GOODS,
        unit=unit,
        unit_price=fields.money(f"{name}.unit_price", message.unit_price, minimum=0),
        price_quantity=price_quantity,
        tax_code=message.tax_code,
        tax_rate_ppm=message.tax_rate_ppm,
    )
