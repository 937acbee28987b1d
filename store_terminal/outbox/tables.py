"""The table of the outbox, and that of the place in the events of the order service."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    and_,
)

from store_terminal.outbox.model import EntryState, RequestKind
from store_terminal.schema import METADATA
from tillmesh.storage.claims import claim_columns
from tillmesh.storage.database import one_of

outbox = Table(
    "outbox",
    METADATA,
    Column("request_id", String, primary_key=True),
    Column("checkout_id", String, nullable=False),
    Column("kind", String, one_of("kind", RequestKind), nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("pay_code_shown", Boolean, nullable=False),
    Column("line_numbers", Text, nullable=False),
    Column("next_id", String, nullable=False),
    Column("state", String, one_of("state", EntryState), nullable=False),
    Column("reason", String, nullable=False),
    Column("refusal", LargeBinary, nullable=False),
    Column("trace_id", String, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    *claim_columns(),
)
_unanswered = outbox.c.state == EntryState.PENDING
_BESIDES = (RequestKind.REFUND, RequestKind.UNREFERENCED_REFUND, RequestKind.VOID)
"""What may be asked while the checkout waits for another answer, and several at once."""
_busy = and_(_unanswered, *(outbox.c.kind != kind for kind in _BESIDES))
Index(
    "outbox_unanswered",
    outbox.c.created_at_ms,
    outbox.c.request_id,
    sqlite_where=_unanswered,
    postgresql_where=_unanswered,
)
Index("one_unanswered_a_checkout", outbox.c.checkout_id, unique=True, sqlite_where=_busy, postgresql_where=_busy)
order_watch = Table(
    "order_watch",
    METADATA,
    Column("watch_id", Integer, CheckConstraint("watch_id = 1", name="one_row"), primary_key=True),
    Column("cursor", String, nullable=False),
)
