"""An article."""

from dataclasses import dataclass

from tillmesh.lines import Kind as LineKind
from tillmesh.lines import Unit
from tillmesh.runtime.money import Money


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """An article that the store sells."""

    sku: str
    gtin: str
    title: str
    kind: LineKind
    unit: Unit
    unit_price: Money
    price_quantity: int
    tax_code: str
    tax_rate_ppm: int
