"""Queries on the outbox."""

from dataclasses import replace

import orjson
from sqlalchemy import bindparam, update

from store_terminal.checkouts.queries import CHECKOUTS
from store_terminal.outbox.model import EntryState, Exchange, OutboxEntry
from store_terminal.outbox.tables import outbox
from tillmesh.runtime.driver import After, Due
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.claims import CLAIM_MS, Claims
from tillmesh.storage.database import require_one_row
from tillmesh.storage.records import Records, as_text
from tillmesh.storage.statements import Transaction

LINE_NUMBERS = as_text("line_numbers", orjson.loads, lambda numbers: orjson.dumps(numbers).decode())
ENTRIES = Records(OutboxEntry, outbox, parts={"line_numbers": LINE_NUMBERS})
_END_ENTRY = update(outbox).where(outbox.c.request_id == bindparam("key"), outbox.c.state == EntryState.PENDING)
_CLAIMS = Claims(outbox.c.request_id, outbox.c.state == EntryState.PENDING, outbox.c.created_at_ms)


def find_exchange(transaction: Transaction, request_id: str) -> Exchange | None:
    """The request to another server under that id, if there is one."""
    entry = ENTRIES.find(transaction, request_id)
    if entry is None:
        return None
    return Exchange(entry, CHECKOUTS.find(transaction, entry.checkout_id) if entry.checkout_id else None)


def get_exchange(transaction: Transaction, request_id: str) -> Exchange:
    """The request to another server under that id, which was written down."""
    exchange = find_exchange(transaction, request_id)
    assert exchange is not None, "nobody waits for what was not asked"
    return exchange


def end_entry(
    transaction: Transaction, entry: OutboxEntry, state: EntryState, reason: str = "", refusal: bytes = b""
) -> OutboxEntry:
    """Moves an entry from PENDING to its final state; CONCURRENT_CHANGE if it is not PENDING."""
    values = {"key": entry.request_id, "state": state, "reason": reason, "refusal": refusal}
    require_one_row(transaction.execute(_END_ENTRY, values))
    return replace(entry, state=state, reason=reason, refusal=refusal)


def end_refused(transaction: Transaction, entry: OutboxEntry, refusal: Refusal) -> OutboxEntry:
    """Ends an entry with a refusal, which is raised again whenever its request is repeated."""
    refusal.retry_after_ms = None  # it would make clients repeat a request that is refused for ever
    status = refusal.to_status(refusal.domain).SerializeToString()
    return end_entry(transaction, entry, EntryState.REFUSED, refusal.reason, status)


def due_requests(transaction: Transaction, replica: str, now_ms: int, after: After, at_most: int) -> list[Due]:
    """Requests that other servers have owed an answer to for a while, oldest first: this replica's share."""
    return _CLAIMS.take(transaction, replica, now_ms, after, at_most)


def is_anothers(entry: OutboxEntry, replica: str, now_ms: int) -> bool:
    """True while another process drives an entry, which may have the pay code for it.

    What lies too far ahead was written before the clock stepped back, as in Claims.
    """
    return entry.claimed_by != replica and now_ms < entry.claimed_until_ms <= now_ms + 2 * CLAIM_MS
