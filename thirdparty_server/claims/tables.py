"""The table of orders that are presented, and of their claims."""

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, LargeBinary, String, Table

from thirdparty_server.claims.model import CLAIMS_MAX
from thirdparty_server.schema import METADATA

# Of codes only hashes are kept. A code names its store, so what another store presents under it is never found.
order_presentations = Table(
    "order_presentations",
    METADATA,
    Column("order_id", String, primary_key=True),
    Column("store_id", String, nullable=False),
    Column("reference", String, nullable=False),
    Column("code_hash", LargeBinary, nullable=False),
    Column("sticker_hash", LargeBinary),
    Column("presented_until_ms", BigInteger, nullable=False),
    Column("claimed_by", String, ForeignKey("identities.identity_id")),
    Column("claim_place", BigInteger, CheckConstraint(f"claim_place BETWEEN 1 AND {CLAIMS_MAX}")),
    Column("claimed_until_ms", BigInteger, nullable=False),
    Column("kept_until_ms", BigInteger, nullable=False),
    CheckConstraint("(claimed_by IS NULL) = (claim_place IS NULL)", name="a_claim_has_a_place"),
)
Index("presented_by_code", order_presentations.c.code_hash, order_presentations.c.store_id, unique=True)
Index("presented_by_sticker", order_presentations.c.sticker_hash, order_presentations.c.store_id, unique=True)
Index("claims_of_identity", order_presentations.c.claimed_by, order_presentations.c.claim_place, unique=True)
Index("presentations_kept", order_presentations.c.kept_until_ms, order_presentations.c.order_id)
