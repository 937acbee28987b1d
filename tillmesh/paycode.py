"""Pay codes: what a phone shows, also offline, and a till scans. docs/security.md describes the format.

Both sides use these functions: the payment server to check, the command line's phone to show.
"""

import hmac
from dataclasses import dataclass

from stdnum import luhn

from tillmesh.runtime.secret import Secret

PREFIX = "27"
HANDLE_DIGITS = 8
MAC_DIGITS = 9
DIGITS = len(PREFIX) + HANDLE_DIGITS + MAC_DIGITS + 1
STEP_MS = 30_000


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class PayCode:
    """A code taken apart."""

    handle: str
    """Names the device that made it."""
    mac: str
    """Proves that its key did."""


def step_at(now_ms: int) -> int:
    """The number of the half minute."""
    return now_ms // STEP_MS


def mac_of(handle: str, key: Secret, step: int) -> str:
    """The code of a device's key for one time step."""
    digest = hmac.digest(key.value, handle.encode() + step.to_bytes(8, "big"), "sha256")
    return f"{int.from_bytes(digest[:8], 'big') % 10**MAC_DIGITS:0{MAC_DIGITS}}"


def make(handle: str, key: Secret, step: int) -> Secret:
    """The code of a device for a step."""
    digits = PREFIX + handle + mac_of(handle, key, step)
    return Secret((digits + luhn.calc_check_digit(digits)).encode())


def parse(code: Secret) -> PayCode | None:
    """Takes a code apart; None where a digit was misread, or it is no pay code at all."""
    text = code.value.decode(errors="replace")
    whole = len(text) == DIGITS and text.isascii() and text.isdigit()
    if not whole or not text.startswith(PREFIX) or not luhn.is_valid(text):
        return None
    start = len(PREFIX)
    return PayCode(text[start : start + HANDLE_DIGITS], text[start + HANDLE_DIGITS : -1])
