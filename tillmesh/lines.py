"""Lines of real goods: what they come to, their taxes, discounts and refunds. Pure functions, integers only."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

LINES_MAX = 2000
PPM = 1_000_000
"""Tax rates are in millionths."""


class Kind(StrEnum):
    """The kind of a line. A basket discount is spread over GOODS alone."""

    GOODS = "GOODS"
    DEPOSIT = "DEPOSIT"
    TIP = "TIP"
    SERVICE = "SERVICE"


class Unit(StrEnum):
    """The unit of a quantity."""

    PIECE = "PIECE"
    GRAM = "GRAM"
    MILLILITER = "MILLILITER"
    MILLIMETER = "MILLIMETER"


class PriceSource(StrEnum):
    """The source of a price."""

    CATALOGUE = "CATALOGUE"
    OVERRIDE = "OVERRIDE"
    LABEL = "LABEL"


# An order may have thousands of these two: a named tuple is made in a fifth of the time that a frozen dataclass takes.
class Adjustment(NamedTuple):
    """A discount (below 0) or a surcharge of one line."""

    reason_code: str
    text: str
    amount_minor: int


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """A price that is not the catalogue's: the reason, and who set it."""

    reason: str
    actor: str
    catalogue_price_minor: int | None


class LineItem(NamedTuple):
    """One line; prices are minor units of the order's currency."""

    sku: str
    title: str
    quantity: int
    unit_price_minor: int
    kind: Kind = Kind.GOODS
    unit: Unit = Unit.PIECE
    price_quantity: int = 1
    gtin: str = ""
    tax_code: str = ""
    tax_rate_ppm: int = 0
    price_source: PriceSource = PriceSource.CATALOGUE
    price_override: PriceOverride | None = None
    label_amount_minor: int = 0
    adjustments: tuple[Adjustment, ...] = ()
    note: str = ""

    @property
    def price_minor(self) -> int:
        """The amount before the adjustments."""
        if self.price_source is PriceSource.LABEL:
            return self.label_amount_minor
        return divided(self.quantity * self.unit_price_minor, self.price_quantity)

    @property
    def amount_minor(self) -> int:
        """The amount of the line."""
        if not self.adjustments:
            return self.price_minor
        return self.price_minor + sum([adjustment.amount_minor for adjustment in self.adjustments])


@dataclass(frozen=True, slots=True)
class TaxTotal:
    """The sum of one tax over all its lines."""

    tax_code: str
    tax_rate_ppm: int
    net_minor: int
    tax_minor: int

    @property
    def gross_minor(self) -> int:
        """The amount with the tax."""
        return self.net_minor + self.tax_minor


@dataclass(frozen=True, slots=True)
class Totals:
    """The amount due for lines, and their taxes."""

    amount_minor: int
    """The amount due: the lines, and taxes that come on top."""
    taxes: tuple[TaxTotal, ...]
    """By code and rate; lines without either are in none."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The value of lines that come back."""

    amount_minor: int
    taxes: tuple[TaxTotal, ...]
    line_amounts: Mapping[int, int]
    """The value of each line by its position from 0, without taxes on top."""


class Uneven(ValueError):
    """An adjustment that would make a line negative, or that there is nothing to spread over."""


def divided(numerator: int, denominator: int) -> int:
    """The quotient, rounded half away from zero; the denominator is above 0."""
    half_up = (2 * abs(numerator) + denominator) // (2 * denominator)
    return half_up if numerator >= 0 else -half_up


def default_price_quantity(unit: Unit) -> int:
    """The default quantity that a price is for: a piece, a kilogram, a litre, a metre."""
    return 1 if unit is Unit.PIECE else 1000


def totals(lines: Sequence[LineItem], *, prices_include_tax: bool) -> Totals:
    """Adds lines up. Each tax is rounded once, over all lines with its code and rate."""
    return _totals(lines, [line.amount_minor for line in lines], prices_include_tax)


def adjusted(line: LineItem, adjustment: Adjustment) -> LineItem:
    """A line with one more adjustment; Uneven if it would be negative."""
    changed = line._replace(adjustments=(*line.adjustments, adjustment))
    if changed.amount_minor < 0:
        raise Uneven
    return changed


def spread(lines: Sequence[LineItem], adjustment: Adjustment) -> tuple[LineItem, ...]:
    """An adjustment of the whole basket, spread over its GOODS lines by their amounts.

    The largest remainder gets the next minor unit, of equal ones the earlier line. Uneven if the goods come to less.
    """
    goods = {index: line.amount_minor for index, line in enumerate(lines) if line.kind is Kind.GOODS}
    base, whole = sum(goods.values()), abs(adjustment.amount_minor)
    if base == 0 or (adjustment.amount_minor < 0 and whole > base):
        raise Uneven
    shares = dict(zip(goods, _shares(whole, list(goods.values())), strict=True))
    sign = 1 if adjustment.amount_minor > 0 else -1
    return tuple(
        adjusted(line, adjustment._replace(amount_minor=sign * shares[index])) if shares.get(index) else line
        for index, line in enumerate(lines)
    )


