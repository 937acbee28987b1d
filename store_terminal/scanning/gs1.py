"""GS1 element strings and Digital Links (GS1 General Specifications, chapter 3; GS1 Digital Link: URI syntax).

`biip` knows the application identifiers (AIs), and what their values look like.
"""

import re
from calendar import monthrange
from collections.abc import Iterable, Mapping
from datetime import date
from urllib.parse import parse_qsl, urlsplit

from biip import ParseError
from biip.gs1_application_identifiers import GS1ApplicationIdentifier
from biip.gs1_digital_link_uris import GS1DigitalLinkURI

from store_terminal.errors import Reason
from store_terminal.scanning.model import ArticleScan, ImpliedDecimal
from tillmesh.gtin import is_gtin
from tillmesh.runtime.errors import Refusal

FNC1 = "\x1d"
"""Separates element strings, as scanners send it."""
Elements = Mapping[str, str]
"""Values by their AI."""
_OF_GTIN = ("01", "02")
_DIGITS = re.compile(r"[0-9]+")
_KILOGRAMS = re.compile(r"310([0-9])")
_AMOUNT = re.compile(r"39[23]([0-9])")
_CURRENCY_DIGITS = 3


def unreadable(why: str) -> Refusal:
    """A code that cannot be read. It may be a pay code that was misread: nothing of it stands in `why`."""
    return Reason.CODE_UNREADABLE(why=why)


def elements(text: str) -> Elements:
    """The element strings of a text."""
    if not text.isascii():
        raise unreadable("GS1 element strings have ASCII characters only")
    found: list[tuple[str, str]] = []
    rest = text.lstrip(FNC1)
    while rest:
        ai, end = _first_element(rest)
        found.append((ai, rest[len(ai) : end]))
        rest = rest[end:].lstrip(FNC1)
    return _once_each(found)


def link(text: str) -> Elements:
    """The element strings of a Digital Link."""
    if not text.isascii():
        raise unreadable("GS1 Digital Links have ASCII characters only")
    try:
        parsed = GS1DigitalLinkURI.parse(text)
    except (ParseError, ValueError, LookupError):
        raise unreadable("the link is no GS1 Digital Link") from None
    _require_once_in_query(urlsplit(text).query)
    found = [(element.ai.ai, element.value) for element in parsed.element_strings]
    if not all(value.isascii() for _, value in found):  # %D9%A1 is a digit as well
        raise unreadable("GS1 element strings have ASCII characters only")
    return _once_each(found)


def article(found: Elements, year: int) -> ArticleScan:
    """The article of element strings; `year` is the current one."""
    gtins = [found[ai] for ai in _OF_GTIN if ai in found]
    if len(gtins) != 1:
        raise unreadable("it has no GTIN (AI 01 or 02)" if not gtins else "it has the GTINs of AI 01 and AI 02")
    if not is_gtin(gtins[0]):
        raise Reason.CHECK_DIGIT_WRONG(what="the GTIN in the code")
    if "02" in found and "37" not in found:
        raise unreadable("it has the GTIN of what is in a package (AI 02), and not how many are in it (AI 37)")
    amount, currency_number = _amount(found)
    return ArticleScan(
        gtin=gtins[0],
        kilograms=_kilograms(found),
        pieces=int(found["37"]) if "02" in found else None,  # of AI 01 it says nothing
        amount=amount,
        currency_number=currency_number,
        best_before=_date(found["15"], year) if "15" in found else None,
        use_by=_date(found["17"], year) if "17" in found else None,
    )


def _first_element(text: str) -> tuple[str, int]:
    """The AI that a text begins with, and where its value ends."""
    try:
        ai = GS1ApplicationIdentifier.extract(text)
    except ParseError:
        raise unreadable("it has something that is no GS1 application identifier") from None
    field = text.partition(FNC1)[0]
    match = re.match(ai.pattern.removesuffix("$"), field)
    if not match or (ai.separator_required and match.end() < len(field)):
        raise unreadable("the value of a GS1 application identifier has a wrong form")
    return ai.ai, match.end()


def _require_once_in_query(query: str) -> None:
    """Refuses AIs that stand in a query twice, or without a value. All keys of digits are AIs.

    Of several values `biip` takes the last, and it passes over empty ones.
    """
    values = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if _DIGITS.fullmatch(key)]
    if not all(value for _, value in values):
        raise unreadable("it has a GS1 application identifier without a value")
    if len(dict(values)) < len(values):
        raise unreadable("it has one GS1 application identifier twice")


def _once_each(found: Iterable[tuple[str, str]]) -> Elements:
    values: dict[str, str] = {}
    for ai, value in found:
        if values.setdefault(ai, value) != value:
            raise unreadable("it has two values of one GS1 application identifier")
    return values


def _one_of(found: Elements, pattern: re.Pattern[str]) -> tuple[str, int]:
    """The AI of a group that a code has, and its decimals; empty if it has none."""
    matches = [match for ai in found if (match := pattern.fullmatch(ai))]
    if len(matches) > 1:
        raise unreadable(f"it has both AI {matches[0][0]} and AI {matches[1][0]}")
    return (matches[0][0], int(matches[0][1])) if matches else ("", 0)


def _kilograms(found: Elements) -> ImpliedDecimal | None:
    ai, decimals = _one_of(found, _KILOGRAMS)
    return ImpliedDecimal(int(found[ai]), decimals) if ai else None


def _amount(found: Elements) -> tuple[ImpliedDecimal | None, str]:
    """The amount, and the number of its currency where the code says it (AI 393n)."""
    ai, decimals = _one_of(found, _AMOUNT)
    if not ai:
        return None, ""
    said = _CURRENCY_DIGITS if ai.startswith("393") else 0
    return ImpliedDecimal(int(found[ai][said:]), decimals), found[ai][:said]


def _date(digits: str, year: int) -> date:
    """YYMMDD as a date.

    GS1 General Specifications, "Determination of century in dates": of a year that is 51 or more ahead it is the
    century before, of one that is 50 or more behind the next one. Day 00 is the last of the month.
    """
    of_year, month, day = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    ahead = of_year - year % 100
    century = year - year % 100 + (-100 if ahead > 50 else 100 if ahead <= -50 else 0)
    try:
        return date(century + of_year, month, day or monthrange(century + of_year, month)[1])
    except ValueError:  # calendar.IllegalMonthError is one
        raise unreadable("it has a date that does not exist") from None
