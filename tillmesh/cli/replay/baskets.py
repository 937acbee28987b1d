"""Makes a basket of an invoice's rows. No line of a basket is negative; so rows below zero become one discount."""

from collections.abc import Iterable

from tillmesh.cli.replay.invoices import InvoiceLine
from tillmesh.lines import Adjustment, LineItem, spread

DISCOUNT = "DISCOUNT"
TEXT_LENGTH_MAX = 128


def basket(rows: Iterable[InvoiceLine]) -> tuple[LineItem, ...]:
    """Lines that come to exactly what the rows come to, which is above zero.

    The rows below zero together are a discount of the whole basket, spread over the other lines. A row with a
    negative quantity and a price of 0 comes to nothing, so it is left out.
    """
    sold, discounts = sold_and_discounts(rows)
    # With two minus signs a row is above zero.
    lines = [LineItem(row.sku, row.title, abs(row.quantity), abs(row.unit_price_minor)) for row in sold]
    discount_minor = sum(row.amount_minor for row in discounts)
    if discount_minor == 0:
        return tuple(lines)
    text = ", ".join(row.title for row in discounts if row.amount_minor)[:TEXT_LENGTH_MAX]
    return spread(lines, Adjustment(DISCOUNT, text, discount_minor))


def sold_and_discounts(rows: Iterable[InvoiceLine]) -> tuple[list[InvoiceLine], list[InvoiceLine]]:
    """The rows that become lines, in the order of these lines, and those that become the discount."""
    sold: list[InvoiceLine] = []
    discounts: list[InvoiceLine] = []
    for row in rows:
        is_discount = row.amount_minor < 0 or (row.quantity < 0 and row.amount_minor == 0)
        (discounts if is_discount else sold).append(row)
    return sold, discounts
