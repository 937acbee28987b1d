"""What is made with a database's own key: positions that nobody reads, and secrets that need not be stored."""

import base64
import binascii
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

KEY_BYTES = 32
TEXT_LENGTH_MAX = 2_000  # ours are shorter
BLOCK_BYTES = 32
"""Texts are filled up to multiples of this, or the length of a number would tell how large it is."""


class Seal:
    """Makes opaque texts of short ones with a database's own key (AES-SIV, RFC 5297).

    The same text and context make the same opaque text; it opens with that context alone.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESSIV(key)

    def derive(self, purpose: str, length: int) -> bytes:
        """A secret of up to 32 bytes that only this database can make: the same each time for the same purpose."""
        return hmac.digest(self._key, f"derived: {purpose}".encode(), "sha256")[:length]

    def close(self, text: str, context: str) -> str:
        """The opaque form of a text, which must not be empty or end in NUL."""
        plain = text.encode()
        filled = plain + bytes(-len(plain) % BLOCK_BYTES)
        sealed = self._cipher.encrypt(filled, [context.encode()])
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def open(self, opaque: str, context: str) -> str | None:
        """The text that `close` was given with this context; None where there is none."""
        try:
            padded = opaque[:TEXT_LENGTH_MAX].encode() + b"=" * (-len(opaque[:TEXT_LENGTH_MAX]) % 4)
            filled = self._cipher.decrypt(base64.urlsafe_b64decode(padded), [context.encode()])
            return filled.rstrip(b"\0").decode()
        except (InvalidTag, ValueError, binascii.Error):
            return None
