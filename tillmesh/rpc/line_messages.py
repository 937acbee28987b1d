"""Lines and taxes: protobuf to model and back, with the checks of their fields."""

import re
from collections.abc import Iterable, Sequence

from tillmesh.api.type.v1 import line_item_pb2, tax_total_pb2
from tillmesh.gtin import is_gtin
from tillmesh.lines import (
    LINES_MAX,
    PPM,
    Adjustment,
    Kind,
    LineItem,
    PriceOverride,
    PriceSource,
    TaxTotal,
    Totals,
    Unit,
    default_price_quantity,
    totals,
)
from tillmesh.rpc.fields import Fields
from tillmesh.runtime.money import MINOR_UNITS_MAX

SKU_MAX = 64
TITLE_MAX = 256
NOTE_MAX = 128
ADJUSTMENTS_MAX = 16
ADJUSTMENT_TEXT_MAX = 128
OVERRIDE_REASON_MAX = 128
ACTOR_MAX = 256
_REASON_CODE = re.compile(r"[A-Za-z0-9._-]{1,32}")
_TAX_CODE = re.compile(r"[A-Za-z0-9._-]{0,16}")
_NUMBERS = (("quantity", 1), ("unit_price_minor", 0), ("price_quantity", 1), ("label_amount_minor", 0))
"""The numbers of a line, and the least that each may be."""
_WIRE = line_item_pb2.LineItem
_KIND_NUMBERS = {kind: _WIRE.Kind.Value(f"KIND_{kind}") for kind in Kind}
_UNIT_NUMBERS = {unit: _WIRE.Unit.Value(f"UNIT_{unit}") for unit in Unit}
_SOURCE_NUMBERS = {source: _WIRE.PriceSource.Value(f"PRICE_SOURCE_{source}") for source in PriceSource}
_KINDS: dict[int, Kind] = {0: Kind.GOODS} | {number: kind for kind, number in _KIND_NUMBERS.items()}
_UNITS: dict[int, Unit] = {0: Unit.PIECE} | {number: unit for unit, number in _UNIT_NUMBERS.items()}
_SOURCES: dict[int, PriceSource] = {0: PriceSource.CATALOGUE} | {
    number: source for source, number in _SOURCE_NUMBERS.items()
}


def order_lines(
    fields: Fields, messages: Sequence[line_item_pb2.LineItem], *, prices_include_tax: bool, actor: str | None
) -> tuple[tuple[LineItem, ...], Totals]:
    """The lines of an order and what they come to.

    `actor` is who set the prices that are no catalogue's; None believes what the lines say of that.
    """
    fields.require(1 <= len(messages) <= LINES_MAX, "lines", f"must be 1 to {LINES_MAX}, were {len(messages)}")
    lines = tuple(
        line_item(fields, f"lines[{index}]", message, actor=actor) for index, message in enumerate(messages[:LINES_MAX])
    )
    total = totals(lines, prices_include_tax=prices_include_tax)
    if total.amount_minor > MINOR_UNITS_MAX:
        fields.require(False, "lines", f"must come to at most {MINOR_UNITS_MAX}, came to {total.amount_minor}")
    return lines, total


def line_item(fields: Fields, name: str, message: line_item_pb2.LineItem, *, actor: str | None) -> LineItem:
    """One line. Where it breaks a rule, the violation is noted and what is returned only serves to go on checking."""
    unit = unit_of(fields, name, message.unit) or Unit.PIECE
    source = _SOURCES.get(message.price_source)
    if source is None:
        fields.require(False, f"{name}.price_source", "must be a PriceSource", message.price_source)
    override = None
    if message.HasField("price_override") or source is PriceSource.OVERRIDE:
        override = _price_override(fields, f"{name}.price_override", message.price_override, source, actor)
    if message.label_amount_minor and source is not PriceSource.LABEL:
        fields.require(False, f"{name}.label_amount_minor", "must be 0 without PRICE_SOURCE_LABEL")
    line = LineItem(
        sku=message.sku,
        title=message.title,
        quantity=message.quantity,
        unit_price_minor=message.unit_price_minor,
        kind=kind_of(fields, name, message.kind) or Kind.GOODS,
        unit=unit,
        price_quantity=message.price_quantity or default_price_quantity(unit),
        gtin=message.gtin,
        tax_code=message.tax_code,
        tax_rate_ppm=message.tax_rate_ppm,
        price_source=source or PriceSource.CATALOGUE,
        price_override=override,
        label_amount_minor=message.label_amount_minor,
        adjustments=adjustments_of(fields, name, message.adjustments),
        note=message.note,
    )
    if not check_line(fields, name, line):
        return LineItem(line.sku, "", 1, 0)
    if message.HasField("amount_minor") and message.amount_minor != (amount := line.amount_minor):
        fields.require(False, f"{name}.amount_minor", f"must be {amount} or unset", message.amount_minor)
    return line


