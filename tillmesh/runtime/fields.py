"""Checks of request fields that tell the caller everything that is wrong at once."""

import re
from functools import cache

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tillmesh.api.type.v1 import money_pb2
from tillmesh.runtime.errors import FieldViolation, invalid
from tillmesh.runtime.money import MINOR_DIGITS, MINOR_UNITS_MAX, Money

IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,64}")
IDENTIFIER_RULE = "must be 1 to 64 characters of A-Z a-z 0-9 . _ and -"
NUL, NUL_RULE = "\0", "must not contain a NUL character"


class Fields:
    """Collects violations of one request; `check` raises them together."""

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def require(self, ok: bool, field: str, description: str) -> None:
        """Notes a violation unless `ok`."""
        if not ok:
            self._violations.append(FieldViolation(field, description))

    def identifier(self, field: str, value: str, *, optional: bool = False) -> str:
        """An id of any kind."""
        if not (optional and not value):
            self.require(bool(IDENTIFIER.fullmatch(value)), field, f"{IDENTIFIER_RULE}, was {value[:80]!r}")
        return value

    def text(self, field: str, value: str, *, length_min: int = 0, length_max: int) -> str:
        """A text for people."""
        ok = length_min <= len(value) <= length_max
        self.require(ok, field, f"must have {length_min} to {length_max} characters, had {len(value)}")
        self.require(NUL not in value, field, NUL_RULE)
        return value

    def positive(self, field: str, value: int) -> int:
        """A number above zero."""
        self.require(value > 0, field, f"must be above 0, was {value}")
        return value

    def in_range(self, field: str, value: int) -> int:
        """A number of minor units or pieces that sums can be made of."""
        self.require(abs(value) <= MINOR_UNITS_MAX, field, f"must lie within ±{MINOR_UNITS_MAX}, was {value}")
        return value

    def currency(self, field: str, code: str) -> str:
        """An ISO 4217 code that has minor units."""
        known = code in MINOR_DIGITS
        self.require(known, field, f"must be an ISO 4217 currency code such as GBP, was {code[:16]!r}")
        return code

    def money(self, field: str, message: money_pb2.Money, *, minimum: int = 1) -> Money:
        """An amount of at least `minimum` minor units."""
        self.currency(f"{field}.currency_code", message.currency_code)
        value = self.in_range(f"{field}.minor_units", message.minor_units)
        self.require(value >= minimum, f"{field}.minor_units", f"must be at least {minimum}, was {value}")
        return Money(message.currency_code, value)

    def check(self) -> None:
        """Raises INVALID_ARGUMENT if anything was wrong."""
        if self._violations:
            raise invalid(self._violations)


def refuse_nul(request: Message) -> None:
    """Refuses what PostgreSQL can not even look for: a NUL character in an id, a filter or a page token."""
    found = [name for name in _texts(request.DESCRIPTOR) if NUL in getattr(request, name)]
    if found:
        raise invalid([FieldViolation(name, NUL_RULE) for name in found])


@cache
def _texts(message: Descriptor) -> list[str]:
    return [
        field.name for field in message.fields if field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated
    ]
