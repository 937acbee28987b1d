"""The shop's QR code: a secret that a till shows, and with which a phone claims an order.

The text names the store, so no other store can present anything under it.
"""

import base64
import hashlib
import re
from dataclasses import dataclass

_PREFIX = "TILLMESH-CLAIM1"
SECRET_BYTES = 16
_CODE = re.compile(rf"{_PREFIX}/([A-Za-z0-9._-]{{1,64}})/[A-Z2-7]{{26}}")


@dataclass(frozen=True, slots=True)
class ClaimCode:
    """What a payment server needs of a code."""

    store_id: str
    digest: bytes
    """SHA-256 of the code's text: all that a payment server keeps of it."""


def make(store_id: str, secret: bytes) -> str:
    """The text of the code."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"The secret of a claim code has {SECRET_BYTES} bytes, not {len(secret)}.")
    return f"{_PREFIX}/{store_id}/{base64.b32encode(secret).decode().rstrip('=')}"


def parse(text: str) -> ClaimCode | None:
    """Takes a code apart; None where the text is none."""
    if not (found := _CODE.fullmatch(text)):
        return None
    return ClaimCode(found[1], digest(text))


def digest(code: str) -> bytes:
    """SHA-256 of the code's text."""
    return hashlib.sha256(code.encode()).digest()
