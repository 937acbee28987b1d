"""Lines as a till makes them: priced by the catalogue or by hand, changed, and adjusted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from store_terminal.catalogue.model import CatalogueItem
from store_terminal.checkouts.model import Checkout, Line, LineChange, NewLine, items_of
from store_terminal.errors import Reason
from store_terminal.refunds.model import ReturnedLine
from tillmesh.lines import (
    LINES_MAX,
    Adjustment,
    Kind,
    LineItem,
    PriceOverride,
    PriceSource,
    Totals,
    Uneven,
    Unit,
    adjusted,
    default_price_quantity,
    divided,
    spread,
    totals,
)
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import ADJUSTMENTS_MAX, check_line
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money

Articles = Mapping[str, CatalogueItem]
"""Articles of the catalogue by their code, as they are on sale now."""
PRORATED = "PRORATED"
"""Reason code of a returned line whose amount is a share, and not quantity times price."""


def priced_lines(
    new_lines: Sequence[NewLine],
    known: Articles,
    *,
    currency: str,
    actor: str,
    last_number: int,
) -> tuple[Line, ...]:
    """New lines with their numbers, with all that they lack from the articles that are known, and their deposits."""
    lines: list[Line] = []
    with Fields() as fields:
        for index, new in enumerate(new_lines):
            name, article = f"lines[{index}]", known.get(new.sku)
            item = _priced(fields, name, new, article, currency, actor)
            lines.append(Line(last_number + len(lines) + 1, item))
            if article and article.deposit_sku:
                fields.require(item.unit is Unit.PIECE, f"{name}.unit", "must be PIECE: the article has a deposit")
                deposit = NewLine(article.deposit_sku, item.quantity, kind=Kind.DEPOSIT)
                item = _priced(fields, name, deposit, known.get(deposit.sku), currency, actor)
                lines.append(Line(last_number + len(lines) + 1, item, deposit_of=lines[-1].number))
    return tuple(lines)


def changed_line(item: LineItem, change: LineChange, known: Articles, *, currency: str, actor: str) -> LineItem:
    """A line with another quantity or note, or with a price that somebody set."""
    price = change.unit_price_minor
    with Fields() as fields:
        if item.price_source is PriceSource.LABEL and price is None and change.quantity is not None:
            fields.require(
                False, "quantity", "of a LABEL line cannot change without a price: remove it and scan it again"
            )
        changed = item._replace(
            quantity=item.quantity if change.quantity is None else change.quantity,
            note=item.note if change.note is None else change.note,
        )
        if price is not None:
            override = PriceOverride(change.override_reason, actor, _known_price(known.get(item.sku), currency))
            changed = changed._replace(
                unit_price_minor=price,
                price_source=PriceSource.OVERRIDE,
                price_override=override,
                label_amount_minor=0,
            )
        check_line(fields, "line", changed)
    return changed


def with_quantity(lines: Sequence[Line], deposit_of: int, quantity: int) -> tuple[Line, ...]:
    """Lines of which a deposit has another quantity."""
    changed = []
    with Fields() as fields:
        for line in lines:
            if line.deposit_of == deposit_of:
                line = replace(line, item=line.item._replace(quantity=quantity))
                check_line(fields, "deposit", line.item)
            changed.append(line)
    return tuple(changed)


def with_more(lines: Sequence[Line], more: Mapping[int, int]) -> tuple[Line, ...]:
    """Lines of which some, by their number, have so much more."""
    changed = []
    with Fields() as fields:
        for line in lines:
            if line.number in more:
                line = replace(line, item=line.item._replace(quantity=line.item.quantity + more[line.number]))
                check_line(fields, f"line {line.number}", line.item)
            changed.append(line)
    return tuple(changed)


def without_line(checkout: Checkout, number: int) -> tuple[Line, ...]:
    """The lines without one of them and its deposit."""
    line_of(checkout, number)
    return tuple(line for line in checkout.lines if number not in (line.number, line.deposit_of))


def adjusted_lines(checkout: Checkout, line_number: int, adjustment: Adjustment) -> tuple[Line, ...]:
    """Lines of which one is adjusted, or with the adjustment spread over all goods where the number is 0."""
    lines = checkout.lines
    try:
        if line_number == 0:
            items = spread(items_of(lines), adjustment)
            changed = tuple(replace(line, item=item) for line, item in zip(lines, items, strict=True))
        else:
            one = line_of(checkout, line_number)
            changed = with_item(lines, line_number, adjusted(one.item, adjustment))
    except Uneven:
        amount = Money(checkout.amount.currency, adjustment.amount_minor)
        raise Reason.ADJUSTMENT_TOO_LARGE(checkout_id=checkout.checkout_id, amount=amount) from None
    with Fields() as fields:
        most = max((len(line.item.adjustments) for line in changed), default=0)
        fields.require(
            most <= ADJUSTMENTS_MAX, "adjustment", f"would be number {most} of a line, {ADJUSTMENTS_MAX} may be"
        )
    return changed


def checked_totals(lines: Sequence[LineItem], *, prices_include_tax: bool) -> Totals:
    """The totals of lines; refuses more than a checkout may hold."""
    come_to = totals(lines, prices_include_tax=prices_include_tax)
    amount = come_to.amount_minor
    with Fields() as fields:
        fields.require(
            len(lines) <= LINES_MAX, "lines", f"must be at most {LINES_MAX} in a checkout, would be {len(lines)}"
        )
        fields.require(amount <= MINOR_UNITS_MAX, "lines", f"must come to at most {MINOR_UNITS_MAX}, would be {amount}")
    return come_to


def line_of(checkout: Checkout, number: int) -> Line:
    """The line of that number."""
    for line in checkout.lines:
        if line.number == number:
            return line
    raise Reason.LINE_NOT_FOUND(checkout_id=checkout.checkout_id, line_number=number)


def with_item(lines: Sequence[Line], number: int, item: LineItem) -> tuple[Line, ...]:
    """Lines of which one has another item."""
    return tuple(replace(line, item=item) if line.number == number else line for line in lines)


def positions(checkout: Checkout, returned: Sequence[ReturnedLine]) -> list[tuple[int, int]]:
    """Position in the order, from 1, and quantity of lines that came back."""
    with Fields() as fields:
        numbers = [line.number for line in checkout.lines]
        found = []
        for index, back in enumerate(returned):
            line = line_of(checkout, back.line_number)
            most = line.item.quantity
            fields.require(
                back.quantity <= most, f"lines[{index}].quantity", f"must be at most {most}, was {back.quantity}"
            )
            found.append((numbers.index(back.line_number) + 1, back.quantity))
    return found


def came_back(line: LineItem, quantity: int, amount_minor: int) -> LineItem:
    """Part of a line, worth its share of what the line came to, or less where amounts were given back before."""
    if quantity == line.quantity and amount_minor == line.amount_minor:
        return line
    label = divided(line.label_amount_minor * quantity, line.quantity)
    part = line._replace(quantity=quantity, label_amount_minor=label, adjustments=())
    more = amount_minor - part.amount_minor
    return part._replace(adjustments=(Adjustment(PRORATED, "", more),)) if more else part


def _priced(
    fields: Fields, name: str, new: NewLine, known: CatalogueItem | None, currency: str, actor: str
) -> LineItem:
    """The line with its price and where that comes from."""
    line = _filled(new, known)
    price = _known_price(known, currency)
    fits = known is not None and (known.unit, known.price_quantity) == (line.unit, line.price_quantity)
    if new.unit_price_minor is not None:
        line = line._replace(unit_price_minor=new.unit_price_minor)
        is_other = price is not None and not (fits and price == new.unit_price_minor)
        if is_other or (price is None and new.override_reason):  # without a reason it is the till's own price list
            override = PriceOverride(new.override_reason, actor, price)
            line = line._replace(price_source=PriceSource.OVERRIDE, price_override=override)
    elif fits and price is not None:
        line = line._replace(unit_price_minor=price)
    elif new.label_amount_minor is None:
        _refuse_without_price(fields, name, new, known, currency)
    if (label := new.label_amount_minor) is not None:
        line = line._replace(price_source=PriceSource.LABEL, price_override=None, label_amount_minor=label)
    check_line(fields, name, line)
    return line


def _filled(new: NewLine, known: CatalogueItem | None) -> LineItem:
    """A line with all but its price."""
    unit = new.unit or (known.unit if known else Unit.PIECE)
    usual = known.price_quantity if known and known.unit is unit else default_price_quantity(unit)
    return LineItem(
        sku=new.sku,
        title=new.title if new.title is not None else known.title if known else "",
        quantity=new.quantity,
        unit_price_minor=0,
        kind=new.kind or (known.kind if known else Kind.GOODS),
        unit=unit,
        price_quantity=new.price_quantity or usual,
        gtin=new.gtin or (known.gtins[0] if known and known.gtins else ""),
        tax_code=new.tax_code if new.tax_code is not None else known.tax_code if known else "",
        tax_rate_ppm=new.tax_rate_ppm if new.tax_rate_ppm is not None else known.tax_rate_ppm if known else 0,
        adjustments=new.adjustments,
        note=new.note,
    )


def _refuse_without_price(fields: Fields, name: str, new: NewLine, known: CatalogueItem | None, currency: str) -> None:
    if known is None:
        raise Reason.ITEM_NOT_FOUND(sku=new.sku)
    if known.unit_price.currency != currency:
        what = f"The catalogue's price of {new.sku}"
        raise Reason.CURRENCY_MISMATCH(what=what, currency=known.unit_price.currency, wanted=currency)
    rule = f"must be set: the catalogue's price is for {known.price_quantity} {known.unit}"
    fields.require(False, f"{name}.unit_price_minor", rule)


def _known_price(known: CatalogueItem | None, currency: str) -> int | None:
    return known.unit_price.minor if known and known.unit_price.currency == currency else None
