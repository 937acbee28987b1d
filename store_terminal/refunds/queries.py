"""Queries on refunds. The state of a refund is that of its outbox entry."""

from collections.abc import Sequence

import orjson
from sqlalchemy import bindparam, select, update

from store_terminal.errors import Reason
from store_terminal.outbox.model import EntryState
from store_terminal.outbox.tables import outbox
from store_terminal.refunds.model import TillRefund
from store_terminal.refunds.tables import till_refunds
from tillmesh import line_rows
from tillmesh.lines import LineItem, TaxTotal
from tillmesh.payer import Payer
from tillmesh.storage.columns import ORIGIN, PAYER
from tillmesh.storage.database import require_one_row
from tillmesh.storage.lists import PAYER_COLUMNS, After, By, NewestFirst, Slice
from tillmesh.storage.records import Records, as_long_text
from tillmesh.storage.statements import Transaction

REFUNDS_MAX = 100
"""The most refunds of a checkout that are read at once."""


def _taxes(text: str) -> tuple[TaxTotal, ...]:
    return tuple(TaxTotal(*tax) for tax in orjson.loads(text))


def _taxes_text(taxes: Sequence[TaxTotal]) -> str:
    rows = [(tax.tax_code, tax.tax_rate_ppm, tax.net_minor, tax.tax_minor) for tax in taxes]
    return orjson.dumps(rows).decode()


_ITEMS = as_long_text("items", line_rows.from_text, line_rows.to_text)
_TAXES = as_long_text("taxes", _taxes, _taxes_text)
REFUNDS = Records(
    TillRefund,
    till_refunds,
    parts={
        "payer": PAYER,
        "origin": ORIGIN,
        "items": _ITEMS,
        "taxes": _TAXES,
    },
)
_WITH_STATE = select(till_refunds, outbox.c.state, outbox.c.reason).join(outbox)
_LIST = NewestFirst(
    _WITH_STATE,
    till_refunds.c.refund_id,
    [By(("checkout_id",)), By(PAYER_COLUMNS), By()],
    lengths=("items_length", "taxes_length"),
)
_FIND_REFUND = _WITH_STATE.where(till_refunds.c.refund_id == bindparam("key"))
_FILL_REFUND = update(till_refunds).where(till_refunds.c.refund_id == bindparam("key"))


def get_refund(transaction: Transaction, refund_id: str) -> TillRefund:
    """The refund as it is now."""
    row = transaction.execute(_FIND_REFUND, {"key": refund_id}).one_or_none()
    if row is None:
        raise Reason.REFUND_NOT_FOUND(refund_id=refund_id)
    return REFUNDS.of(row)


def fill_refund(
    transaction: Transaction, refund_id: str, amount_minor: int, items: Sequence[LineItem], taxes: Sequence[TaxTotal]
) -> None:
    """Notes what the payment server gave back."""
    values = {**_ITEMS.dump(items), **_TAXES.dump(taxes), "amount_minor": amount_minor}
    require_one_row(transaction.execute(_FILL_REFUND, {"key": refund_id, **values}))


def list_refunds(
    transaction: Transaction, checkout_id: str, payer: Payer | None, after: After, at_most: int
) -> Slice[TillRefund]:
    """Refunds newest first, those that follow the given (created_at_ms, refund_id)."""
    return _LIST.read(transaction, after, at_most, payer, checkout_id=checkout_id).map(REFUNDS.of)


def refunds_of(transaction: Transaction, checkout_id: str) -> tuple[list[TillRefund], bool]:
    """The latest refunds that a checkout's shopper has, oldest first; True if there may be others before them."""
    latest = list_refunds(transaction, checkout_id, None, None, REFUNDS_MAX)
    done = [refund for refund in reversed(latest.records) if refund.state is EntryState.DONE]
    return done, latest.end is not None
