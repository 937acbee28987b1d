"""How tries of a PIN are counted: each function is one transaction, or a part of one.

A try is counted as wrong, then checked outside of any transaction, then settled in a transaction of its own: so the
right PIN is forgiven whatever becomes of what it was keyed in for.

A try with a request id has a row, and counts once however often the request comes. One process at a time checks it.
Where that one died in between, the next copy of the request takes the try over, and counts nothing again.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from thirdparty_server.errors import Reason
from thirdparty_server.payers import queries
from thirdparty_server.payers.model import PIN_TRIES, PinTry
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.storage.requests import IdempotencyKey, find_resource
from tillmesh.storage.statements import Transaction

CHECK_MS_MAX = 30_000
"""No check takes so long: another process that began one this long ago has died."""


def begin_pin_try(transaction: Transaction, identity_id: str) -> PinTry:
    """Counts a try before it is made, so that no number of guesses at once gets more of them."""
    pin_hash = _pin_hash(transaction, identity_id)
    if not queries.count_pin_try(transaction, identity_id):
        raise Reason.PIN_LOCKED()
    return PinTry(identity_id, pin_hash)


def begin_once(
    transaction: Transaction, key: IdempotencyKey, identity_id: str, replica: str, now_ms: int
) -> PinTry | None:
    """The same for a request, which counts once; None if it was answered before."""
    if find_resource(transaction, key) is not None:
        return None
    if known := queries.find_pin_try(transaction, key.request_id):
        return _begin_again(transaction, key, known, replica, now_ms)
    begun = begin_pin_try(transaction, identity_id)
    queries.add_pin_try(
        transaction,
        request_id=key.request_id,
        content_hash=key.content_hash,
        identity_id=identity_id,
        checked_by=replica,
        begun_at_ms=now_ms,
    )
    return PinTry(identity_id, begun.pin_hash, attempt=1)


def settle_pin_try(transaction: Transaction, pin_try: PinTry) -> PinTry:
    """Forgets the wrong tries after the right one; refuses a wrong one, and one of a PIN that was changed meanwhile."""
    if not pin_try.right or not queries.reset_pin_tries(transaction, pin_try.identity_id, pin_try.pin_hash):
        raise _wrong(transaction, pin_try.identity_id)
    return pin_try


def settle_once(transaction: Transaction, key: IdempotencyKey, pin_try: PinTry) -> PinTry | None:
    """The same for a request, which keeps that its PIN was right; None if it was answered before."""
    if find_resource(transaction, key) is not None:
        return None
    known = queries.find_pin_try(transaction, key.request_id)
    if known is None or known["attempt"] != pin_try.attempt:
        raise Reason.PIN_TRY_NOT_SETTLED()
    settle_pin_try(transaction, pin_try)
    queries.keep_right_pin(transaction, key.request_id, pin_try.attempt, _mark(pin_try.pin_hash))
    return pin_try


def require_same_pin(transaction: Transaction, pin_try: PinTry) -> None:
    """Refuses a try that was right, if the PIN was changed since."""
    if _pin_hash(transaction, pin_try.identity_id) != pin_try.pin_hash:
        raise _wrong(transaction, pin_try.identity_id)


def tries_left(refusal: Refusal) -> int | None:
    """How many tries the refusal of a wrong PIN leaves; None for a refusal that says nothing of a PIN."""
    if refusal.reason == Reason.PIN_WRONG.name:
        return int(refusal.metadata["tries_left"])
    return 0 if refusal.reason == Reason.PIN_LOCKED.name else None


def _begin_again(
    transaction: Transaction, key: IdempotencyKey, known: Mapping[str, Any], replica: str, now_ms: int
) -> PinTry:
    """What a copy of a request goes on with: the right PIN of the copy before it, or the check that nobody ended."""
    if known["content_hash"] != key.content_hash:
        raise CommonReason.REQUEST_ID_REUSED(request_id=key.request_id)
    identity_id, attempt = known["identity_id"], known["attempt"]
    pin_hash = _pin_hash(transaction, identity_id)
    if known["right_pin"] is not None:
        if known["right_pin"] != _mark(pin_hash):
            raise _wrong(transaction, identity_id)
        return PinTry(identity_id, pin_hash, attempt, right=True)
    if known["checked_by"] != replica and now_ms < known["begun_at_ms"] + CHECK_MS_MAX:
        raise Reason.PIN_TRY_NOT_SETTLED()
    queries.take_pin_try(transaction, key.request_id, attempt, replica, now_ms)
    return PinTry(identity_id, pin_hash, attempt + 1)


def _pin_hash(transaction: Transaction, identity_id: str) -> str:
    pin_hash, _ = queries.find_pin(transaction, identity_id)
    if pin_hash is None:
        raise Reason.PIN_NOT_SET()
    return pin_hash


def _wrong(transaction: Transaction, identity_id: str) -> Refusal:
    _, failures = queries.find_pin(transaction, identity_id)
    return Reason.PIN_LOCKED() if failures >= PIN_TRIES else Reason.PIN_WRONG(tries_left=PIN_TRIES - failures)


def _mark(pin_hash: str) -> bytes:
    """Tells a PIN's hash from the next one's, and nothing of the PIN."""
    return hashlib.sha256(pin_hash.encode()).digest()
