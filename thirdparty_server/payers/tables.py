"""The tables of identities, wallets and phones."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Table,
)

from thirdparty_server.payers.model import PIN_TRIES
from thirdparty_server.schema import METADATA
from tillmesh.paycode import HANDLE_DIGITS

identities = Table(
    "identities",
    METADATA,
    Column("identity_id", String, primary_key=True),
    Column("display_name", String, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("pin_hash", String),
    Column("pin_failures", BigInteger, CheckConstraint(f"pin_failures BETWEEN 0 AND {PIN_TRIES}"), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
)
# Without a threshold its payer is asked for each payment.
wallets = Table(
    "wallets",
    METADATA,
    Column("identity_id", String, ForeignKey("identities.identity_id"), primary_key=True),
    Column("currency", String, primary_key=True),
    Column("account_id", String, nullable=False, unique=True),
    Column("threshold_minor", BigInteger, CheckConstraint("threshold_minor >= 0")),
    Column("unconfirmed_per_day_max", BigInteger, CheckConstraint("unconfirmed_per_day_max >= 0")),
    Column("unconfirmed_day", BigInteger, nullable=False),
    Column("unconfirmed_count", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    ForeignKeyConstraint(["account_id", "currency"], ["accounts.account_id", "accounts.currency"]),
)
# The tries of a PIN that came with a request id: each counts once, however often the request is repeated.
pin_tries = Table(
    "pin_tries",
    METADATA,
    Column("request_id", String, primary_key=True),
    Column("content_hash", LargeBinary, nullable=False),
    Column("identity_id", String, ForeignKey("identities.identity_id"), nullable=False),
    Column("attempt", BigInteger, CheckConstraint("attempt >= 1"), nullable=False),
    Column("checked_by", String, nullable=False),
    Column("begun_at_ms", BigInteger, nullable=False),
    Column("right_pin", LargeBinary),
)
# A payer's own terminal: whose it is, who is signed in on it, and which pay codes of it still count.
phones = Table(
    "phones",
    METADATA,
    Column("phone_uri", String, primary_key=True),
    Column("identity_id", String, ForeignKey("identities.identity_id"), nullable=False),
    Column("handle", String, CheckConstraint(f"length(handle) = {HANDLE_DIGITS}"), nullable=False, unique=True),
    Column("key_id", String, nullable=False, unique=True),
    Column("last_step", BigInteger, nullable=False),
    Column("code_failures", BigInteger, CheckConstraint("code_failures >= 0"), nullable=False),
    Column("code_locked_until_ms", BigInteger, nullable=False),
    Column("token_hash", LargeBinary),
    Column("token_expires_at_ms", BigInteger),
    Column("created_at_ms", BigInteger, nullable=False),
    CheckConstraint("(token_hash IS NULL) = (token_expires_at_ms IS NULL)", name="a_session_ends"),
)
Index("phones_of_identity", phones.c.identity_id, phones.c.phone_uri)
