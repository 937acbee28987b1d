"""In-store codes: barcodes that a store prints itself, read by the rules that the store has set. Pure."""

import re
from collections.abc import Sequence

from biip.checksums import gs1_price_weight_check_digit

from store_terminal.errors import Reason
from store_terminal.scanning.gs1 import unreadable
from store_terminal.scanning.model import ImpliedDecimal, InStoreCodeRule, InStoreReading, Value
from tillmesh.gtin import LENGTH

LONG, SHORT = 13, 8
PRICE_CHECK_DIGITS = (4, 5)
"""How many digits a value may have that has a check digit of its own."""
_PREFIXES = {LONG: ("02", "2"), SHORT: ("0", "2")}
_DIGITS = re.compile(r"[0-9]+")


def is_in_store_prefix(prefix: str, code_length: int) -> bool:
    """True for the first digits of in-store codes of a length."""
    return bool(_DIGITS.fullmatch(prefix)) and prefix.startswith(_PREFIXES[code_length])


def in_store_code(gtin: str) -> str | None:
    """The 13 or 8 digits of an in-store code; None for every other GTIN of 14 digits.

    GS1 General Specifications, restricted circulation numbers: prefixes 02 and 20 to 29, and of 8 digits 0 and 2.
    """
    for length in (SHORT, LONG):
        code = gtin[LENGTH - length :]
        if gtin == code.zfill(LENGTH):
            return code if is_in_store_prefix(code, length) else None
    return None


def in_store_reading(gtin: str, rules: Sequence[InStoreCodeRule]) -> InStoreReading | None:
    """What an in-store code says by its rule; None for a GTIN that is one of the catalogue.

    Without a rule 13 digits say nothing: RULE_MISSING. 8 digits are a GTIN then, as chains number their own goods so.
    """
    if not (code := in_store_code(gtin)):
        return None
    fitting = [rule for rule in rules if rule.code_length == len(code) and code.startswith(rule.prefix)]
    if fitting:
        return _reading(code, max(fitting, key=lambda rule: len(rule.prefix)))
    if len(code) == SHORT:
        return None
    raise Reason.RULE_MISSING(prefix=code[:2], length=len(code))


def _reading(code: str, rule: InStoreCodeRule) -> InStoreReading:
    if rule.value is Value.WHOLE_CODE:
        return InStoreReading()
    sku = _digits(code, rule.article_start, rule.article_digits)
    digits = _digits(code, rule.value_start, rule.value_digits)
    if rule.price_check_position:
        _require_price_check(digits, code[rule.price_check_position - 1])
    number = ImpliedDecimal(int(digits), -rule.value_exponent).scaled(0)
    if number is None:
        raise unreadable(f"its value has more digits than the rule of prefix {rule.prefix} allows")
    return InStoreReading(sku, number) if rule.value is Value.QUANTITY else InStoreReading(sku, amount_minor=number)


def _digits(code: str, start: int, count: int) -> str:
    return code[start - 1 : start - 1 + count]


def _require_price_check(digits: str, check: str) -> None:
    """The check digit of a price or weight.

    GS1 General Specifications, "Check digit calculation for price/weight fields": each digit of four is replaced by
    its entry in the tables 2-, 2-, 3 and 5-, and three times the sum ends in the check digit. Each of five is replaced
    by its entry in 5+, 2-, 5-, 5+ and 2-, and table 5- replaces the check digit by what the sum lacks to the next ten.
    """
    if gs1_price_weight_check_digit(digits) != int(check):
        raise Reason.CHECK_DIGIT_WRONG(what="the price or weight in the code")
