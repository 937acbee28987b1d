"""Queries about identities, wallets and phones. A change of a record with a version is compare-and-set on it."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import and_, bindparam, case, delete, insert, or_, select, update

from thirdparty_server.ledger.model import wallet
from thirdparty_server.payers.model import CODE_TRIES, PIN_TRIES, Identity, Phone, Wallet
from thirdparty_server.payers.tables import identities, phones, pin_tries, wallets
from tillmesh.storage.database import require_one_row
from tillmesh.storage.lists import After, by_key
from tillmesh.storage.records import Part, Records, amount_in
from tillmesh.storage.statements import Transaction

IDENTITIES = Records(Identity, identities, guard=("version",), initial={"pin_failures": 0})
WALLETS = Records(
    Wallet,
    wallets,
    parts={
        "account": Part(
            lambda row: wallet(row["identity_id"], row["currency"]),
            lambda account: {"account_id": account.account_id, "currency": account.currency},
        ),
        "confirmation_threshold": amount_in("threshold_minor"),
        "unconfirmed_payments_per_day_max": Part(
            lambda row: row["unconfirmed_per_day_max"], lambda count: {"unconfirmed_per_day_max": count}
        ),
    },
    guard=("version",),
    initial={"unconfirmed_day": 0, "unconfirmed_count": 0},
)
_NEW_KEY = {"last_step": 0, "code_failures": 0}
"""None of its codes was shown yet."""
PHONES = Records(Phone, phones, initial=_NEW_KEY)
_OF_WALLET = and_(wallets.c.identity_id == bindparam("key"), wallets.c.currency == bindparam("of_currency"))
# A day that is over is never counted anew: a clock that stepped back gives nobody more.
_NEW_DAY = wallets.c.unconfirmed_day < bindparam("day")
_COUNT_UNCONFIRMED = (
    update(wallets)
    .where(
        _OF_WALLET,
        wallets.c.version == bindparam("known_version"),
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


def list_identities(transaction: Transaction, after: After, at_most: int) -> list[Identity]:
    """Identities by id, those after the given one."""
    query = by_key(select(identities), identities.c.identity_id, after, at_most)
    return [IDENTITIES.of(row) for row in transaction.execute(query)]


def list_wallets(transaction: Transaction, identity_id: str, after: After, at_most: int) -> list[Wallet]:
    """An identity's wallets by currency, those after the given one."""
    own = select(wallets).where(wallets.c.identity_id == identity_id)
    return [WALLETS.of(row) for row in transaction.execute(by_key(own, wallets.c.currency, after, at_most))]


def count_unconfirmed(transaction: Transaction, wallet: Wallet, day: int) -> bool:
    """Counts a payment without the payer's yes; False if the day (since 1970, UTC) has had all of them.

    Also if the wallet's limits are not those that were read any more.
    """
    values = {"key": wallet.identity_id, "of_currency": wallet.currency, "day": day, "known_version": wallet.version}
    return transaction.execute(_COUNT_UNCONFIRMED, values).rowcount == 1


_FIND_HANDLE = select(phones).where(phones.c.handle == bindparam("key"))
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
_FIND_PIN_TRY = select(pin_tries).where(pin_tries.c.request_id == bindparam("key"))
_ADD_PIN_TRY = insert(pin_tries)
_AT_ATTEMPT = and_(pin_tries.c.request_id == bindparam("key"), pin_tries.c.attempt == bindparam("known_attempt"))
_TAKE_PIN_TRY = (
    update(pin_tries)
    .where(_AT_ATTEMPT)
    .values(attempt=pin_tries.c.attempt + 1, checked_by=bindparam("replica"), begun_at_ms=bindparam("now_ms"))
)
_KEEP_RIGHT_PIN = update(pin_tries).where(_AT_ATTEMPT).values(right_pin=bindparam("mark"))
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


def find_pin_try(transaction: Transaction, request_id: str) -> Mapping[str, Any] | None:
    """The row of the try that came with that request id."""
    return transaction.execute(_FIND_PIN_TRY, {"key": request_id}).one_or_none()


def add_pin_try(transaction: Transaction, **values: Any) -> None:
    """Writes down the first check of a request's try."""
    transaction.execute(_ADD_PIN_TRY, {**values, "attempt": 1, "right_pin": None})


def take_pin_try(transaction: Transaction, request_id: str, attempt: int, replica: str, now_ms: int) -> None:
    """Takes over the try of a request at that attempt, for the next one."""
    values = {"key": request_id, "known_attempt": attempt, "replica": replica, "now_ms": now_ms}
    require_one_row(transaction.execute(_TAKE_PIN_TRY, values))


def keep_right_pin(transaction: Transaction, request_id: str, attempt: int, mark: bytes) -> None:
    """Keeps that the PIN of a request was right."""
    values = {"key": request_id, "known_attempt": attempt, "mark": mark}
    require_one_row(transaction.execute(_KEEP_RIGHT_PIN, values))


def find_phone_of_handle(transaction: Transaction, handle: str) -> Phone | None:
    """The phone with that handle in its pay codes."""
    row = transaction.execute(_FIND_HANDLE, {"key": handle}).one_or_none()
    return None if row is None else PHONES.of(row)


def list_phones(transaction: Transaction, identity_id: str, after: After, at_most: int) -> list[Phone]:
    """An identity's phones by URI, those after the given one."""
    own = select(phones).where(phones.c.identity_id == identity_id)
    return [PHONES.of(row) for row in transaction.execute(by_key(own, phones.c.phone_uri, after, at_most))]


def change_key(transaction: Transaction, phone: Phone) -> None:
    """Replaces the phone's handle and key, whose codes are neither used nor locked."""
    new: dict[str, Any] = {**_NEW_KEY, "handle": phone.handle, "key_id": phone.key_id, "code_locked_until_ms": 0}
    change = update(phones).where(phones.c.phone_uri == phone.phone_uri).values(new)
    require_one_row(transaction.execute(change))


def delete_phone(transaction: Transaction, phone_uri: str) -> None:
    """Unbinds a phone, with its session."""
    transaction.execute(delete(phones).where(phones.c.phone_uri == phone_uri))


def start_session(
    transaction: Transaction, phone_uri: str, identity_id: str, token_hash: bytes, expires_at_ms: int
) -> bool:
    """Replaces the session of a phone; False if it is no longer bound to that identity."""
    session = {"token_hash": token_hash, "token_expires_at_ms": expires_at_ms}
    return transaction.execute(_START_SESSION, {"key": phone_uri, "owner": identity_id, **session}).rowcount == 1


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
