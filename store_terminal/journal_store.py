"""Queries on the journal, and on the refunds whose state is that of their journal row."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import bindparam, insert, select, update

from store_terminal.model import EntryState, JournalEntry, Kind, TillRefund
from store_terminal.store import newest
from store_terminal.tables import journal, till_refunds
from tillmesh import line_rows
from tillmesh.lines import LineItem, TaxTotal
from tillmesh.payer import Payer
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.claims import CLAIM_MS, Claims
from tillmesh.storage.columns import has_payer, origin_of, origin_values, payer_of, payer_values
from tillmesh.storage.database import require_one_row
from tillmesh.storage.statements import Row, Transaction

_FIND_ENTRY = select(journal).where(journal.c.request_id == bindparam("key"))
_INSERT_ENTRY = insert(journal)
_END_ENTRY = update(journal).where(journal.c.request_id == bindparam("key"), journal.c.state == EntryState.PENDING)
_CLAIMS = Claims(journal.c.request_id, journal.c.state == EntryState.PENDING, journal.c.created_at_ms)
_REFUNDS = select(till_refunds, journal.c.state, journal.c.reason).join(journal)
_FIND_REFUND = _REFUNDS.where(till_refunds.c.refund_id == bindparam("key"))
_INSERT_REFUND = insert(till_refunds)
_FILL_REFUND = update(till_refunds).where(till_refunds.c.refund_id == bindparam("key"))


def find_entry(transaction: Transaction, request_id: str) -> JournalEntry | None:
    """The journal row of that request."""
    row = transaction.execute(_FIND_ENTRY, {"key": request_id}).one_or_none()
    return None if row is None else _entry(row)


def insert_entry(transaction: Transaction, entry: JournalEntry) -> None:
    """Writes down what is about to be asked."""
    values = {
        "request_id": entry.request_id,
        "checkout_id": entry.checkout_id,
        "kind": entry.kind,
        "request": entry.request,
        "pay_code_shown": entry.pay_code_shown,
        "line_numbers": orjson.dumps(list(entry.line_numbers)).decode(),
        "state": entry.state,
        "reason": entry.reason,
        "refusal": entry.refusal,
        "trace_id": entry.trace_id,
        "claimed_by": entry.claimed_by,
        "claimed_until_ms": entry.claimed_until_ms,
        "created_at_ms": entry.created_at_ms,
    }
    transaction.execute(_INSERT_ENTRY, values)


def end_entry(
    transaction: Transaction, entry: JournalEntry, state: EntryState, reason: str = "", refusal: bytes = b""
) -> JournalEntry:
    """Moves a journal row from PENDING to its final state; CONCURRENT_CHANGE if it is not PENDING."""
    values = {"key": entry.request_id, "state": state, "reason": reason, "refusal": refusal}
    require_one_row(transaction.execute(_END_ENTRY, values))
    return replace(entry, state=state, reason=reason, refusal=refusal)


def end_refused(transaction: Transaction, entry: JournalEntry, refusal: Refusal) -> JournalEntry:
    """Ends a journal row with a refusal, which is raised again whenever its request is repeated."""
    refusal.retry_after_ms = None  # it would make clients repeat a request that is refused for ever
    status = refusal.to_status(refusal.domain).SerializeToString()
    return end_entry(transaction, entry, EntryState.REFUSED, refusal.reason, status)


def due_requests(transaction: Transaction, replica: str, now_ms: int) -> list[str]:
    """Request ids that other servers have owed an answer to for a while, oldest first: this replica's share."""
    return _CLAIMS.take(transaction, replica, now_ms)


def is_anothers(entry: JournalEntry, replica: str, now_ms: int) -> bool:
    """True while another process drives a row, which may have the pay code for it.

    What lies too far ahead was written before the clock stepped back, as in Claims.
    """
    return entry.claimed_by != replica and now_ms < entry.claimed_until_ms <= now_ms + 2 * CLAIM_MS


