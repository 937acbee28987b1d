"""What devices ask about scans: one function a call, each one transaction."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo

from store_terminal.catalogue.model import CatalogueItem
from store_terminal.catalogue.queries import find_by_gtin, on_sale
from store_terminal.checkouts import operations, pricing
from store_terminal.checkouts.lifecycle import CheckoutEvent
from store_terminal.checkouts.model import Call, Checkout, Line, NewLine
from store_terminal.errors import Reason
from store_terminal.receipts.queries import store_record
from store_terminal.scanning.gs1 import unreadable
from store_terminal.scanning.model import (
    ArticleScan,
    Decision,
    DecisionKind,
    InStoreReading,
    Scanned,
    ScanRules,
)
from store_terminal.scanning.queries import RULES, find_rules
from store_terminal.scanning.rules import in_store_reading
from tillmesh import paycode
from tillmesh.auth.callers import actor
from tillmesh.lines import Unit
from tillmesh.rpc.fields import Fields
from tillmesh.runtime.errors import found
from tillmesh.runtime.money import MINOR_DIGITS, NUMBERS
from tillmesh.storage.statements import Transaction

_GRAM_DECIMALS = 3
"""A gram is the third decimal of a kilogram."""


def replace_rules(transaction: Transaction, rules: ScanRules) -> ScanRules:
    """Replaces the rules of the version that the caller read."""
    before = find_rules(transaction)
    if before.version != rules.version:
        raise Reason.SCAN_RULES_VERSION_MISMATCH(version=before.version, wanted=rules.version)
    after = replace(rules, version=before.version + 1)
    if before.version == 0:
        RULES.insert(transaction, after)
    else:
        RULES.change(transaction, before, after)
    return after


def scan_item(
    transaction: Transaction,
    call: Call,
    *,
    checkout_id: str,
    basket_version: int,
    scan: ArticleScan,
    quantity: int,
    decided: Collection[DecisionKind],
) -> Scanned:
    """Adds an article that was scanned, unless somebody has to decide something first.

    `quantity` is 0 where the caller did not say it. The dates of packages end in the store's time zone.
    """
    checkout = operations.get_basket(transaction, checkout_id, basket_version, CheckoutEvent.CHANGED)
    rules = find_rules(transaction)
    reading = in_store_reading(scan.gtin, rules.rules)
    sku = _sku(transaction, scan, reading)
    known = on_sale(transaction, [sku], call.now_ms)
    item = found(known.get(sku), Reason.ITEM_NOT_FOUND, sku=_shown(scan, sku))
    new = _new_line(checkout, item, scan, reading or InStoreReading(), quantity)
    added = pricing.priced_lines(
        [new], known, currency=checkout.amount.currency, actor=actor(), last_number=checkout.last_line_number
    )
    zone = store_record(transaction, checkout.store_id).zone or UTC
    asked = _decisions(item, scan, datetime.fromtimestamp(call.now_ms / 1000, UTC), zone)
    if missing := [decision for decision in asked if decision.kind not in decided]:
        return Scanned(checkout, missing=missing)
    line_number, lines = _with_added(checkout.lines, added, merge=rules.add_to_line)
    reason = ",".join(decision.kind for decision in asked)
    return Scanned(operations.change_lines(transaction, call, checkout, lines, reason), line_number)


def _sku(transaction: Transaction, scan: ArticleScan, reading: InStoreReading | None) -> str:
    if reading and reading.sku:
        return reading.sku
    return found(find_by_gtin(transaction, scan.gtin), Reason.GTIN_NOT_FOUND, gtin=_shown(scan, scan.gtin)).sku


def _shown(scan: ArticleScan, digits: str) -> str:
    """Digits of a code for a refusal, which is kept with its request."""
    return f"{paycode.PREFIX}..." if scan.like_pay_code else digits


def _new_line(
    checkout: Checkout, item: CatalogueItem, scan: ArticleScan, reading: InStoreReading, quantity: int
) -> NewLine:
    """The line of an article, with what its code says of quantity and amount."""
    _require_said_once(scan, reading)
    label = _label_minor(checkout, item, scan, reading)
    unit, said = _measured(item, scan, reading, is_label=label is not None)
    if 0 in (label, said):
        raise unreadable("its quantity or amount is 0")
    if item.deposit_sku and unit is not Unit.PIECE:
        raise unreadable(f"it has a weight, and the deposit of {item.sku} is for pieces")
    with Fields() as fields:
        fields.require(not (quantity and said), "quantity", "must be 0: the code says how much", quantity)
        rule = f"must be set: {item.sku} is sold by {unit}, and the code does not say how much"
        fields.require(bool(unit is Unit.PIECE or quantity or said), "quantity", rule)
    gtin = "" if reading.sku else scan.gtin
    return NewLine(item.sku, said or quantity or 1, gtin=gtin, unit=unit, label_amount_minor=label)


def _measured(
    item: CatalogueItem, scan: ArticleScan, reading: InStoreReading, *, is_label: bool
) -> tuple[Unit, int | None]:
    """The unit of the line, and the quantity if the code says it. A piece has its price whatever it weighs."""
    grams = _grams(scan)
    if is_label:
        return (Unit.PIECE, 1) if grams is None else (Unit.GRAM, grams)
    if reading.quantity is not None:
        return item.unit, reading.quantity
    if item.unit is Unit.PIECE:
        return item.unit, scan.pieces
    if item.unit is Unit.GRAM and grams is not None:
        return item.unit, grams
    if grams is not None or scan.pieces is not None:
        raise unreadable(f"it has a weight or a number of pieces, and {item.sku} is sold by {item.unit}")
    return item.unit, None


def _grams(scan: ArticleScan) -> int | None:
    if scan.kilograms is None:
        return None
    grams = scan.kilograms.scaled(_GRAM_DECIMALS)
    if grams is None:
        raise unreadable("its weight is no whole number of grams")
    return grams


def _require_said_once(scan: ArticleScan, reading: InStoreReading) -> None:
    by_rule = reading.quantity is not None or reading.amount_minor is not None
    if by_rule and (scan.kilograms is not None or scan.amount is not None or scan.pieces is not None):
        raise unreadable("its GTIN says how much by an in-store rule, and an application identifier does so as well")


def _label_minor(checkout: Checkout, item: CatalogueItem, scan: ArticleScan, reading: InStoreReading) -> int | None:
    """The amount that the code says, if it does so."""
    minor = reading.amount_minor
    if minor is None and scan.amount is None:
        return None
    _require_currency(checkout, item, scan)  # first: other currencies may have more decimals
    if scan.amount is not None:
        minor = scan.amount.scaled(MINOR_DIGITS[checkout.amount.currency])
    if minor is None:
        raise unreadable("its amount has more decimals than the currency")
    return minor


def _require_currency(checkout: Checkout, item: CatalogueItem, scan: ArticleScan) -> None:
    """An amount is in the currency that its code says, or else in that of the article's price."""
    said, wanted = scan.currency_number, checkout.amount.currency
    currency = NUMBERS.get(said, said) if said else item.unit_price.currency
    if currency != wanted:
        raise Reason.CURRENCY_MISMATCH(what="The amount in the code", currency=currency, wanted=wanted)


