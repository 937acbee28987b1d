"""Finds the payer of a payment: PINs, phones, sessions and pay codes. Each function runs within one transaction."""

import hmac
import secrets
from dataclasses import dataclass, replace

from thirdparty_server import identity_store, payer_store, store
from thirdparty_server.errors import (
    PAY_CODE_INVALID,
    PAY_CODE_LOCKED,
    PAY_CODE_REQUIRED,
    PAY_CODE_USED,
    PAYER_MISMATCH,
    Reason,
)
from thirdparty_server.identity_operations import get_identity
from thirdparty_server.model import GUESSES_MS, PIN_TRIES, REFERENCE_MS, FoundPayer, Identity, Phone, PinTry
from thirdparty_server.vault import Vault, token_hash
from tillmesh import paycode
from tillmesh.auth.callers import Role, acting_payer, acting_role, acting_store, require_payer
from tillmesh.payer import Payer
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.secret import Secret
from tillmesh.storage.statements import Connection


@dataclass(frozen=True)
class ShownCode:
    """A pay code that a payer showed, and what it is checked with."""

    code: Secret
    vault: Vault
    lock_ms: int
    """For how long a phone is locked after too many wrong codes."""


# Who pays an order.


def find_payer(
    connection: Connection, *, payer: Payer, order_id: str, shown: ShownCode | None, now_ms: int
) -> FoundPayer:
    """Finds the identity that pays an order under that payer, by the pay code if one was shown."""
    if shown:
        return _find_by_code(connection, payer, shown, now_ms)
    if payer.identity_id is None:
        return _find_by_earlier_code(connection, payer.value, order_id, now_ms)
    require_payer(payer.identity_id)
    return FoundPayer(identity_store.find_identity(connection, payer.identity_id))


def require_guesses_left(connection: Connection, payer: Payer, per_hour: int, now_ms: int) -> None:
    """Refuses that a store terminal names an identity without a code, if its store named too many that cannot pay."""
    if acting_role() is not Role.TERMINAL or payer.identity_id is None:
        return
    store_id = acting_store() or ""
    guessed_at_ms = store.guess_of_rank(connection, store_id, per_hour, now_ms - GUESSES_MS)
    if guessed_at_ms is not None:
        free_in_ms = min(guessed_at_ms + GUESSES_MS - now_ms, GUESSES_MS)
        raise Reason.IDENTITY_GUESSES_EXHAUSTED(store_id=store_id, retry_after_ms=free_in_ms)


def _find_by_code(connection: Connection, payer: Payer, shown: ShownCode, now_ms: int) -> FoundPayer:
    """Finds the identity of a pay code; under an identity, only its own code is good."""
    phone = redeem(connection, shown, now_ms, only_for=payer.identity_id)
    if isinstance(phone, str):
        return FoundPayer(None, reason=phone)
    return FoundPayer(get_identity(connection, phone.identity_id), by_code=True)


def _find_by_earlier_code(connection: Connection, reference: str, order_id: str, now_ms: int) -> FoundPayer:
    """The payer of the order's latest payment whose code counted: a code is a yes to one payment, so they must confirm.

    A till finds only who showed a code in its own store, and a phone only its own payer.
    """
    identity_id = store.latest_payer_by_code(
        connection,
        order_id=order_id,
        reference=reference,
        store_id=acting_store(),
        since_ms=now_ms - REFERENCE_MS,
    )
    if acting_role() is Role.PHONE and identity_id != acting_payer():
        raise CommonReason.PAYER_DENIED(identity_id=acting_payer())
    if identity_id is None:
        return FoundPayer(None, reason=PAY_CODE_REQUIRED)
    return FoundPayer(get_identity(connection, identity_id), must_confirm=True)


def redeem(connection: Connection, shown: ShownCode, now_ms: int, *, only_for: str | None = None) -> Phone | str:
    """Takes a code for good: the phone that made it, or the reason why it does not count.

    What may be guessed gets one reason, whatever is wrong. A right code of another identity than `only_for` is not
    used up: its payer may still pay with it elsewhere.
    """
    phone, step = _checked(connection, shown, now_ms)
    if phone is None or step is None:
        if phone:
            payer_store.count_code_failure(connection, phone.handle, now_ms, now_ms + shown.lock_ms)
        return PAY_CODE_INVALID
    if only_for not in (None, phone.identity_id):
        return PAYER_MISMATCH
    if payer_store.take_step(connection, phone.handle, step, now_ms):
        return phone
    return PAY_CODE_LOCKED if phone.code_locked_until_ms > now_ms else PAY_CODE_USED


def count_wrong_code(connection: Connection, shown: ShownCode, now_ms: int) -> None:
    """Counts a wrong code for a call that refuses it: what a refused call writes is undone."""
    phone, step = _checked(connection, shown, now_ms)
    if phone and step is None:
        payer_store.count_code_failure(connection, phone.handle, now_ms, now_ms + shown.lock_ms)


def _checked(connection: Connection, shown: ShownCode, now_ms: int) -> tuple[Phone | None, int | None]:
    """The phone that a code names, and the step for which its key makes that code; None for what there is not."""
    parsed = paycode.parse(shown.code)
    if parsed is None:
        return None, None
    phone = payer_store.find_phone_of_handle(connection, parsed.handle)
    key = shown.vault.pay_code_key(parsed.handle, phone.key_id if phone else "")  # an unknown one takes as long
    now = paycode.step_at(now_ms)
    macs = {step: paycode.mac_of(parsed.handle, key, step) for step in (now - 1, now, now + 1)}
    steps = [step for step, mac in macs.items() if hmac.compare_digest(mac, parsed.mac)]
    return phone, steps[-1] if steps else None


