"""Lines as a database keeps them, and what a history's chain covers of them."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

import orjson

from tillmesh.lines import Adjustment, Kind, LineItem, PriceOverride, PriceSource, Unit

SALT_BYTES = 16
_KINDS = {kind.value: kind for kind in Kind}
_UNITS = {unit.value: unit for unit in Unit}
_SOURCES = {source.value: source for source in PriceSource}


def to_rows(lines: Sequence[LineItem]) -> list[list[Any]]:
    """Lines as JSON values; what is usual is left out at the end."""
    return [_row(line) for line in lines]


def to_text(lines: Sequence[LineItem]) -> str:
    """Lines as JSON."""
    return orjson.dumps(to_rows(lines)).decode()


def from_rows(rows: Sequence[Sequence[Any]]) -> tuple[LineItem, ...]:
    """Lines out of JSON values."""
    return tuple(_line(row) for row in rows)


def from_text(text: str) -> tuple[LineItem, ...]:
    """Lines out of JSON."""
    return from_rows(orjson.loads(text))


def erasable(salt: bytes) -> Callable[[str], str]:
    """Makes salted hashes of texts that may have to be erased one day. Without the salt nobody can guess the text."""
    return lambda text: sha256(salt + text.encode()).hexdigest() if text else ""


def content_hash(lines: Sequence[LineItem], others: Sequence[str | bool], salt: bytes) -> bytes:
    """The hash of an order's version for its history: SHA-256 over JSON, with erasable texts as salted hashes.

    Erasable are what people are called and what people wrote: titles, reasons, notes, and all texts of `others`.
    """
    hidden = erasable(salt)
    told = [hidden(other) if isinstance(other, str) else other for other in others]
    return sha256(orjson.dumps([[_row(line, hidden) for line in lines], told])).digest()


def _row(line: LineItem, written: Callable[[str], str] = str) -> list[Any]:
    """A line as JSON values; `written` makes of an erasable text what stands for it."""
    row: list[Any] = [
        line.sku,
        written(line.title),
        line.quantity,
        line.unit_price_minor,
        line.kind,
        line.unit,
        line.price_quantity,
        line.gtin,
        line.tax_code,
        line.tax_rate_ppm,
    ]
    override, adjustments = line.price_override, line.adjustments
    if line.price_source is not PriceSource.CATALOGUE or adjustments:
        row += [
            line.price_source,
            override and [written(override.reason), override.actor, override.catalogue_price_minor],
            line.label_amount_minor,
            [[each.reason_code, written(each.text), each.amount_minor] for each in adjustments],
        ]
    if line.note:
        row.append(written(line.note))
    return row


def _line(row: Sequence[Any]) -> LineItem:
    sku, title, quantity, price, kind, unit, price_quantity, gtin, tax_code, tax_rate_ppm, *special = row
    plain = sku, title, quantity, price, _KINDS[kind], _UNITS[unit], price_quantity, gtin, tax_code, tax_rate_ppm
    if not special:
        return LineItem(*plain)
    note = special.pop() if len(special) % 2 else ""
    if not special:
        return LineItem(*plain, note=note)
    source, override, label_amount_minor, adjustments = special
    made_by, made = override and PriceOverride(*override), tuple(map(Adjustment._make, adjustments))
    return LineItem(*plain, _SOURCES[source], made_by, label_amount_minor, made, note)
