"""Queries on the outbox."""

from dataclasses import replace

import orjson
from sqlalchemy import bindparam, insert, select, update

from store_terminal.checkouts.queries import CHECKOUTS
from store_terminal.outbox.model import EntryState, Exchange, OutboxEntry, RequestKind
from store_terminal.outbox.tables import order_watch, outbox
from tillmesh.runtime.driver import After, Due
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.backlogs import Backlog
from tillmesh.storage.claims import CLAIM_MS, Claims
from tillmesh.storage.database import require_one_row
from tillmesh.storage.records import Records, as_text
from tillmesh.storage.statements import Transaction

LINE_NUMBERS = as_text("line_numbers", orjson.loads, lambda numbers: orjson.dumps(numbers).decode())
ENTRIES = Records(OutboxEntry, outbox, parts={"line_numbers": LINE_NUMBERS})
_END_ENTRY = update(outbox).where(outbox.c.request_id == bindparam("key"), outbox.c.state == bindparam("before"))
_SEND_NEXT = update(outbox).where(outbox.c.request_id == bindparam("key"), outbox.c.state == EntryState.WAITING)
_BECOME_REFUND = update(outbox).where(
    outbox.c.request_id == bindparam("key"),
    outbox.c.state == EntryState.PENDING,
    outbox.c.kind == RequestKind.VOID,
)
THE_WATCH = 1
_FIND_CURSOR = select(order_watch.c.cursor)
_FIRST_CURSOR = insert(order_watch)
_MOVE_CURSOR = update(order_watch).where(order_watch.c.watch_id == THE_WATCH)
BACKLOGS = (Backlog("outbox", outbox.c.kind, outbox.c.state == EntryState.PENDING, outbox.c.created_at_ms),)
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
    """Moves an entry to its final state; CONCURRENT_CHANGE if it is no longer in the state that was read."""
    values = {"state": state, "reason": reason, "refusal": refusal}
    require_one_row(transaction.execute(_END_ENTRY, {"key": entry.request_id, "before": entry.state, **values}))
    return replace(entry, state=state, reason=reason, refusal=refusal)


def send_next(transaction: Transaction, entry: OutboxEntry, now_ms: int) -> OutboxEntry:
    """Has an entry sent that waited; it is claimed anew for the process that wrote it, which may have the pay code."""
    values = {"state": EntryState.PENDING, "claimed_until_ms": now_ms + CLAIM_MS}
    require_one_row(transaction.execute(_SEND_NEXT, {"key": entry.request_id, **values}))
    return replace(entry, state=EntryState.PENDING, claimed_until_ms=now_ms + CLAIM_MS)


def become_refund(transaction: Transaction, entry: OutboxEntry, request: bytes) -> OutboxEntry:
    """Turns the entry of a void into that of a refund, under the same id."""
    values = {"kind": RequestKind.REFUND, "request": request}
    require_one_row(transaction.execute(_BECOME_REFUND, {"key": entry.request_id, **values}))
    return replace(entry, kind=RequestKind.REFUND, request=request)


def end_refused(transaction: Transaction, entry: OutboxEntry, refusal: Refusal) -> OutboxEntry:
    """Ends an entry with a refusal, which is raised again whenever its request is repeated."""
    refusal.retry_after_ms = None  # it would make clients repeat a request that is refused for ever
    status = refusal.to_status(refusal.domain).SerializeToString()
    return end_entry(transaction, entry, EntryState.REFUSED, refusal.reason, status)


def due_requests(transaction: Transaction, replica: str, now_ms: int, after: After, at_most: int) -> list[Due]:
    """Requests that other servers have owed an answer to for a while, oldest first: this replica's share."""
    return _CLAIMS.take(transaction, replica, now_ms, after, at_most)


def find_cursor(transaction: Transaction) -> str:
    """Where to go on watching orders; empty where that is not known."""
    row = transaction.execute(_FIND_CURSOR).one_or_none()
    return "" if row is None else row["cursor"]


def keep_cursor(transaction: Transaction, cursor: str) -> None:
    """Keeps where to go on watching orders: all before is taken in. Of several replicas the last one says it."""
    if transaction.execute(_MOVE_CURSOR, {"cursor": cursor}).rowcount == 0:
        transaction.execute(_FIRST_CURSOR, {"watch_id": THE_WATCH, "cursor": cursor})


def is_anothers(entry: OutboxEntry, replica: str, now_ms: int) -> bool:
    """True while another process drives an entry, which may have the pay code for it.

    What lies too far ahead was written before the clock stepped back, as in Claims.
    """
    return entry.claimed_by != replica and now_ms < entry.claimed_until_ms <= now_ms + 2 * CLAIM_MS
