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
    lines: list[LineItem] = []
    discounts: list[InvoiceLine] = []
    for row in rows:
        if row.amount_minor < 0 or (row.quantity < 0 and row.amount_minor == 0):
            discounts.append(row)
        else:  # with two minus signs it is above zero
            lines.append(LineItem(row.sku, row.title, abs(row.quantity), abs(row.unit_price_minor)))
    discount_minor = sum(row.amount_minor for row in discounts)
    if discount_minor == 0:
        return tuple(lines)
    text = ", ".join(row.title for row in discounts if row.amount_minor)[:TEXT_LENGTH_MAX]
    return spread(lines, Adjustment(DISCOUNT, text, discount_minor))
