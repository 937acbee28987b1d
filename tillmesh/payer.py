"""The payer of an order: an online identity, or a reference for a shopper who will show a pay code."""

import re
from dataclasses import dataclass
from enum import StrEnum

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class PayerKind(StrEnum):
    """The two ways to name a payer."""

    IDENTITY = "IDENTITY"
    REFERENCE = "REFERENCE"


@dataclass(frozen=True, slots=True)
class Payer:
    """The payer of an order. Kind and value belong together: no reference can take the place of an identity."""

    kind: PayerKind
    value: str

    @property
    def identity_id(self) -> str | None:
        """The identity, if the payer is one."""
        return self.value if self.kind is PayerKind.IDENTITY else None


def identity(identity_id: str) -> Payer:
    """An online identity as the payer."""
    return Payer(PayerKind.IDENTITY, identity_id)


def reference(value: str) -> Payer:
    """A reference as the payer: the shopper will show a pay code."""
    return Payer(PayerKind.REFERENCE, value)


def is_reference(value: str) -> bool:
    """True for a UUID in its canonical form, in lower case."""
    return bool(_UUID.fullmatch(value))


def looks_like_reference(value: str) -> bool:
    """True for a UUID in whatever case: what no identity may be called."""
    return is_reference(value.lower())
