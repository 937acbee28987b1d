"""PINs, pay codes, tokens and keys on their way through the code."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Secret:
    """Bytes that no repr, log or error shows; compared by hmac.compare_digest alone."""

    value: bytes
