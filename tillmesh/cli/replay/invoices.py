"""Makes invoices of the rows of a file in the form of the Online Retail data set.

A row that cannot be used takes its whole invoice with it, which is reported; the others go on.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tillmesh.cli.csv_rows import Row, printable, read_rows
from tillmesh.runtime.ids import IDENTIFIER, IDENTIFIER_RULE
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money, minor_units

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
WALK_IN = "walk-in"
"""The store's identity for shoppers who gave none."""

OTHER_DOCUMENT = "other_document"
ZERO_TOTAL = "zero_total"

SKU_LENGTH_MAX = 64
TITLE_LENGTH_MAX = 256

# Python's own int() and Decimal() also take "1_000" and the digits of other scripts.
_INTEGER = re.compile(r"([+-]?[0-9]{1,18})(\.0*)?")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_DECIMAL_LENGTH_MAX = 24
_FLOAT_ID = re.compile(r"([0-9]+)\.0")


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One row of an invoice, exactly as it is in the file: quantity and price may be negative."""

    sku: str
    title: str
    quantity: int
    unit_price_minor: int
    line_number: int = 0
    """Where it is in the file."""

    @property
    def amount_minor(self) -> int:
        """Quantity times price."""
        return self.quantity * self.unit_price_minor


@dataclass(frozen=True, slots=True)
class Invoice:
    """A sale, or a return, whose total is below zero."""

    number: str
    line_number: int
    customer_id: str
    lines: tuple[InvoiceLine, ...]

    @property
    def total_minor(self) -> int:
        """Sum of the lines."""
        return sum(line.amount_minor for line in self.lines)

    @property
    def is_return(self) -> bool:
        """True for a `C` invoice."""
        return self.number[:1] in ("C", "c")

    @property
    def is_walk_in(self) -> bool:
        """True where the shopper is not known."""
        return self.customer_id == WALK_IN


@dataclass(frozen=True, slots=True)
class Rejection:
    """An invoice that cannot be replayed, or that a server refused."""

    invoice: str
    line: int
    reason: str


@dataclass
class InvoiceFile:
    """The content of a file: invoices in the order in which they first appear."""

    invoices: list[Invoice] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: list[Rejection] = field(default_factory=list)


def read_invoices(path: Path, currency: str) -> InvoiceFile:
    """Reads a CSV or gzipped CSV file; prices are decimals of `currency`."""
    drafts: dict[str, _Draft] = {}
    for row in read_rows(path, COLUMNS):
        number = row.cell("InvoiceNo").strip()
        if number not in drafts:
            drafts[number] = _Draft(number, row.line_number)
        drafts[number].add(row, currency)
    result = InvoiceFile()
    for draft in drafts.values():
        draft.conclude(result, currency)
    return result


class _Unusable(Exception):
    """The reason why a row, or the whole invoice, cannot be used."""


class _Draft:
    """An invoice while its rows are read."""

    def __init__(self, number: str, line_number: int) -> None:
        self._number = number
        self._line_number = line_number
        self._customer_id: str | None = None
        self._lines: list[InvoiceLine] = []
        self._rejection: Rejection | None = None

    @property
    def _is_other_document(self) -> bool:
        first = self._number[:1]
        return first.isalpha() and first not in "Cc"

    def add(self, row: Row, currency: str) -> None:
        """Takes one more row in; the first that cannot be used rejects the invoice."""
        if self._rejection or self._is_other_document:
            return
        try:
            self._lines.append(_line(row, currency))
            self._set_customer(row.cell("CustomerID"))
        except _Unusable as problem:
            self._reject(row.line_number, problem)

    def conclude(self, result: InvoiceFile, currency: str) -> None:
        """Files the invoice where its number and its total put it."""
        if self._is_other_document:
            result.skipped[OTHER_DOCUMENT] += 1
            return
        invoice = Invoice(self._number, self._line_number, self._customer_id or WALK_IN, tuple(self._lines))
        if not self._rejection:
            try:
                _check_total(invoice, currency)
            except _Unusable as problem:
                self._reject(self._line_number, problem)
        if self._rejection:
            result.rejected.append(self._rejection)
        elif invoice.total_minor == 0:
            result.skipped[ZERO_TOTAL] += 1
        else:
            result.invoices.append(invoice)

    def _reject(self, line_number: int, problem: _Unusable) -> None:
        self._rejection = Rejection(printable(self._number), line_number, printable(str(problem)))

    def _set_customer(self, cell: str) -> None:
        text = cell.strip()
        match = _FLOAT_ID.fullmatch(text)  # a spreadsheet column with gaps makes decimals of the ids
        customer_id = match.group(1) if match else text
        if customer_id and not IDENTIFIER.fullmatch(customer_id):
            raise _Unusable(f"CustomerID {text[:80]!r} {IDENTIFIER_RULE}")
        if self._customer_id not in (None, customer_id):
            raise _Unusable(f"CustomerID {text!r} is not the {self._customer_id!r} of the rows before")
        self._customer_id = customer_id


def _line(row: Row, currency: str) -> InvoiceLine:
    _check_row(row)
    return InvoiceLine(
        sku=_text(row, "StockCode", 1, SKU_LENGTH_MAX),
        title=_text(row, "Description", 0, TITLE_LENGTH_MAX),
        quantity=_quantity(row.cell("Quantity").strip()),
        unit_price_minor=_price(row.cell("UnitPrice").strip(), currency),
        line_number=row.line_number,
    )


def _check_row(row: Row) -> None:
    if len(row.cells) != len(row.header):
        raise _Unusable(f"the row has {len(row.cells)} fields, the header has {len(row.header)}: {row.cells!r:.200}")
    for column, cell in zip(row.header, row.cells, strict=True):
        if not cell.isascii() and any("\udc80" <= character <= "\udcff" for character in cell):
            raise _Unusable(f"{column} {cell.encode('utf-8', 'surrogateescape')!r:.200} is not UTF-8")
    if not row.cell("InvoiceNo").strip():
        raise _Unusable("InvoiceNo '' is empty")


def _text(row: Row, column: str, length_min: int, length_max: int) -> str:
    text = row.cell(column)
    if not length_min <= len(text) <= length_max:
        raise _Unusable(f"{column} {text[:80]!r} has {len(text)} characters, {length_min} to {length_max} are possible")
    return text


def _quantity(text: str) -> int:
    match = _INTEGER.fullmatch(text)
    if match is None or abs(int(match.group(1))) > MINOR_UNITS_MAX:
        raise _Unusable(f"Quantity {text[:80]!r} is not a whole number within ±{MINOR_UNITS_MAX}")
    quantity = int(match.group(1))
    if quantity == 0:
        raise _Unusable(f"Quantity {text!r} must not be 0")
    return quantity


def _price(text: str, currency: str) -> int:
    if len(text) > _DECIMAL_LENGTH_MAX or not _DECIMAL.fullmatch(text):
        raise _Unusable(f"UnitPrice {text[:80]!r} is not a decimal number")
    try:
        price_minor = minor_units(text, currency)
    except ValueError as error:
        raise _Unusable(f"UnitPrice {error}") from None
    if abs(price_minor) > MINOR_UNITS_MAX:
        raise _Unusable(f"UnitPrice {text!r} is too large")
    return price_minor


def _check_total(invoice: Invoice, currency: str) -> None:
    total_minor = invoice.total_minor
    if abs(total_minor) > MINOR_UNITS_MAX:
        raise _Unusable(f"the total {total_minor} is beyond ±{MINOR_UNITS_MAX} minor units")
    total = Money(currency, total_minor)
    if invoice.is_return and total_minor > 0:
        raise _Unusable(f"the total {total} is above zero, but the number starts with C")
    if not invoice.is_return and total_minor < 0:
        raise _Unusable(f"the total {total} is below zero, but the number does not start with C")
