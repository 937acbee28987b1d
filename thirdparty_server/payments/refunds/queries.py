"""Queries about refunds. What is written of one is never changed."""

from typing import Any

import orjson
from sqlalchemy import bindparam, func, insert, not_, select

from thirdparty_server.payments.refunds.model import GivenBack, Refund, RefundLine
from thirdparty_server.payments.refunds.tables import refund_lines, refunds
from tillmesh.lines import TaxTotal
from tillmesh.payer import Payer
from tillmesh.runtime.money import Money
from tillmesh.storage.columns import origin_of, origin_values, payer_of, payer_values
from tillmesh.storage.lists import Newest, newest
from tillmesh.storage.statements import Row, Transaction

_FIND_REFUND = select(refunds).where(refunds.c.refund_id == bindparam("key"))
_INSERT_REFUND = insert(refunds)
_INSERT_LINE = insert(refund_lines)
_LINES_OF_REFUND = (
    select(refund_lines.c.line_number, refund_lines.c.quantity, refund_lines.c.amount_minor)
    .where(refund_lines.c.refund_id == bindparam("key"))
    .order_by(refund_lines.c.line_number)
)
_GIVEN_BACK = (
    select(refund_lines.c.line_number, func.sum(refund_lines.c.quantity).label("quantity"))
    .where(refund_lines.c.payment_id == bindparam("key"))
    .group_by(refund_lines.c.line_number)
)


def find_refund(transaction: Transaction, refund_id: str) -> Refund | None:
    """The refund of that id."""
    row = transaction.execute(_FIND_REFUND, {"key": refund_id}).one_or_none()
    return None if row is None else refund_of(transaction, row)


def insert_refund(transaction: Transaction, refund: Refund) -> None:
    """Records a refund with its lines."""
    values: dict[str, Any] = {
        "refund_id": refund.refund_id,
        "payment_id": refund.payment_id,
        "store_id": refund.store_id,
        "by_code": refund.by_code,
        "currency": refund.given.amount.currency,
        "amount_minor": refund.given.amount.minor,
        "taxes": orjson.dumps([_tax_row(tax) for tax in refund.given.taxes]).decode(),
        "note": refund.note,
        "actor": refund.actor,
        "created_at_ms": refund.created_at_ms,
    }
    transaction.execute(_INSERT_REFUND, values | payer_values(refund.payer) | origin_values(refund.origin))
    if refund.given.lines:
        transaction.execute_many(_INSERT_LINE, [_line_values(refund, line) for line in refund.given.lines])


def given_back(transaction: Transaction, payment_id: str) -> dict[int, int]:
    """The quantities that came back so far, by line number."""
    rows = transaction.execute(_GIVEN_BACK, {"key": payment_id})
    return {row["line_number"]: int(row["quantity"]) for row in rows}


def list_refunds(
    transaction: Transaction,
    *,
    payment_id: str,
    payer: Payer | None,
    named_only: bool,
    store_id: str,
    before: Newest,
    at_most: int,
) -> list[Row]:
    """Rows of refunds newest first; `refund_of` reads the rest. `named_only` leaves out payees named by a code."""
    filters = {"payment_id": payment_id, "store_id": store_id} | payer_values(payer)
    extra = [not_(refunds.c.by_code)] if named_only else []
    return list(newest(transaction, refunds, refunds.c.refund_id, filters, extra, before, at_most))


def _line_values(refund: Refund, line: RefundLine) -> dict[str, Any]:
    return {
        "refund_id": refund.refund_id,
        "payment_id": refund.payment_id,
        "line_number": line.line_number,
        "quantity": line.quantity,
        "amount_minor": line.amount_minor,
    }


def _tax_row(tax: TaxTotal) -> list[Any]:
    return [tax.tax_code, tax.tax_rate_ppm, tax.net_minor, tax.tax_minor]


def refund_of(transaction: Transaction, row: Row) -> Refund:
    """The refund of a row, with its lines."""
    lines = transaction.execute(_LINES_OF_REFUND, {"key": row["refund_id"]})
    return Refund(
        refund_id=row["refund_id"],
        payment_id=row["payment_id"],
        store_id=row["store_id"],
        payer=payer_of(row),
        by_code=row["by_code"],
        given=GivenBack(
            Money(row["currency"], row["amount_minor"]),
            tuple(TaxTotal(*tax) for tax in orjson.loads(row["taxes"])),
            tuple(RefundLine(**line) for line in lines),
        ),
        note=row["note"],
        origin=origin_of(row),
        actor=row["actor"],
        created_at_ms=row["created_at_ms"],
    )
