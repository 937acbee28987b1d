"""Receipts: 42 columns of plain text, the width of a receipt printer."""

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache

from store_terminal.checkouts.model import Checkout
from store_terminal.refunds.model import TillRefund
from tillmesh.lines import LineItem, PriceSource, TaxTotal, Unit
from tillmesh.runtime.money import Money

COLUMNS = 42
RULE = "-" * COLUMNS
_SYMBOLS = {Unit.GRAM: "kg", Unit.MILLILITER: "l", Unit.MILLIMETER: "m"}
"""Of a thousand units, as prices are given and shoppers read them."""


def receipt(checkout: Checkout, refunds: Sequence[TillRefund], terminal_id: str, *, earlier: bool = False) -> str:
    """The receipt of a paid checkout, with what was given back since; lines end in a line feed.

    `earlier` tells that there are refunds before these.
    """
    text = [
        *_columns(f"Store {checkout.store_id}", f"Till {terminal_id}"),
        *_columns(checkout.checkout_id, _utc(checkout.paid_at_ms)),
        RULE,
        *(row for line in checkout.lines for row in _item(line.item, checkout.amount.currency)),
        RULE,
        *_total(checkout),
        *_paid_by(checkout),
    ]
    if earlier:
        text += [RULE, "Earlier refunds are not shown"]
    for refund in refunds:
        text += [RULE, *_refund(refund)]
    return "".join(f"{line}\n" for line in text)


def _total(checkout: Checkout) -> Iterator[str]:
    """The total: after taxes that come on top, before taxes that it includes."""
    currency, taxes = checkout.amount.currency, checkout.totals.taxes
    total = _columns(f"TOTAL {currency}", checkout.amount.decimal())
    if checkout.prices_include_tax:
        yield from total
        yield from _taxes(taxes, currency, "incl. tax")
    else:
        yield from _taxes(taxes, currency, "plus tax")
        yield from total


def _taxes(taxes: Sequence[TaxTotal], currency: str, what: str) -> Iterator[str]:
    for tax in taxes:
        rate = f"{Decimal(tax.tax_rate_ppm).scaleb(-4).normalize():f}%"
        named = f"{tax.tax_code} {rate}" if tax.tax_code else rate
        net, amount = Money(currency, tax.net_minor), Money(currency, tax.tax_minor)
        yield from _columns(f"{what} {named} of {net.decimal()}", amount.decimal())


def _paid_by(checkout: Checkout) -> Iterator[str]:
    if not checkout.paid_by:
        yield "Nothing to pay"
        return
    yield from _wrapped(f"Paid by {checkout.payer_display_name or checkout.payer.value}")
    yield from _wrapped(f"Payment {checkout.paid_by}")


def _refund(refund: TillRefund) -> Iterator[str]:
    for item in refund.items:
        yield from _item(item, refund.currency)
    back = Money(refund.currency, -(refund.amount_minor or 0))
    yield from _columns(f"REFUND {refund.currency}", back.decimal())
    yield from _taxes(refund.taxes, refund.currency, "of it tax")
    yield from _wrapped(refund.note)
    yield from _columns(f"Refund {refund.refund_id}", _utc(refund.created_at_ms))


def _item(item: LineItem, currency: str) -> Iterator[str]:
    yield from _wrapped(item.title or item.sku)
    price = "" if item.price_source is PriceSource.LABEL else f" × {_price(item, currency)}"
    yield from _columns(f"  {_measure(item.quantity, item.unit)}{price}", Money(currency, item.price_minor).decimal())
    for adjustment in item.adjustments:
        amount = Money(currency, adjustment.amount_minor)
        yield from _columns(f"  {_printable(adjustment.text) or adjustment.reason_code}", amount.decimal())


def _price(item: LineItem, currency: str) -> str:
    """The price, and of how much if that is not one piece: 12.90/kg, 17.99/10 l, 5.00/6."""
    price = Money(currency, item.unit_price_minor).decimal()
    if item.unit is Unit.PIECE:
        return price if item.price_quantity == 1 else f"{price}/{item.price_quantity}"
    symbol = _SYMBOLS[item.unit]
    return f"{price}/{symbol}" if item.price_quantity == 1000 else f"{price}/{_measure(item.price_quantity, item.unit)}"


def _measure(quantity: int, unit: Unit) -> str:
    """A quantity: pieces, or kilograms, litres and metres."""
    if unit is Unit.PIECE:
        return str(quantity)
    return f"{Decimal(quantity).scaleb(-3).normalize():f} {_SYMBOLS[unit]}"


def _utc(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _columns(left: str, right: str) -> Iterator[str]:
    """`left` at the left and `right` at the right; on lines of their own where they do not fit on one."""
    gap = COLUMNS - _width(left) - _width(right)
    if gap > 0:
        yield left + " " * gap + right
        return
    yield from _wrapped(left)
    yield " " * (COLUMNS - _width(right)) + right


def _wrapped(text: str) -> Iterator[str]:
    """Breaks a text at blanks where it can; nothing in it can steer the printer."""
    if len(text) <= COLUMNS and text.isascii() and text.isprintable():  # as nearly all are
        if text := " ".join(text.split()):
            yield text
        return
    line, used = "", 0
    for word in _printable(text).split():
        needed = _width(word)
        if line and used + 1 + needed > COLUMNS:
            yield line
            line, used = "", 0
        line, used = (f"{line} {word}", used + 1 + needed) if line else (word, needed)
        while used > COLUMNS:
            head, taken = _head(line)
            yield head
            line, used = line[len(head) :], used - taken
    if line:
        yield line


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(mark if mark.isprintable() else " " for mark in text)


def _head(text: str) -> tuple[str, int]:
    """As much of a text as fits a line, and its width. The text has more."""
    used = 0
    for end, mark in enumerate(text):
        width = _width_of(mark)
        if used + width > COLUMNS:
            return text[:end], used
        used += width
    return text, used


def _width(text: str) -> int:
    """Columns on paper."""
    return len(text) if text.isascii() else sum(map(_width_of, text))


@lru_cache(maxsize=4096)
def _width_of(mark: str) -> int:
    """Wide letters, such as Japanese ones, take two columns; marks on a letter none."""
    if unicodedata.combining(mark):
        return 0
    return 2 if unicodedata.east_asian_width(mark) in "WF" else 1
