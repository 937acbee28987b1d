"""Queries about refunds. What is written of one is never changed."""

from dataclasses import astuple, fields
from functools import partial

import orjson
from sqlalchemy import bindparam, func, insert, select

from thirdparty_server.payments.refunds.model import GivenBack, Refund, RefundLine
from thirdparty_server.payments.refunds.tables import refund_lines, refunds
from tillmesh.lines import TaxTotal
from tillmesh.payer import Payer
from tillmesh.storage.columns import ORIGIN, PAYER
from tillmesh.storage.lists import PAYER_COLUMNS, After, By, NewestFirst, Slice
from tillmesh.storage.records import AMOUNT, Part, Records, as_long_text
from tillmesh.storage.statements import Row, Transaction

LINE_LENGTH = 30
"""What a line of a refund counts for in a page, as if it were a text."""


def _taxes(text: str) -> tuple[TaxTotal, ...]:
    return tuple(TaxTotal(*tax) for tax in orjson.loads(text))


_TAXES = as_long_text("taxes", _taxes, lambda taxes: orjson.dumps([astuple(tax) for tax in taxes]).decode())


def _given(row: Row) -> GivenBack:
    return GivenBack(AMOUNT.load(row), _TAXES.load(row), row["lines"])


def _given_columns(given: GivenBack) -> Row:
    """All but the lines, which have a table of their own."""
    lengths = {"lines_length": LINE_LENGTH * len(given.lines)}
    return {**AMOUNT.dump(given.amount), **_TAXES.dump(given.taxes), **lengths}


_REFUNDS = Records(Refund, refunds, parts={"payer": PAYER, "origin": ORIGIN, "given": Part(_given, _given_columns)})
_LIST = NewestFirst(
    select(refunds),
    refunds.c.refund_id,
    [By(("payment_id",)), By(PAYER_COLUMNS), By(("store_id",)), By()],
    lengths=("lines_length", "taxes_length"),
)
_FIND_REFUND = select(refunds).where(refunds.c.refund_id == bindparam("key"))
_LINE = [field.name for field in fields(RefundLine)]
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
    return None if row is None else _refund_of(transaction, row)


def insert_refund(transaction: Transaction, refund: Refund) -> None:
    """Records a refund with its lines."""
    _REFUNDS.insert(transaction, refund)
    if refund.given.lines:
        of_refund = {"refund_id": refund.refund_id, "payment_id": refund.payment_id}
        rows = [{**of_refund, **{name: getattr(line, name) for name in _LINE}} for line in refund.given.lines]
        transaction.execute_many(_INSERT_LINE, rows)


def given_back(transaction: Transaction, payment_id: str) -> dict[int, int]:
    """The quantities that came back so far, by line number."""
    rows = transaction.execute(_GIVEN_BACK, {"key": payment_id})
    return {row["line_number"]: int(row["quantity"]) for row in rows}


def list_refunds(
    transaction: Transaction,
    payment_id: str,
    store_id: str,
    payer: Payer | None,
    named_only: bool,
    after: After,
    at_most: int,
) -> Slice[Refund]:
    """Refunds newest first, those that follow the given (created_at_ms, refund_id); an empty filter does not count.

    `named_only` leaves out those whose payee was named by a code.
    """
    wanted = {"payment_id": payment_id, "store_id": store_id, "by_code": False if named_only else None}
    return _LIST.read(transaction, after, at_most, payer, **wanted).map(partial(_refund_of, transaction))


def _refund_of(transaction: Transaction, row: Row) -> Refund:
    """The refund of a row, with its lines."""
    lines = transaction.execute(_LINES_OF_REFUND, {"key": row["refund_id"]})
    return _REFUNDS.of({**row, "lines": tuple(RefundLine(**line) for line in lines)})
