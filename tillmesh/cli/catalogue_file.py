"""The articles of a CSV file: each row is an article, or a line that says what is wrong with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from google.protobuf.timestamp_pb2 import Timestamp

from tillmesh.api.terminal.v1 import catalogue_item_pb2
from tillmesh.api.type.v1 import money_pb2
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.cli.csv_rows import (
    DIGITS_MAX,
    BadFile,
    Row,
    Wrong,
    name_of,
    optional,
    printable,
    read_rows,
    require_known_columns,
    require_whole_row,
    whole_number,
)
from tillmesh.gtin import as_gtin
from tillmesh.runtime.money import PLAIN, minor_units

REQUIRED = ("sku", "title", "price")
OPTIONAL = (
    *("gtins", "unit", "price_quantity", "kind", "tax_code", "tax_rate", "minimum_age", "deposit_sku"),
    *("offer_price", "offer_from", "offer_until"),
)
COLUMN_OF = {
    "unit_price": "price",
    "tax_rate_ppm": "tax_rate",
    "minimum_age_years": "minimum_age",
    "price_periods": "offer_price",
}
"""The columns of fields that have another name."""
PPM_A_PERCENT = 10_000


@dataclass(frozen=True, slots=True)
class Article:
    """A row that is an article."""

    line_number: int
    item: catalogue_item_pb2.CatalogueItem


@dataclass
class CatalogueFile:
    """A file of articles, which is read as often as it is needed: it may be larger than what memory holds."""

    path: Path
    currency: str
    first_lines: dict[str, int] = field(default_factory=dict)
    """Where each sku is first, of the rows that were checked."""

    def check(self) -> list[Wrong]:
        """What is wrong in the file by itself; afterwards `articles` has no surprise."""
        wrong = [row for row in self._rows() if isinstance(row, Wrong)]
        if not self.first_lines and not wrong:
            raise BadFile(f"{self.path}: line 1: there is no article below the header")
        return wrong

    def articles(self) -> Iterator[Article]:
        """The articles in the order of the file."""
        self.first_lines.clear()
        for row in self._rows():
            if isinstance(row, Wrong):  # it was not when it was checked
                raise BadFile(f"{self.path}: line {row.line_number}: {row.problem}")
            yield row

    def _rows(self) -> Iterator[Article | Wrong]:
        for number, row in enumerate(read_rows(self.path, REQUIRED)):
            if number == 0:
                require_known_columns(self.path, row.header, (*REQUIRED, *OPTIONAL))
            try:
                item = _item(row, self.currency)
                self._require_first(item.sku, row.line_number)
            except ValueError as error:
                yield Wrong(row.line_number, printable(str(error)))
            else:
                yield Article(row.line_number, item)

    def _require_first(self, sku: str, line_number: int) -> None:
        if self.first_lines.setdefault(sku, line_number) != line_number:
            raise ValueError(f"sku {sku!r} is in line {self.first_lines[sku]} already")


def _item(row: Row, currency: str) -> catalogue_item_pb2.CatalogueItem:
    """The article of a row; ValueError says which column is wrong, its value, and why."""
    require_whole_row(row)
    item = catalogue_item_pb2.CatalogueItem(
        sku=row.cell("sku"),
        title=row.cell("title"),
        unit_price=_money(row, "price", currency),
        gtins=_gtins(optional(row, "gtins")),
        unit=LineItem.Unit.Value(name_of(row, "unit", "UNIT", LineItem.Unit.keys())),
        kind=LineItem.Kind.Value(name_of(row, "kind", "KIND", LineItem.Kind.keys())),
        price_quantity=whole_number(row, "price_quantity"),
        tax_code=optional(row, "tax_code"),
        tax_rate_ppm=_ppm(optional(row, "tax_rate")),
        minimum_age_years=whole_number(row, "minimum_age"),
        deposit_sku=optional(row, "deposit_sku"),
    )
    if optional(row, "offer_price"):
        start, end = _moment(row, "offer_from"), _moment(row, "offer_until")
        price = _money(row, "offer_price", currency)
        item.price_periods.add(start_time=start, end_time=end, unit_price=price)
    elif wrong := optional(row, "offer_from") or optional(row, "offer_until"):
        raise ValueError(f"offer_price '' must be set, there is a time for it: {wrong!r}")
    if not item.sku:
        raise ValueError("sku '' must not be empty")
    return item


def _money(row: Row, column: str, currency: str) -> money_pb2.Money:
    try:
        return money_pb2.Money(currency_code=currency, minor_units=minor_units(row.cell(column).strip(), currency))
    except ValueError as error:
        raise ValueError(f"{column} {error}") from None


def _gtins(text: str) -> list[str]:
    gtins = []
    for each in text.replace("|", " ").split():
        try:
            gtins.append(as_gtin(each))
        except ValueError as error:
            raise ValueError(f"gtins {each!r} {error}") from None
    return gtins


def _ppm(text: str) -> int:
    """A tax rate in millionths, of one in percent."""
    try:
        rate = Decimal(text if PLAIN.fullmatch(text) and len(text) <= DIGITS_MAX else "") if text else Decimal(0)
        ppm = rate * PPM_A_PERCENT
        if not 0 <= rate <= 100 or ppm != int(ppm):
            raise InvalidOperation
    except InvalidOperation:
        raise ValueError(f"tax_rate {text!r} must be a percentage from 0 to 100 with at most 4 decimals") from None
    return int(ppm)


def _moment(row: Row, column: str) -> Timestamp | None:
    text = optional(row, column)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError
    except ValueError:
        rule = "must be a time with its offset, such as 2026-12-01T08:00+01:00"
        raise ValueError(f"{column} {text!r} {rule}") from None
    moment = Timestamp()
    moment.FromDatetime(at)
    return moment