# PINs. A try is counted, then checked outside of any transaction, then settled with its effect.


def begin_pin_try(connection: Connection, identity_id: str) -> PinTry:
    """Counts a try before it is made, so that no number of guesses at once gets more of them."""
    counted = payer_store.count_pin_try(connection, identity_id)
    pin_hash, _ = payer_store.find_pin(connection, identity_id)
    if pin_hash is None:
        raise Reason.PIN_NOT_SET()
    if not counted:
        raise Reason.PIN_LOCKED()
    return PinTry(identity_id, pin_hash)


def settle_pin_try(connection: Connection, pin_try: PinTry) -> None:
    """Forgets the wrong tries after the right one; refuses a wrong one, and one of a PIN that was changed meanwhile."""
    if pin_try.right and payer_store.reset_pin_tries(connection, pin_try.identity_id, pin_try.pin_hash):
        return
    _, failures = payer_store.find_pin(connection, pin_try.identity_id)
    if failures >= PIN_TRIES:
        raise Reason.PIN_LOCKED()
    raise Reason.PIN_WRONG(tries_left=PIN_TRIES - failures)


def set_pin(connection: Connection, *, identity_id: str, pin_hash: str) -> Identity:
    """Sets the PIN, unlocks it and ends all sessions."""
    identity = get_identity(connection, identity_id)
    payer_store.set_pin(connection, identity_id, pin_hash)
    return identity


# Phones and sessions.


def bind_phone(connection: Connection, *, request_id: str, identity_id: str, phone_uri: str, now_ms: int) -> Phone:
    """Binds a phone to an identity, with a new key and nobody signed in."""
    get_identity(connection, identity_id)
    bound = payer_store.find_phone(connection, phone_uri)
    if bound and bound.identity_id != identity_id:
        raise Reason.PHONE_BOUND(phone_uri=phone_uri)
    payer_store.delete_phone(connection, phone_uri)
    phone = Phone(phone_uri, identity_id, _new_handle(connection), request_id, 0, now_ms)
    payer_store.insert_phone(connection, phone)
    return phone


def get_phone(connection: Connection, *, phone_uri: str, identity_id: str) -> Phone:
    """The phone as it is bound to that identity now."""
    phone = payer_store.find_phone(connection, phone_uri)
    if phone is None or phone.identity_id != identity_id:
        raise Reason.PHONE_NOT_FOUND(phone_uri=phone_uri)
    return phone


def unbind_phone(connection: Connection, *, phone_uri: str) -> None:
    """Ends what a phone may do."""
    if payer_store.find_phone(connection, phone_uri) is None:
        raise Reason.PHONE_NOT_FOUND(phone_uri=phone_uri)
    payer_store.delete_phone(connection, phone_uri)


def renew_key(connection: Connection, *, request_id: str, phone_uri: str) -> Phone:
    """Gives the phone of a signed-in payer a new key, whose codes are neither used nor locked."""
    phone = replace(bound_phone(connection, phone_uri), handle=_new_handle(connection), key_id=request_id)
    payer_store.change_key(connection, phone)
    return phone


def begin_sign_in(connection: Connection, *, phone_uri: str) -> PinTry:
    """Counts a try of the PIN of whoever the phone is bound to."""
    return begin_pin_try(connection, bound_phone(connection, phone_uri).identity_id)


def sign_in(connection: Connection, *, phone_uri: str, pin_try: PinTry, token: Secret, expires_at_ms: int) -> Identity:
    """Starts a session, unless PIN or phone are no longer what was tried."""
    identity_id, kept = pin_try.identity_id, token_hash(token)
    if not payer_store.start_session(connection, phone_uri, identity_id, kept, expires_at_ms):
        raise Reason.PHONE_NOT_BOUND(phone_uri=phone_uri)
    settle_pin_try(connection, pin_try)
    identity = identity_store.find_identity(connection, pin_try.identity_id)
    assert identity is not None, "a phone is bound to an identity"
    return identity


def sign_out(connection: Connection, *, phone_uri: str) -> None:
    """Ends the phone's session."""
    payer_store.end_session(connection, phone_uri)


def signed_in(connection: Connection, *, phone_uri: str, token: Secret, now_ms: int) -> str:
    """The identity that the token of this phone stands for."""
    identity_id = payer_store.find_session(connection, phone_uri, token_hash(token), now_ms)
    if identity_id is None:
        raise CommonReason.SIGN_IN_REQUIRED()
    return identity_id


def bound_phone(connection: Connection, phone_uri: str) -> Phone:
    """The phone, which must be bound to somebody."""
    phone = payer_store.find_phone(connection, phone_uri)
    if phone is None:
        raise Reason.PHONE_NOT_BOUND(phone_uri=phone_uri)
    return phone


def _new_handle(connection: Connection) -> str:
    while True:
        handle = f"{secrets.randbelow(10**paycode.HANDLE_DIGITS):0{paycode.HANDLE_DIGITS}}"
        if payer_store.find_phone_of_handle(connection, handle) is None:
            return handle
