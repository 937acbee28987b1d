"""Who pays, and how that is known: PINs, devices, sessions and pay codes; each function within one transaction."""

import hmac
import secrets
from dataclasses import dataclass, replace

from thirdparty_server import payer_store, store
from thirdparty_server.account_operations import get_identity
from thirdparty_server.errors import PAY_CODE_INVALID, PAY_CODE_LOCKED, PAY_CODE_USED, PAYER_MISMATCH, Reason
from thirdparty_server.model import PIN_TRIES, REFERENCE_MS, Device, Identity, Payer, PinTry, Reference
from thirdparty_server.vault import Vault, token_hash
from tillmesh import paycode
from tillmesh.runtime.callers import acting_store, require_payer
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.secret import Secret
from tillmesh.runtime.statements import Connection


@dataclass(frozen=True)
class ShownCode:
    """A pay code that a payer showed, and what it is checked with."""

    code: Secret
    vault: Vault
    lock_ms: int
    """For how long a device is locked after too many wrong codes."""


# Who pays an order.


def find_payer(connection: Connection, *, payer_id: str, order_id: str, shown: ShownCode | None, now_ms: int) -> Payer:
    """Who is to pay what an order says of its payer, with the code that was shown if there was one."""
    require_payer(payer_id)
    named = store.find_identity(connection, payer_id)
    if shown:
        return _find_by_code(connection, named, payer_id, order_id, shown, now_ms)
    if named:
        return Payer(named)
    known = payer_store.find_reference(connection, payer_id)
    if known and known.is_for(acting_store() or "", order_id) and now_ms - known.created_at_ms < REFERENCE_MS:
        return Payer(get_identity(connection, known.identity_id))  # a code is a yes to one payment only
    return Payer(None, reason=Reason.IDENTITY_NOT_FOUND.name)


def _find_by_code(
    connection: Connection, named: Identity | None, payer_id: str, order_id: str, shown: ShownCode, now_ms: int
) -> Payer:
    """Who showed a code, if the order is theirs; a reference that is new becomes theirs."""
    device, reason = _redeem(connection, shown, now_ms)
    if device is None:
        return Payer(None, reason=reason)
    identity_id, store_id = device.identity_id, acting_store() or ""
    known = payer_store.find_reference(connection, payer_id)
    if named:
        theirs = named.identity_id == identity_id
    elif known:
        theirs = known.identity_id == identity_id and known.is_for(store_id, order_id)
    else:
        theirs = True
        payer_store.insert_reference(connection, Reference(payer_id, identity_id, store_id, order_id, now_ms))
    return Payer(get_identity(connection, identity_id), by_code=True) if theirs else Payer(None, reason=PAYER_MISMATCH)


def _redeem(connection: Connection, shown: ShownCode, now_ms: int) -> tuple[Device | None, str]:
    """Takes a code for good: the device that made it, or why it does not count.

    What may be guessed gets one reason, whatever is wrong.
    """
    parsed = paycode.parse(shown.code)
    if parsed is None:
        return None, PAY_CODE_INVALID
    device = payer_store.find_device_of_handle(connection, parsed.handle)
    key = shown.vault.pay_code_key(parsed.handle, device.key_id if device else "")  # an unknown one takes as long
    now = paycode.step_at(now_ms)
    macs = {step: paycode.mac_of(parsed.handle, key, step) for step in (now - 1, now, now + 1)}
    steps = [step for step, mac in macs.items() if hmac.compare_digest(mac, parsed.mac)]
    if device is None:
        return None, PAY_CODE_INVALID
    if not steps:
        payer_store.count_code_failure(connection, device.handle, now_ms, now_ms + shown.lock_ms)
        return None, PAY_CODE_INVALID
    if payer_store.take_step(connection, device.handle, steps[-1], now_ms):
        return device, ""
    return None, PAY_CODE_LOCKED if device.code_locked_until_ms > now_ms else PAY_CODE_USED


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


# Devices and sessions.


def bind_device(connection: Connection, *, request_id: str, identity_id: str, device_uri: str, now_ms: int) -> Device:
    """Binds a device to an identity, with a new key and nobody signed in."""
    get_identity(connection, identity_id)
    bound = payer_store.find_device(connection, device_uri)
    if bound and bound.identity_id != identity_id:
        raise Reason.DEVICE_BOUND(device_uri=device_uri)
    payer_store.delete_device(connection, device_uri)
    device = Device(device_uri, identity_id, _new_handle(connection), request_id, 0, now_ms)
    payer_store.insert_device(connection, device)
    return device


def unbind_device(connection: Connection, *, device_uri: str) -> Device:
    """Ends what a device may do."""
    device = payer_store.find_device(connection, device_uri)
    if device is None:
        raise Reason.DEVICE_NOT_FOUND(device_uri=device_uri)
    payer_store.delete_device(connection, device_uri)
    return device


def renew_key(connection: Connection, *, request_id: str, device_uri: str) -> Device:
    """Gives the device of a signed-in payer a new key, whose codes are neither used nor locked."""
    device = replace(_bound_device(connection, device_uri), handle=_new_handle(connection), key_id=request_id)
    payer_store.change_key(connection, device)
    return device


def begin_sign_in(connection: Connection, *, device_uri: str) -> PinTry:
    """Counts a try of the PIN of whoever the device is bound to."""
    return begin_pin_try(connection, _bound_device(connection, device_uri).identity_id)


def sign_in(connection: Connection, *, device_uri: str, pin_try: PinTry, token: Secret, expires_at_ms: int) -> Identity:
    """Starts a session, unless PIN or device are no longer what was tried."""
    payer_id, kept = pin_try.identity_id, token_hash(token)
    if not payer_store.start_session(connection, device_uri, payer_id, kept, expires_at_ms):
        raise Reason.DEVICE_NOT_BOUND(device_uri=device_uri)
    settle_pin_try(connection, pin_try)
    identity = store.find_identity(connection, pin_try.identity_id)
    assert identity is not None, "a device is bound to an identity"
    return identity


def sign_out(connection: Connection, *, device_uri: str) -> None:
    """Ends the device's session."""
    payer_store.end_session(connection, device_uri)


def signed_in(connection: Connection, *, device_uri: str, token: Secret, now_ms: int) -> str:
    """The identity that the token of this device stands for."""
    identity_id = payer_store.find_session(connection, device_uri, token_hash(token), now_ms)
    if identity_id is None:
        raise CommonReason.SIGN_IN_REQUIRED()
    return identity_id


def _bound_device(connection: Connection, device_uri: str) -> Device:
    device = payer_store.find_device(connection, device_uri)
    if device is None:
        raise Reason.DEVICE_NOT_BOUND(device_uri=device_uri)
    return device


def _new_handle(connection: Connection) -> str:
    while True:
        handle = f"{secrets.randbelow(10**paycode.HANDLE_DIGITS):0{paycode.HANDLE_DIGITS}}"
        if payer_store.find_device_of_handle(connection, handle) is None:
            return handle
