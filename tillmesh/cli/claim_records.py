"""Prints an order that a phone has claimed, for the shopper."""

from tillmesh.api.payment.v1 import order_claim_pb2
from tillmesh.cli.checkout_records import article_name, quantity_of
from tillmesh.cli.display import amount, say, seconds, show_json, show_table
from tillmesh.runtime.foreign_text import named
from tillmesh.runtime.money import Money


def show_claim(claim: order_claim_pb2.OrderClaim) -> None:
    """Prints what the shopper is to pay: lines, taxes, the amount."""
    if show_json([claim]):
        return
    order = claim.order
    currency = order.amount.currency_code
    rows = [
        (article_name(item), quantity_of(item), Money(currency, item.amount_minor).decimal()) for item in order.lines
    ]
    show_table(f"Order {order.order_id}", ["what", "quantity", currency], rows, right=[currency])
    how = "included" if order.prices_include_tax else "added"
    for tax in order.taxes:
        code = f"{named(tax.tax_code)} " if tax.tax_code else ""
        on, of = Money(currency, tax.net_minor), Money(currency, tax.tax_minor)
        say(f"Tax {code}{tax.tax_rate_ppm / 10_000:g} %, {how}: {of} on {on}.")
    due = f"{amount(order.amount)} are due to {named(order.store_id)}"
    say(f"{due}. The order is yours for {seconds(claim.remaining)} seconds.")
