"""Pay codes: finds the phone that made one, and takes it for good."""

import hmac
from dataclasses import dataclass

from thirdparty_server.errors import PAYER_MISMATCH, Reason
from thirdparty_server.payers import queries
from thirdparty_server.payers.model import Phone
from thirdparty_server.payers.vault import Vault
from tillmesh import paycode
from tillmesh.runtime.secret import Secret
from tillmesh.storage.statements import Transaction


@dataclass(frozen=True)
class ShownCode:
    """A pay code that a payer showed, and what it is checked with."""

    code: Secret
    vault: Vault
    lock_ms: int
    """For how long a phone is locked after too many wrong codes."""


def redeem(transaction: Transaction, shown: ShownCode, now_ms: int, *, only_for: str | None = None) -> Phone | str:
    """Takes a code for good: the phone that made it, or the reason why it does not count.

    What may be guessed gets one reason, whatever is wrong. A right code of another identity than `only_for` is not
    used up: its payer may still pay with it elsewhere.
    """
    made = try_code(transaction, shown, now_ms)
    if made is None:
        return Reason.PAY_CODE_INVALID.name
    phone, step = made
    if only_for not in (None, phone.identity_id):
        return PAYER_MISMATCH
    return take_code(transaction, phone, step, now_ms) or phone


def take_code(transaction: Transaction, phone: Phone, step: int, now_ms: int) -> str:
    """Takes the code that a phone made for a step; the reason why it does not count, or empty."""
    if queries.take_step(transaction, phone.handle, step, now_ms):
        return ""
    return (Reason.PAY_CODE_LOCKED if phone.code_locked_until_ms > now_ms else Reason.PAY_CODE_USED).name


def try_code(transaction: Transaction, shown: ShownCode, now_ms: int) -> tuple[Phone, int] | None:
    """The phone that made a code, and for which step; None if nobody's did.

    Counts a wrong code of a phone: for a call that refuses it in a transaction of its own, because what a refused
    call writes is undone.
    """
    phone, step = find_code(transaction, shown, now_ms)
    if phone and step is None:
        queries.count_code_failure(transaction, phone.handle, now_ms, now_ms + shown.lock_ms)
    return None if phone is None or step is None else (phone, step)


def find_code(transaction: Transaction, shown: ShownCode, now_ms: int) -> tuple[Phone | None, int | None]:
    """The phone that a code names, and the step for which it made it; None for a phone or a step that is not there."""
    parsed = paycode.parse(shown.code)
    if parsed is None:
        return None, None
    phone = queries.find_phone_of_handle(transaction, parsed.handle)
    key = shown.vault.pay_code_key(parsed.handle, phone.key_id if phone else "")  # an unknown one takes as long
    now = paycode.step_at(now_ms)
    macs = {step: paycode.mac_of(parsed.handle, key, step) for step in (now - 1, now, now + 1)}
    steps = [step for step, mac in macs.items() if hmac.compare_digest(mac, parsed.mac)]
    return phone, steps[-1] if steps else None
