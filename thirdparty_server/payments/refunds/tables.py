"""The tables of refunds, to which rows are only added."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table

from thirdparty_server.schema import METADATA
from tillmesh.storage.columns import origin_columns, payer_columns
from tillmesh.storage.database import append_only

# `by_code` is true where a pay code alone named who receives.
refunds = Table(
    "refunds",
    METADATA,
    Column("refund_id", String, primary_key=True),
    Column("payment_id", String, nullable=False),
    Column("store_id", String, nullable=False),
    *payer_columns(),
    Column("by_code", Boolean, nullable=False),
    Column("currency", String, nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0"), nullable=False),
    Column("note", String, nullable=False),
    *origin_columns(),
    Column("actor", String, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("lines_length", Integer, nullable=False),
    Column("taxes_length", Integer, nullable=False),
    Column("taxes", String, nullable=False),
)
append_only(refunds)
Index("refunds_newest", refunds.c.created_at_ms, refunds.c.refund_id)
Index("refunds_of_payment", refunds.c.payment_id, refunds.c.created_at_ms, refunds.c.refund_id)
Index("refunds_of_payer", refunds.c.payer_kind, refunds.c.payer_value, refunds.c.created_at_ms, refunds.c.refund_id)
Index("refunds_of_store", refunds.c.store_id, refunds.c.created_at_ms, refunds.c.refund_id)
# What of each line of a paid order was given back by which refund.
refund_lines = Table(
    "refund_lines",
    METADATA,
    Column("refund_id", String, ForeignKey("refunds.refund_id"), primary_key=True),
    Column("line_number", BigInteger, CheckConstraint("line_number > 0"), primary_key=True),
    Column("payment_id", String, ForeignKey("payments.payment_id"), nullable=False),
    Column("quantity", BigInteger, CheckConstraint("quantity > 0"), nullable=False),
    Column("amount_minor", BigInteger, CheckConstraint("amount_minor >= 0"), nullable=False),
)
append_only(refund_lines)
Index("refund_lines_of_payment", refund_lines.c.payment_id, refund_lines.c.line_number)
