"""The table of refunds."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table, Text

from store_terminal.schema import METADATA
from tillmesh.storage.columns import origin_columns, payer_columns

till_refunds = Table(
    "till_refunds",
    METADATA,
    Column("refund_id", String, ForeignKey("outbox.request_id"), primary_key=True),
    Column("checkout_id", String, nullable=False),
    *payer_columns(nullable=True),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0")),
    Column("note", String, nullable=False),
    *origin_columns(),
    Column("actor", String, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    # Last: SQLite reads through a long text to get to what comes after it.
    Column("items_length", Integer, nullable=False),
    Column("taxes_length", Integer, nullable=False),
    Column("taxes", Text, nullable=False),
    Column("items", Text, nullable=False),
)
Index("till_refunds_newest", till_refunds.c.created_at_ms, till_refunds.c.refund_id)
Index("till_refunds_of_checkout", till_refunds.c.checkout_id, till_refunds.c.created_at_ms, till_refunds.c.refund_id)
Index(
    "till_refunds_of_payer",
    till_refunds.c.payer_kind,
    till_refunds.c.payer_value,
    till_refunds.c.created_at_ms,
    till_refunds.c.refund_id,
)
