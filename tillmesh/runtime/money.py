"""Money: integer minor units of an ISO 4217 currency, never a float."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from iso4217 import Currency

# Keeps every sum of 2,000 such amounts well inside a signed 64-bit integer.
MINOR_UNITS_MAX = 10**15


def _minor_digits() -> dict[str, int]:
    """Digits after the point by code; codes without a minor unit, such as gold's XAU, are no money here."""
    return {currency.code: int(currency.exponent) for currency in Currency if currency.exponent is not None}


PLAIN = re.compile(r"[0-9A-Za-z+.-]+")
MINOR_DIGITS = _minor_digits()
NUMBERS = {f"{currency.number:03}": currency.code for currency in Currency if currency.number}
"""Codes of currencies by their ISO 4217 number, which barcodes have."""
CURRENCY_RULE = "must be an ISO 4217 currency with a minor unit, such as GBP"
"""The text for a currency that is not in MINOR_DIGITS."""


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount; `minor` is in the currency's minor unit (pence, yen, fils)."""

    currency: str
    minor: int

    def __str__(self) -> str:
        return f"{self.decimal()} {self.currency}"

    def decimal(self) -> str:
        """The amount as a plain decimal with all the currency's digits: "12.50", "1250"."""
        digits = MINOR_DIGITS[self.currency]
        text = f"{abs(self.minor):0{digits + 1}}"  # integers only: decimals are rounded to 28 digits
        whole, part = text[: len(text) - digits], text[len(text) - digits :]
        return ("-" if self.minor < 0 else "") + (f"{whole}.{part}" if part else whole)


def minor_units(text: str, currency: str) -> int:
    """Minor units of a decimal such as "2.55"; ValueError says what is wrong with it."""
    try:
        # Decimal also takes blanks, underscores and the digits of other scripts.
        amount = Decimal(text if PLAIN.fullmatch(text) else "")
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not amount.is_finite():
        raise ValueError(f"{text!r} is not a finite number")
    # Comparisons are exact where arithmetic rounds to 28 digits or overflows, and come first: an
    # exponent of millions must not become an integer of megabytes.
    if amount.copy_abs() > MINOR_UNITS_MAX:
        raise ValueError(f"{text!r} is too large")
    digits = MINOR_DIGITS[currency]
    whole = amount.quantize(Decimal(1).scaleb(-digits))
    if whole != amount:
        raise ValueError(f"{text!r} is not a whole number of minor units: {currency} has {digits} decimals")
    return int(whole.scaleb(digits))
