"""Why a server refused an invoice, told by what is in the file."""

import re

from tillmesh.cli.replay.baskets import sold_and_discounts
from tillmesh.cli.replay.invoices import Invoice, InvoiceLine, Rejection
from tillmesh.runtime.errors import FieldViolation, Refusal

_LINE = re.compile(r"lines\[(\d+)\]\.(\w+)")
_COLUMNS = {"sku": "StockCode", "title": "Description", "quantity": "Quantity", "unit_price_minor": "UnitPrice"}


def rejection_of(invoice: Invoice, refusal: Refusal) -> Rejection:
    """The row, column and value that the server does not take; the invoice's first row where it names none."""
    for violation in refusal.violations:
        if found := _find(invoice, violation):
            row, column, value = found
            return Rejection(invoice.number, row.line_number, f"{column} {value!r} {violation.description}")
    return Rejection(invoice.number, invoice.line_number, f"{refusal.reason}: {refusal.text}")


def _find(invoice: Invoice, violation: FieldViolation) -> tuple[InvoiceLine, str, object] | None:
    match = _LINE.fullmatch(violation.field)
    if match is None or match[2] not in _COLUMNS:
        return None
    rows, _ = sold_and_discounts(invoice.lines)
    row = rows[int(match[1])]
    return row, _COLUMNS[match[2]], getattr(row, match[2])
