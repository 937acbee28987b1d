"""What shoppers put into their baskets: one thing at its price, or several with quantities, discounts and taxes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.lines import Adjustment, LineItem, totals

TAXES = (("", 0), ("STANDARD", 210_000), ("REDUCED", 88_750))


def gbp(minor: int) -> money_pb2.Money:
    """An amount of pence."""
    return money_pb2.Money(currency_code="GBP", minor_units=minor)


@dataclass(frozen=True)
class Basket:
    """What is bought, and whether its prices include their taxes."""

    lines: Sequence[LineItem]
    prices_include_tax: bool

    @property
    def amount_minor(self) -> int:
        """What is due."""
        return totals(self.lines, prices_include_tax=self.prices_include_tax).amount_minor

    def request(self, request_id: str, identity_id: str) -> checkouts_api.CreateCheckoutRequest:
        """Puts it on a till."""
        return checkouts_api.CreateCheckoutRequest(
            request_id=request_id,
            identity_id=identity_id,
            currency_code="GBP",
            lines=[_new_line(line) for line in self.lines],
            prices_include_tax=self.prices_include_tax,
        )


def one_thing(price_minor: int) -> Basket:
    """A basket that comes to exactly this."""
    return Basket([LineItem("a", "", 1, price_minor)], prices_include_tax=True)


def several_things(rng: random.Random) -> Basket:
    """Lines of which a part can come back; taxes are in the prices or come on top."""
    return Basket([_line(rng, sku) for sku in "abc"[: rng.randint(2, 3)]], prices_include_tax=rng.random() < 0.5)


def for_nothing(rng: random.Random) -> Basket:
    """A basket that comes to nothing, as a whole or after its discount."""
    price = rng.choice((0, 0, 70))
    discount = (Adjustment("GIFT", "", -price),) if price else ()
    return Basket([LineItem("gift", "", 1, price, adjustments=discount)], prices_include_tax=True)


def _line(rng: random.Random, sku: str) -> LineItem:
    tax_code, tax_rate_ppm = rng.choice(TAXES)
    quantity, price = rng.randint(1, 4), rng.randint(1, 120)
    discount = (Adjustment("COUPON", "", -rng.randint(1, price)),) if rng.random() < 0.5 else ()
    return LineItem(sku, "", quantity, price, tax_code=tax_code, tax_rate_ppm=tax_rate_ppm, adjustments=discount)


def _new_line(line: LineItem) -> checkouts_api.NewLine:
    message = checkouts_api.NewLine(
        sku=line.sku,
        quantity=line.quantity,
        title=line.title,
        unit_price_minor=line.unit_price_minor,
        tax_code=line.tax_code,
        tax_rate_ppm=line.tax_rate_ppm,
    )
    for each in line.adjustments:
        message.adjustments.add(reason_code=each.reason_code, text=each.text, amount_minor=each.amount_minor)
    return message