def insert_refund(transaction: Transaction, refund: TillRefund) -> None:
    """Adds a refund; its journal row must be there."""
    values = {
        "refund_id": refund.refund_id,
        "checkout_id": refund.checkout_id,
        **payer_values(refund.payer),
        "items": line_rows.to_text(refund.items),
        "taxes": _taxes_text(refund.taxes),
        "currency": refund.currency,
        "amount_minor": refund.amount_minor,
        "note": refund.note,
        **origin_values(refund.origin),
        "actor": refund.actor,
        "created_at_ms": refund.created_at_ms,
    }
    transaction.execute(_INSERT_REFUND, values)


def fill_refund(
    transaction: Transaction, refund_id: str, amount_minor: int, items: Sequence[LineItem], taxes: Sequence[TaxTotal]
) -> None:
    """Notes what the payment server gave back."""
    values = {"items": line_rows.to_text(items), "taxes": _taxes_text(taxes), "amount_minor": amount_minor}
    require_one_row(transaction.execute(_FILL_REFUND, {"key": refund_id, **values}))


def find_refund(transaction: Transaction, refund_id: str) -> TillRefund | None:
    """The refund of that id."""
    row = transaction.execute(_FIND_REFUND, {"key": refund_id}).one_or_none()
    return None if row is None else _refund(row)


def list_refunds(
    transaction: Transaction, *, checkout_id: str, payer: Payer | None, before: list[Any] | None, at_most: int
) -> list[TillRefund]:
    """Refunds newest first, those before the given (created_at_ms, refund_id)."""
    query = _REFUNDS
    if checkout_id:
        query = query.where(till_refunds.c.checkout_id == checkout_id)
    if payer:
        query = query.where(has_payer(till_refunds, payer))
    rows = transaction.execute(newest(query, till_refunds.c.refund_id, till_refunds.c.created_at_ms, before, at_most))
    return [_refund(row) for row in rows]


def refunds_of(transaction: Transaction, checkout_id: str) -> list[TillRefund]:
    """All refunds that a checkout's shopper has, oldest first."""
    query = _REFUNDS.where(till_refunds.c.checkout_id == checkout_id, journal.c.state == EntryState.DONE)
    rows = transaction.execute(query.order_by(till_refunds.c.created_at_ms, till_refunds.c.refund_id))
    return [_refund(row) for row in rows]


def _entry(row: Row) -> JournalEntry:
    return JournalEntry(
        request_id=row["request_id"],
        checkout_id=row["checkout_id"],
        kind=Kind(row["kind"]),
        request=row["request"],
        pay_code_shown=row["pay_code_shown"],
        line_numbers=orjson.loads(row["line_numbers"]),
        state=EntryState(row["state"]),
        reason=row["reason"],
        refusal=row["refusal"],
        trace_id=row["trace_id"],
        claimed_by=row["claimed_by"],
        claimed_until_ms=row["claimed_until_ms"],
        created_at_ms=row["created_at_ms"],
    )


def _refund(row: Row) -> TillRefund:
    return TillRefund(
        refund_id=row["refund_id"],
        checkout_id=row["checkout_id"],
        payer=payer_of(row) if row["payer_kind"] else None,
        items=line_rows.from_text(row["items"]),
        taxes=tuple(TaxTotal(*tax) for tax in orjson.loads(row["taxes"])),
        currency=row["currency"],
        amount_minor=row["amount_minor"],
        note=row["note"],
        origin=origin_of(row),
        actor=row["actor"],
        state=EntryState(row["state"]),
        reason=row["reason"],
        created_at_ms=row["created_at_ms"],
    )


def _taxes_text(taxes: Sequence[TaxTotal]) -> str:
    rows = [(tax.tax_code, tax.tax_rate_ppm, tax.net_minor, tax.tax_minor) for tax in taxes]
    return orjson.dumps(rows).decode()
