"""One language of receipts: its words, and how it writes amounts, quantities and dates."""

import re
from copy import copy
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache

from babel import Locale, localedata
from babel.dates import format_date, format_time
from babel.numbers import NumberPattern

from store_terminal.receipts.words import WORDS, Words
from tillmesh.runtime.money import MINOR_DIGITS, Money

_TAG = re.compile(r"[a-z]{2}(-[A-Z]{2})?")
_QUANTITY_DIGITS = (0, 6)
NO_BREAK = "\u00a0"
"""The blank that does not break a line; on paper it is a blank as any other."""
_BLANKS = str.maketrans({"\u202f": NO_BREAK, "\u2009": NO_BREAK})
LANGUAGE_RULE = f"must be one of {', '.join(sorted(WORDS))}, also with a country: pt-BR"


@dataclass(frozen=True, slots=True)
class Language:
    """A language with its country, if one was named. Amounts have all digits of their currency, and no others."""

    tag: str
    words: Words
    locale: Locale
    amounts: dict[int, NumberPattern]
    """By the digits of a currency."""
    quantities: NumberPattern

    def amount(self, money: Money) -> str:
        """An amount without its currency: "1,234.50". Its blanks are NO_BREAK, as all of those here."""
        digits = MINOR_DIGITS[money.currency]
        return self._number(self.amounts[digits], Decimal(money.minor).scaleb(-digits))

    def quantity(self, number: Decimal) -> str:
        """A number without zeros at its end: "0.432"."""
        return self._number(self.quantities, number)

    def moment(self, local: datetime) -> str:
        """Date, time and offset: "Mar 1, 2026 9:30 AM +01:00"."""
        date, time = format_date(local, "medium", locale=self.locale), format_time(local, "short", locale=self.locale)
        offset = local.isoformat()[-6:]
        return f"{date} {time} {offset}".translate(_BLANKS)

    def _number(self, pattern: NumberPattern, number: Decimal) -> str:
        text: str = pattern.apply(number, self.locale)
        return text.translate(_BLANKS)


def is_known(tag: str) -> bool:
    """True for a language that there are words of; its country must be one that it is spoken in."""
    return bool(_TAG.fullmatch(tag)) and tag[:2] in WORDS and localedata.exists(tag.replace("-", "_"))


@lru_cache
def language_of(tag: str) -> Language:
    """A known language. The first time it reads files."""
    locale = Locale.parse(tag, sep="-")
    pattern = locale.decimal_formats[None]
    amounts = {digits: _with_digits(pattern, digits, digits) for digits in set(MINOR_DIGITS.values())}
    return Language(tag, WORDS[tag[:2]], locale, amounts, _with_digits(pattern, *_QUANTITY_DIGITS))


def _with_digits(pattern: NumberPattern, least: int, most: int) -> NumberPattern:
    """The pattern of a language with other digits after the point."""
    changed = copy(pattern)
    changed.frac_prec = (least, most)
    return changed
