"""What an item of a basket file is at the till, where the file has nothing but its name.

The rule: take the first 8 bytes of the SHA-256 of the name in UTF-8 as a number, and from its low end

- nine decimal digits: the article's number, which is in its sku and its GTIN;
- two decimal digits: 0 to 99. The price is 29 minor units and ten times that: 0.29 to 10.19;
- one bit: 0 is the reduced tax rate, 1 the standard one.

So an item is the same article in every file, and in every part of one. The GTIN begins with 952, which GS1 keeps for
examples: no article in a shop has it, and it is not for use within a store.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from tillmesh.api.terminal.v1 import catalogue_item_pb2
from tillmesh.api.type.v1 import money_pb2
from tillmesh.client.failures import Failure

PREFIX = "952"
NUMBERS = 10**9
TAXES = (("R", 50_000), ("S", 200_000))
"""Code and rate of the reduced tax and of the standard one."""


@dataclass(frozen=True, slots=True)
class Article:
    """An item as the catalogue has it."""

    name: str
    sku: str
    ean: str
    """Its GTIN, as the 13 digits of its barcode."""
    price_minor: int
    tax_code: str
    tax_rate_ppm: int

    def as_item(self, currency: str) -> catalogue_item_pb2.CatalogueItem:
        """For the import."""
        return catalogue_item_pb2.CatalogueItem(
            sku=self.sku,
            gtins=[self.ean],
            title=self.name,
            unit_price=money_pb2.Money(currency_code=currency, minor_units=self.price_minor),
            tax_code=self.tax_code,
            tax_rate_ppm=self.tax_rate_ppm,
        )


def article(name: str) -> Article:
    """The article of a name, by the rule."""
    rest, number = divmod(int.from_bytes(sha256(name.encode()).digest()[:8], "big"), NUMBERS)
    rest, price = divmod(rest, 100)
    tax_code, tax_rate_ppm = TAXES[rest % 2]
    digits = f"{PREFIX}{number:09}"
    return Article(name, f"GROCERY-{number:09}", digits + _check_digit(digits), 29 + 10 * price, tax_code, tax_rate_ppm)


def articles(names: Iterable[str]) -> dict[str, Article]:
    """The articles of all names, by name; two names must not be one article."""
    found: dict[str, Article] = {}
    by_ean: dict[str, str] = {}
    for name in sorted(set(names)):
        found[name] = one = article(name)
        if (other := by_ean.setdefault(one.ean, name)) != name:
            raise SameArticle(f"{other!r} and {name!r} would both be the article {one.ean}; rename one of them")
    return found


class SameArticle(Failure):
    """Two names of a file would be one article; nothing was started."""

    exit_status = 2


def _check_digit(digits: str) -> str:
    """Of a GTIN-13 without it: from the right, the digits count 3 and 1 in turn."""
    return str(-sum(int(digit) * (3 if index % 2 else 1) for index, digit in enumerate(digits)) % 10)