def returned(
    lines: Sequence[LineItem], left: Sequence[int], coming_back: Mapping[int, int], *, prices_include_tax: bool
) -> Returned:
    """Computes the value of quantities that come back, by the position of their lines from 0.

    `left` is how much of each line the shopper still has; no more of a line than that may come back. What is left of
    a line is worth its share, rounded half away from zero; what comes back is worth the order's amount before less
    its amount after. So however the lines come back, all of them together are worth exactly what was due.
    """
    after = [has - coming_back.get(index, 0) for index, has in enumerate(left)]
    amounts = [_amount_left(line, has) for line, has in zip(lines, left, strict=True)]
    amounts_after = [_amount_left(line, has) for line, has in zip(lines, after, strict=True)]
    was, is_now = _totals(lines, amounts, prices_include_tax), _totals(lines, amounts_after, prices_include_tax)
    line_amounts = {index: amounts[index] - amounts_after[index] for index in coming_back}
    return Returned(was.amount_minor - is_now.amount_minor, tuple(_less(was.taxes, is_now.taxes)), line_amounts)


def limited(lines: Sequence[LineItem], worth: Returned, amount_minor: int, *, prices_include_tax: bool) -> Returned:
    """Scales a return of some of these lines to a smaller amount, as other amounts were refunded before.

    All parts are in proportion, with remainders as in `spread`: first what has the same tax, then the lines of each. So
    the lines still come to their taxes, and all of them together to the amount.
    """
    line_amounts = dict(worth.line_amounts)
    known = [(tax.tax_code, tax.tax_rate_ppm) for tax in worth.taxes]
    by_tax: dict[tuple[str, int] | None, list[int]] = {tax: [] for tax in (*known, None)}  # None: without a tax
    for index in line_amounts:
        tax = lines[index].tax_code, lines[index].tax_rate_ppm
        by_tax[tax if tax in by_tax else None].append(index)
    whole = [tax.gross_minor for tax in worth.taxes]
    *parts, untaxed = _shares(amount_minor, [*whole, worth.amount_minor - sum(whole)])
    taxes = list(map(_limited_tax, worth.taxes, parts))
    of_lines = parts if prices_include_tax else [tax.net_minor for tax in taxes]
    for indexes, part in zip(by_tax.values(), [*of_lines, untaxed], strict=True):
        shares = _shares(part, [worth.line_amounts[index] for index in indexes])
        line_amounts.update(zip(indexes, shares, strict=True))
    return Returned(amount_minor, tuple(taxes), line_amounts)


def _limited_tax(tax: TaxTotal, gross_minor: int) -> TaxTotal:
    tax_minor = divided(gross_minor * tax.tax_minor, tax.gross_minor)
    return TaxTotal(tax.tax_code, tax.tax_rate_ppm, gross_minor - tax_minor, tax_minor)


def _shares(whole: int, parts: Sequence[int]) -> list[int]:
    """An amount spread over parts: the largest remainder gets the next minor unit, of equal ones the earlier part."""
    if not whole:
        return [0] * len(parts)
    base = sum(parts)
    shares = [whole * part // base for part in parts]
    by_remainder = sorted(range(len(parts)), key=lambda index: -(whole * parts[index] % base))
    for index in by_remainder[: whole - sum(shares)]:
        shares[index] += 1
    return shares


def _less(was: Iterable[TaxTotal], is_now: Iterable[TaxTotal]) -> Iterable[TaxTotal]:
    for before, after in zip(was, is_now, strict=True):
        net, tax = before.net_minor - after.net_minor, before.tax_minor - after.tax_minor
        if net or tax:
            yield TaxTotal(before.tax_code, before.tax_rate_ppm, net, tax)


def _amount_left(line: LineItem, quantity: int) -> int:
    return divided(line.amount_minor * quantity, line.quantity)


def _totals(lines: Sequence[LineItem], amounts: Sequence[int], prices_include_tax: bool) -> Totals:
    by_tax: dict[tuple[str, int], int] = {}
    for line, amount in zip(lines, amounts, strict=True):
        tax = line.tax_code, line.tax_rate_ppm
        by_tax[tax] = by_tax.get(tax, 0) + amount
    taxes = [_tax_total(code, rate, by_tax[code, rate], prices_include_tax) for code, rate in sorted(by_tax)]
    amount = sum(tax.gross_minor for tax in taxes)
    return Totals(amount, tuple(tax for tax in taxes if tax.tax_code or tax.tax_rate_ppm))


def _tax_total(code: str, rate: int, amount: int, prices_include_tax: bool) -> TaxTotal:
    if prices_include_tax:
        tax = divided(amount * rate, PPM + rate)
        return TaxTotal(code, rate, amount - tax, tax)
    return TaxTotal(code, rate, amount, divided(amount * rate, PPM))