def check_line(fields: Fields, name: str, line: LineItem) -> bool:
    """Notes what is wrong with a line; False if its amount cannot be reckoned with."""
    fields.text(f"{name}.sku", line.sku, length_min=1, length_max=SKU_MAX)
    fields.text(f"{name}.title", line.title, length_max=TITLE_MAX)
    if line.note:
        fields.text(f"{name}.note", line.note, length_max=NOTE_MAX)
    if line.gtin and not is_gtin(line.gtin):
        fields.require(False, f"{name}.gtin", "must be 14 digits with a right check digit", line.gtin)
    tax(fields, name, line.tax_code, line.tax_rate_ppm)
    wrong = [(part, least) for part, least in _NUMBERS if not least <= getattr(line, part) <= MINOR_UNITS_MAX]
    for part, least in wrong:
        fields.require(False, f"{name}.{part}", f"must be {least} to {MINOR_UNITS_MAX}", getattr(line, part))
    if wrong:
        return False
    if line.price_source is PriceSource.LABEL and line.unit is Unit.PIECE and line.quantity != 1:
        fields.require(False, f"{name}.quantity", "of a label without a weight must be 1", line.quantity)
    if 0 <= (amount := line.amount_minor) <= MINOR_UNITS_MAX:
        return True
    fields.require(False, name, f"must come to 0 to {MINOR_UNITS_MAX}, came to {amount}")
    return False


def adjustments_of(fields: Fields, line: str, messages: Sequence[line_item_pb2.Adjustment]) -> tuple[Adjustment, ...]:
    """The discounts and surcharges of a line."""
    if not messages:
        return ()
    most, name = ADJUSTMENTS_MAX, f"{line}.adjustments"
    fields.require(len(messages) <= most, name, f"must be at most {most}, were {len(messages)}")
    return tuple([adjustment_of(fields, f"{name}[{index}]", each) for index, each in enumerate(messages[:most])])


def adjustment_of(fields: Fields, name: str, message: line_item_pb2.Adjustment) -> Adjustment:
    """A discount or a surcharge."""
    code, text, amount = message.reason_code, message.text, message.amount_minor
    if not _REASON_CODE.fullmatch(code):
        fields.require(False, f"{name}.reason_code", "must be 1 to 32 characters of A-Z a-z 0-9 . _ and -", code)
    if text:
        fields.text(f"{name}.text", text, length_max=ADJUSTMENT_TEXT_MAX)
    if not 0 < abs(amount) <= MINOR_UNITS_MAX:
        fields.require(amount != 0, f"{name}.amount_minor", "must not be 0")
        fields.in_range(f"{name}.amount_minor", amount)
    return Adjustment(code, text, amount)


# An order has thousands of these fields, and nearly all are right: only where one is wrong is its name put together.


def kind_of(fields: Fields, line: str, number: int) -> Kind | None:
    """The kind of a line; None where it is unspecified."""
    if number not in _KINDS:
        fields.require(False, f"{line}.kind", "must be a Kind", number)
    return _KINDS.get(number) if number else None


def unit_of(fields: Fields, line: str, number: int) -> Unit | None:
    """The unit of a line's quantity; None where it is unspecified."""
    if number not in _UNITS:
        fields.require(False, f"{line}.unit", "must be a Unit", number)
    return _UNITS.get(number) if number else None


