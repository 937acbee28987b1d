"""What a till prints: 42 columns of plain text, the width of a receipt printer."""

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from store_terminal.model import Checkout, LineItem, TillRefund
from tillmesh.runtime.money import Money

COLUMNS = 42
RULE = "-" * COLUMNS


def receipt(checkout: Checkout, refunds: Sequence[TillRefund], terminal_id: str) -> str:
    """The receipt of a paid checkout, with what was given back since; lines end in a line feed."""
    currency = checkout.amount.currency
    text = [
        *_columns(f"Store {checkout.store_id}", f"Till {terminal_id}"),
        *_columns(checkout.checkout_id, _utc(checkout.paid_at_ms)),
        RULE,
        *(row for line in checkout.lines for row in _item(line.item, currency)),
        RULE,
        *_columns(f"TOTAL {currency}", checkout.amount.decimal()),
        *_wrapped(f"Paid by {checkout.payer_display_name or checkout.payer_id}"),
        *_wrapped(f"Payment {checkout.paid_by}"),
    ]
    for refund in refunds:
        text += [RULE, *_refund(refund)]
    return "".join(f"{line}\n" for line in text)


def _refund(refund: TillRefund) -> Iterator[str]:
    for item in refund.items:
        yield from _item(item, refund.currency)
    back = Money(refund.currency, -(refund.amount_minor or 0))
    yield from _columns(f"REFUND {refund.currency}", back.decimal())
    yield from _wrapped(refund.note)
    yield from _columns(f"Refund {refund.refund_id}", _utc(refund.created_at_ms))


def _item(item: LineItem, currency: str) -> Iterator[str]:
    yield from _wrapped(item.title or item.sku)
    price = Money(currency, item.unit_price_minor).decimal()
    amount = Money(currency, item.quantity * item.unit_price_minor).decimal()
    yield from _columns(f"  {item.quantity} × {price}", amount)


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
    line = ""
    for word in "".join(mark if mark.isprintable() else " " for mark in text).split():
        if line and _width(line) + 1 + _width(word) > COLUMNS:
            yield line
            line = ""
        line += f" {word}" if line else word
        while _width(line) > COLUMNS:
            head = _head(line)
            yield head
            line = line[len(head) :]
    if line:
        yield line


def _head(text: str) -> str:
    end = len(text)
    while _width(text[:end]) > COLUMNS:
        end -= 1
    return text[:end]


def _width(text: str) -> int:
    """Columns on paper: wide letters, such as Japanese ones, take two; marks on a letter none."""
    return sum(
        0 if unicodedata.combining(mark) else 2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in text
    )
