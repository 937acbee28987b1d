"""Queries about identities, wallets and phones. A change of a record with a version is compare-and-set on it."""

from typing import Any

from sqlalchemy import and_, bindparam, case, delete, insert, or_, select, update

from thirdparty_server.payers.model import CODE_TRIES, PIN_TRIES, Identity, Phone, Wallet
from thirdparty_server.payers.tables import identities, phones, wallets
from tillmesh.storage.database import require_one_row
from tillmesh.storage.lists import by_key
from tillmesh.storage.statements import Row, Transaction

_IDENTITY = (
    identities.c.identity_id,
    identities.c.display_name,
    identities.c.version,
    identities.c.created_at_ms,
)
_FIND_IDENTITY = select(*_IDENTITY).where(identities.c.identity_id == bindparam("key"))
_INSERT_IDENTITY = insert(identities)
_CHANGE_IDENTITY = (
    update(identities)
    .where(identities.c.identity_id == bindparam("key"), identities.c.version == bindparam("version_read"))
    .values(version=identities.c.version + 1)
)
_WALLET = (
    wallets.c.identity_id,
    wallets.c.currency,
    wallets.c.threshold_minor,
    wallets.c.unconfirmed_per_day_max,
    wallets.c.version,
    wallets.c.created_at_ms,
)
_OF_WALLET = and_(wallets.c.identity_id == bindparam("key"), wallets.c.currency == bindparam("of_currency"))
_FIND_WALLET = select(*_WALLET).where(_OF_WALLET)
_INSERT_WALLET = insert(wallets)
_CHANGE_WALLET = (
    update(wallets)
    .where(_OF_WALLET, wallets.c.version == bindparam("version_read"))
    .values(version=wallets.c.version + 1)
)
# A day that is over is never counted anew: a clock that stepped back gives nobody more.
_NEW_DAY = wallets.c.unconfirmed_day < bindparam("day")
_COUNT_UNCONFIRMED = (
    update(wallets)
    .where(
        _OF_WALLET,
        or_(
            wallets.c.unconfirmed_per_day_max.is_(None),
            and_(_NEW_DAY, wallets.c.unconfirmed_per_day_max > 0),
            and_(~_NEW_DAY, wallets.c.unconfirmed_count < wallets.c.unconfirmed_per_day_max),
        ),
    )
    .values(
        unconfirmed_count=case((_NEW_DAY, 1), else_=wallets.c.unconfirmed_count + 1),
        unconfirmed_day=case((_NEW_DAY, bindparam("day")), else_=wallets.c.unconfirmed_day),
    )
)


def find_identity(transaction: Transaction, identity_id: str) -> Identity | None:
    """The identity of that id."""
    row = transaction.execute(_FIND_IDENTITY, {"key": identity_id}).one_or_none()
    return None if row is None else Identity(**row)


def insert_identity(transaction: Transaction, identity: Identity) -> None:
    """Registers an identity without a PIN."""
    values = {
        "identity_id": identity.identity_id,
        "display_name": identity.display_name,
        "version": identity.version,
        "pin_failures": 0,
        "created_at_ms": identity.created_at_ms,
    }
    transaction.execute(_INSERT_IDENTITY, values)


def change_identity(transaction: Transaction, identity: Identity) -> None:
    """Writes what may change, as the next version of the one that was read."""
    values = {
        "key": identity.identity_id,
        "version_read": identity.version,
        "display_name": identity.display_name,
    }
    require_one_row(transaction.execute(_CHANGE_IDENTITY, values))


def list_identities(transaction: Transaction, after_id: str, at_most: int) -> list[Identity]:
    """Identities by id, those after the given one."""
    rows = by_key(transaction, identities, _IDENTITY, identities.c.identity_id, after_id, at_most)
    return [Identity(**row) for row in rows]


def find_wallet(transaction: Transaction, identity_id: str, currency: str) -> Wallet | None:
    """The identity's wallet in that currency."""
    row = transaction.execute(_FIND_WALLET, {"key": identity_id, "of_currency": currency}).one_or_none()
    return None if row is None else Wallet(**row)


def insert_wallet(transaction: Transaction, wallet: Wallet) -> None:
    """Records a wallet; its account must be open."""
    values = {
        "identity_id": wallet.identity_id,
        "currency": wallet.currency,
        "account_id": wallet.account.account_id,
        "threshold_minor": wallet.threshold_minor,
        "unconfirmed_per_day_max": wallet.unconfirmed_per_day_max,
        "unconfirmed_day": 0,
        "unconfirmed_count": 0,
        "version": wallet.version,
        "created_at_ms": wallet.created_at_ms,
    }
    transaction.execute(_INSERT_WALLET, values)


