"""Writes requests to other servers down, before they are sent (rule 3), and reads them."""

from collections.abc import Sequence

from google.protobuf.message import Message

from store_terminal.checkouts.model import Call
from store_terminal.checkouts.queries import CHECKOUTS
from store_terminal.outbox.model import Exchange, OutboxEntry, RequestKind
from store_terminal.outbox.queries import ENTRIES
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.claims import CLAIM_MS
from tillmesh.storage.statements import Transaction


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


def write(
    transaction: Transaction,
    call: Call,
    checkout_id: str,
    kind: RequestKind,
    message: Message,
    *,
    pay_code_shown: bool = False,
    line_numbers: Sequence[int] = (),
) -> OutboxEntry:
    """Stores a request before it is sent (rule 3), claimed by this process: it alone may have a pay code for it."""
    entry = OutboxEntry(
        request_id=call.request_id,
        checkout_id=checkout_id,
        kind=kind,
        request=message.SerializeToString(),
        pay_code_shown=pay_code_shown,
        line_numbers=line_numbers,
        trace_id=trace_id.get(),
        claimed_by=call.replica,
        claimed_until_ms=call.now_ms + CLAIM_MS,
        created_at_ms=call.now_ms,
    )
    ENTRIES.insert(transaction, entry)
    return entry