def tax(fields: Fields, line: str, code: str, rate_ppm: int) -> None:
    """A tax category and its rate."""
    if not _TAX_CODE.fullmatch(code):
        rule = "must be at most 16 characters of A-Z a-z 0-9 . _ and -"
        fields.require(False, f"{line}.tax_code", rule, code)
    if not 0 <= rate_ppm <= PPM:
        fields.require(False, f"{line}.tax_rate_ppm", f"must be 0 to {PPM}", rate_ppm)


def to_line_item(line: LineItem) -> line_item_pb2.LineItem:
    """A line on the wire."""
    message = line_item_pb2.LineItem(
        kind=_KIND_NUMBERS[line.kind],
        sku=line.sku,
        gtin=line.gtin,
        title=line.title,
        quantity=line.quantity,
        unit=_UNIT_NUMBERS[line.unit],
        unit_price_minor=line.unit_price_minor,
        price_quantity=line.price_quantity,
        price_source=_SOURCE_NUMBERS[line.price_source],
        label_amount_minor=line.label_amount_minor,
        tax_code=line.tax_code,
        tax_rate_ppm=line.tax_rate_ppm,
        amount_minor=line.amount_minor,
        note=line.note,
    )
    if override := line.price_override:
        message.price_override.reason = override.reason
        message.price_override.actor = override.actor
        if override.catalogue_price_minor is not None:
            message.price_override.catalogue_price_minor = override.catalogue_price_minor
    for each in line.adjustments:
        message.adjustments.add(reason_code=each.reason_code, text=each.text, amount_minor=each.amount_minor)
    return message


def from_line_item(message: line_item_pb2.LineItem) -> LineItem:
    """A line off another server's answer, which has checked it."""
    override = None
    if message.HasField("price_override"):
        told = message.price_override
        catalogue = told.catalogue_price_minor if told.HasField("catalogue_price_minor") else None
        override = PriceOverride(told.reason, told.actor, catalogue)
    return LineItem(
        sku=message.sku,
        title=message.title,
        quantity=message.quantity,
        unit_price_minor=message.unit_price_minor,
        kind=_KINDS[message.kind],
        unit=_UNITS[message.unit],
        price_quantity=message.price_quantity,
        gtin=message.gtin,
        tax_code=message.tax_code,
        tax_rate_ppm=message.tax_rate_ppm,
        price_source=_SOURCES[message.price_source],
        price_override=override,
        label_amount_minor=message.label_amount_minor,
        adjustments=tuple(Adjustment(each.reason_code, each.text, each.amount_minor) for each in message.adjustments),
        note=message.note,
    )


def to_taxes(taxes: Iterable[TaxTotal]) -> list[tax_total_pb2.TaxTotal]:
    """Taxes on the wire."""
    return [
        tax_total_pb2.TaxTotal(
            tax_code=tax.tax_code,
            tax_rate_ppm=tax.tax_rate_ppm,
            net_minor=tax.net_minor,
            tax_minor=tax.tax_minor,
            gross_minor=tax.gross_minor,
        )
        for tax in taxes
    ]


def _price_override(
    fields: Fields,
    name: str,
    message: line_item_pb2.PriceOverride,
    source: PriceSource | None,
    actor: str | None,
) -> PriceOverride:
    fields.require(source is PriceSource.OVERRIDE, name, "must be unset without PRICE_SOURCE_OVERRIDE")
    fields.text(f"{name}.reason", message.reason, length_max=OVERRIDE_REASON_MAX)
    catalogue = message.catalogue_price_minor if message.HasField("catalogue_price_minor") else None
    ok = 0 <= (catalogue or 0) <= MINOR_UNITS_MAX
    fields.require(ok, f"{name}.catalogue_price_minor", f"must be 0 to {MINOR_UNITS_MAX}", catalogue)
    fields.text(f"{name}.actor", message.actor, length_max=ACTOR_MAX)
    return PriceOverride(message.reason, message.actor if actor is None else actor, catalogue)