def change_wallet(transaction: Transaction, wallet: Wallet) -> None:
    """Writes what may change, as the next version of the one that was read."""
    values = {
        "key": wallet.identity_id,
        "of_currency": wallet.currency,
        "version_read": wallet.version,
        "threshold_minor": wallet.threshold_minor,
        "unconfirmed_per_day_max": wallet.unconfirmed_per_day_max,
    }
    require_one_row(transaction.execute(_CHANGE_WALLET, values))


def list_wallets(transaction: Transaction, identity_id: str, after_currency: str, at_most: int) -> list[Wallet]:
    """An identity's wallets by currency, those after the given one."""
    own = wallets.c.identity_id == identity_id
    rows = by_key(transaction, wallets, _WALLET, wallets.c.currency, after_currency, at_most, own)
    return [Wallet(**row) for row in rows]


def count_unconfirmed(transaction: Transaction, wallet: Wallet, day: int) -> bool:
    """Counts a payment without the payer's yes; False if the day (since 1970, UTC) has had all of them."""
    values = {"key": wallet.identity_id, "of_currency": wallet.currency, "day": day}
    return transaction.execute(_COUNT_UNCONFIRMED, values).rowcount == 1


_PHONE = (
    phones.c.phone_uri,
    phones.c.identity_id,
    phones.c.handle,
    phones.c.key_id,
    phones.c.code_locked_until_ms,
    phones.c.created_at_ms,
)
_FIND_PHONE = select(*_PHONE).where(phones.c.phone_uri == bindparam("key"))
_FIND_HANDLE = select(*_PHONE).where(phones.c.handle == bindparam("key"))
_FIND_SESSION = select(phones.c.identity_id).where(
    phones.c.phone_uri == bindparam("key"),
    phones.c.token_hash == bindparam("hash"),
    phones.c.token_expires_at_ms > bindparam("now_ms"),
)
_OF_IDENTITY = identities.c.identity_id == bindparam("key")
_COUNT_PIN_TRY = (
    update(identities)
    .where(_OF_IDENTITY, identities.c.pin_hash.is_not(None), identities.c.pin_failures < PIN_TRIES)
    .values(pin_failures=identities.c.pin_failures + 1)
)
_RESET_PIN_TRIES = (
    update(identities).where(_OF_IDENTITY, identities.c.pin_hash == bindparam("hash")).values(pin_failures=0)
)
_TAKE_STEP = (
    update(phones)
    .where(
        phones.c.handle == bindparam("key"),
        phones.c.last_step < bindparam("step"),
        phones.c.code_locked_until_ms <= bindparam("now_ms"),
    )
    .values(last_step=bindparam("step"), code_failures=0)
)
_LAST_TRY = phones.c.code_failures >= CODE_TRIES - 1
_COUNT_CODE_FAILURE = (
    update(phones)
    .where(phones.c.handle == bindparam("key"), phones.c.code_locked_until_ms <= bindparam("now_ms"))
    .values(
        code_failures=case((_LAST_TRY, 0), else_=phones.c.code_failures + 1),
        code_locked_until_ms=case((_LAST_TRY, bindparam("until_ms")), else_=phones.c.code_locked_until_ms),
    )
)
_INSERT_PHONE = insert(phones)
_NO_SESSION: dict[str, None] = {"token_hash": None, "token_expires_at_ms": None}
_START_SESSION = update(phones).where(
    phones.c.phone_uri == bindparam("key"), phones.c.identity_id == bindparam("owner")
)
_END_SESSION = update(phones).where(phones.c.phone_uri == bindparam("key")).values(_NO_SESSION)


def set_pin(transaction: Transaction, identity_id: str, pin_hash: str) -> None:
    """Sets a PIN that nobody has tried yet, and ends the identity's sessions."""
    transaction.execute(update(phones).where(phones.c.identity_id == identity_id).values(_NO_SESSION))
    change = update(identities).where(identities.c.identity_id == identity_id)
    transaction.execute(change.values(pin_hash=pin_hash, pin_failures=0))


