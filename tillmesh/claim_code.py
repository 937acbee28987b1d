"""The shop's QR code: a secret that a till shows, and with which a phone claims an order."""

import base64
import hashlib
import re

_PREFIX = "TILLMESH-CLAIM1/"
SECRET_BYTES = 16
_CODE = re.compile(rf"{_PREFIX}[A-Z2-7]{{26}}")


def make(secret: bytes) -> str:
    """The text of the code: capitals and digits alone, which QR codes store in less space."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"The secret of a claim code has {SECRET_BYTES} bytes, not {len(secret)}.")
    return _PREFIX + base64.b32encode(secret).decode().rstrip("=")


def parse(text: str) -> str | None:
    """The code as it is compared; None where the text is none."""
    return text if _CODE.fullmatch(text) else None


def digest(code: str) -> bytes:
    """SHA-256 of the code's text: all that a payment server keeps of it."""
    return hashlib.sha256(code.encode()).digest()
