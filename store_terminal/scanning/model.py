"""What a scan says, the rules for in-store codes, and what came of a scan."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from store_terminal.checkouts.model import Checkout
from store_terminal.outbox.model import Exchange

THE_RULES = 1
"""The key of the only ones."""


@dataclass(frozen=True, slots=True)
class PayCodeScan:
    """A pay code was scanned. Nothing of it is kept."""


@dataclass(frozen=True, slots=True)
class ReceiptScan:
    """A receipt was scanned."""

    order_id: str


@dataclass(frozen=True, slots=True)
class ImpliedDecimal:
    """A number whose code says where the decimal point is: `value` divided by ten to the power of `decimals`."""

    value: int
    decimals: int

    def scaled(self, decimals: int) -> int | None:
        """The number in units of that many decimals; None if it is no whole number of them."""
        more = decimals - self.decimals
        whole, left = divmod(self.value * 10 ** max(more, 0), 10 ** max(-more, 0))
        return None if left else whole


@dataclass(frozen=True, slots=True)
class ArticleScan:
    """An article was scanned, perhaps with more than its GTIN."""

    gtin: str
    """14 digits; perhaps those of an in-store code."""
    kilograms: ImpliedDecimal | None = None
    """The net weight (AI 310n)."""
    pieces: int | None = None
    """The number of articles in a package (AI 37 with AI 02)."""
    amount: ImpliedDecimal | None = None
    """The amount of the line (AI 392n, 393n)."""
    currency_number: str = ""
    """The currency of the amount as its ISO 4217 number (AI 393n); empty where the code does not say it."""
    best_before: date | None = None
    """The last day of the best quality (AI 15)."""
    use_by: date | None = None
    """The last day on which it may be used (AI 17)."""
    like_pay_code: bool = False
    """True where what was scanned begins as pay codes do. It may be a part of one, so no text names its digits."""


Scan = PayCodeScan | ReceiptScan | ArticleScan


class Value(StrEnum):
    """What stands in an in-store code beside the article."""

    WHOLE_CODE = "WHOLE_CODE"
    QUANTITY = "QUANTITY"
    AMOUNT = "AMOUNT"


@dataclass(frozen=True, slots=True)
class InStoreCodeRule:
    """How to read in-store codes of a prefix and a length; positions are counted from 1."""

    prefix: str
    code_length: int
    value: Value
    article_start: int = 0
    article_digits: int = 0
    value_start: int = 0
    value_digits: int = 0
    value_exponent: int = 0
    price_check_position: int = 0
    """Where the check digit of the value stands; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class ScanRules:
    """How the terminal reads what a scanner sends."""

    rules: Sequence[InStoreCodeRule] = ()
    add_to_line: bool = False
    version: int = 0
    updated_at_ms: int = 0
    rules_id: int = THE_RULES


@dataclass(frozen=True, slots=True)
class InStoreReading:
    """An in-store code taken apart by its rule."""

    sku: str = ""
    """The article's digits; empty where the whole code is its GTIN."""
    quantity: int | None = None
    """In the article's unit."""
    amount_minor: int | None = None


class DecisionKind(StrEnum):
    """A question that somebody at the till must answer before an article is sold."""

    AGE = "AGE"
    BEST_BEFORE = "BEST_BEFORE"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class Decision:
    """A question about an article."""

    kind: DecisionKind
    minimum_age_years: int = 0
    passed_at: datetime | None = None
    """The first moment after the date of the package."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What came of the scan of an article."""

    outcome: Checkout | Exchange
    line_number: int = 0
    """The line that it was added to; 0 if decisions are missing."""
    missing: Sequence[Decision] = ()
    """What has to be decided before it is added."""