def find_pin(transaction: Transaction, identity_id: str) -> tuple[str | None, int]:
    """The PIN's hash, if one is set, and how many tries in a row were wrong."""
    row = transaction.execute(
        select(identities.c.pin_hash, identities.c.pin_failures).where(identities.c.identity_id == identity_id)
    ).one()
    return row["pin_hash"], row["pin_failures"]


def count_pin_try(transaction: Transaction, identity_id: str) -> bool:
    """Counts a try as wrong before it is known; False if there is none left, or no PIN."""
    return transaction.execute(_COUNT_PIN_TRY, {"key": identity_id}).rowcount == 1


def reset_pin_tries(transaction: Transaction, identity_id: str, pin_hash: str) -> bool:
    """Forgets wrong tries; False if that is no longer the PIN."""
    return transaction.execute(_RESET_PIN_TRIES, {"key": identity_id, "hash": pin_hash}).rowcount == 1


def find_phone(transaction: Transaction, phone_uri: str) -> Phone | None:
    """The phone with that certificate."""
    return _phone(transaction.execute(_FIND_PHONE, {"key": phone_uri}).one_or_none())


def find_phone_of_handle(transaction: Transaction, handle: str) -> Phone | None:
    """The phone with that handle in its pay codes."""
    return _phone(transaction.execute(_FIND_HANDLE, {"key": handle}).one_or_none())


def list_phones(transaction: Transaction, identity_id: str, after_uri: str, at_most: int) -> list[Phone]:
    """An identity's phones by URI, those after the given one."""
    query = select(*_PHONE).where(phones.c.identity_id == identity_id, phones.c.phone_uri > after_uri)
    return [Phone(**row) for row in transaction.execute(query.order_by(phones.c.phone_uri).limit(at_most))]


def insert_phone(transaction: Transaction, phone: Phone) -> None:
    """Binds a phone on which nobody is signed in."""
    values = {
        "phone_uri": phone.phone_uri,
        "identity_id": phone.identity_id,
        "created_at_ms": phone.created_at_ms,
        **_fresh_key(phone),
    }
    transaction.execute(_INSERT_PHONE, values)


def change_key(transaction: Transaction, phone: Phone) -> None:
    """Replaces the phone's handle and key, none of whose codes was shown yet."""
    change = update(phones).where(phones.c.phone_uri == phone.phone_uri)
    require_one_row(transaction.execute(change.values(_fresh_key(phone))))


def delete_phone(transaction: Transaction, phone_uri: str) -> None:
    """Unbinds a phone, with its session."""
    transaction.execute(delete(phones).where(phones.c.phone_uri == phone_uri))


def start_session(
    transaction: Transaction, phone_uri: str, identity_id: str, token_hash: bytes, expires_at_ms: int
) -> bool:
    """Replaces the session of a phone; False if it is no longer bound to that identity."""
    values = {
        "key": phone_uri,
        "owner": identity_id,
        "token_hash": token_hash,
        "token_expires_at_ms": expires_at_ms,
    }
    return transaction.execute(_START_SESSION, values).rowcount == 1


def end_session(transaction: Transaction, phone_uri: str) -> None:
    """Ends the session of a phone, if it has one."""
    transaction.execute(_END_SESSION, {"key": phone_uri})


def find_session(transaction: Transaction, phone_uri: str, token_hash: bytes, now_ms: int) -> str | None:
    """The identity that is signed in on that phone with that token."""
    values = {"key": phone_uri, "hash": token_hash, "now_ms": now_ms}
    row = transaction.execute(_FIND_SESSION, values).one_or_none()
    return None if row is None else row["identity_id"]


def take_step(transaction: Transaction, handle: str, step: int, now_ms: int) -> bool:
    """Accepts the code of a step; False if that or a later one was accepted before, or the phone is locked."""
    return transaction.execute(_TAKE_STEP, {"key": handle, "step": step, "now_ms": now_ms}).rowcount == 1


def count_code_failure(transaction: Transaction, handle: str, now_ms: int, locked_until_ms: int) -> None:
    """Counts a wrong code of a known phone that is not locked; the last one that may be wrong locks it."""
    transaction.execute(_COUNT_CODE_FAILURE, {"key": handle, "now_ms": now_ms, "until_ms": locked_until_ms})


def _fresh_key(phone: Phone) -> dict[str, Any]:
    return {
        "handle": phone.handle,
        "key_id": phone.key_id,
        "last_step": 0,
        "code_failures": 0,
        "code_locked_until_ms": 0,
    }


def _phone(row: Row | None) -> Phone | None:
    return None if row is None else Phone(**row)