def _decisions(item: CatalogueItem, scan: ArticleScan, now: datetime, zone: tzinfo) -> list[Decision]:
    asked = []
    if item.minimum_age_years:
        asked.append(Decision(DecisionKind.AGE, item.minimum_age_years))
    for kind, day in ((DecisionKind.BEST_BEFORE, scan.best_before), (DecisionKind.EXPIRED, scan.use_by)):
        if day and now >= (passed_at := _end_of(day, zone)):
            asked.append(Decision(kind, passed_at=passed_at))
    return asked


def _end_of(day: date, zone: tzinfo) -> datetime:
    """The first moment after a day."""
    return datetime.combine(day + timedelta(days=1), datetime.min.time(), zone)


def _with_added(lines: Sequence[Line], added: Sequence[Line], *, merge: bool) -> tuple[int, tuple[Line, ...]]:
    """The lines with an article and its deposit, and the number of the line that has it.

    With `merge` they are added to the first line that is the same but for its quantity. Only pieces are: the prices of
    packages are each rounded for itself, so two of them would cost something else together.
    """
    if merge and added[0].item.unit is Unit.PIECE:
        deposits: dict[int, list[Line]] = {}
        for line in lines:
            deposits.setdefault(line.deposit_of, []).append(line)
        for line in deposits.get(0, ()):  # all that are no deposit of another
            together = [line, *deposits.get(line.number, ())]
            if len(together) == len(added) and all(map(_is_same, together, added)):
                more = {line.number: new.item.quantity for line, new in zip(together, added, strict=True)}
                return line.number, pricing.with_more(lines, more)
    return added[0].number, (*lines, *added)


def _is_same(line: Line, new: Line) -> bool:
    """True for a line that differs from a new one in nothing that a shopper pays for but the quantity.

    A label has its own amount, so it never is.
    """
    if line.item.sku != new.item.sku:  # as nearly all
        return False
    same = new.item._replace(quantity=line.item.quantity, title=line.item.title, gtin=line.item.gtin)
    return line.item == same and not line.item.label_amount_minor
