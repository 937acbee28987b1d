"""Checks of request fields that tell the caller everything that is wrong at once."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from tillmesh.api.type.v1 import money_pb2, payer_pb2
from tillmesh.origin import Origin
from tillmesh.payer import Payer, identity, is_reference, looks_like_reference, reference
from tillmesh.runtime.errors import CommonReason, FieldViolation, invalid
from tillmesh.runtime.foreign_text import visible_lines
from tillmesh.runtime.ids import IDENTIFIER, IDENTIFIER_RULE
from tillmesh.runtime.money import CURRENCY_RULE, MINOR_DIGITS, MINOR_UNITS_MAX, Money
from tillmesh.runtime.secret import Secret
from tillmesh.storage.requests import secret_fields

# What moves a printer's head or a terminal's cursor, ends a line, or cannot be stored everywhere.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
CONTROL_RULE = "must have no control characters"
PIN = re.compile(r"[0-9]{4,12}")
RANGE_RULE = f"must lie within ±{MINOR_UNITS_MAX}"
SHOWN_LENGTH_MAX = 64
VIOLATIONS_MAX = 100
"""The most violations of one request that are looked for."""
LABELS_MAX = 16
LABEL_LENGTH_MAX = 256
CASHIER_LENGTH_MAX = 64


class Fields:
    """Collects violations of one request; the end of a `with` block, or `check`, raises them together.

    So does the last one of VIOLATIONS_MAX: what else is wrong with rubbish is not worth looking for.
    """

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []

    def __enter__(self) -> "Fields":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.check()

    def require(self, ok: bool, field: str, rule: str, was: str | int | None = None) -> None:
        """Notes a violation unless `ok`: the rule, and the value that breaks it.

        The value is put into words only then: an order has thousands of fields, and nearly all are right.
        """
        if not ok:
            said = shown(was) if isinstance(was, str) else was
            self._violations.append(FieldViolation(field, rule if was is None else f"{rule}, was {said}"))
            if len(self._violations) == VIOLATIONS_MAX:
                self.check()

    def identifier(self, field: str, value: str, *, optional: bool = False) -> str:
        """An id of any kind."""
        if not (optional and not value):
            self.require(bool(IDENTIFIER.fullmatch(value)), field, IDENTIFIER_RULE, value)
        return value

    def text(self, field: str, value: str, *, length_min: int = 0, length_max: int) -> str:
        """A text for people."""
        if not length_min <= len(value) <= length_max:
            self.require(False, field, f"must have {length_min} to {length_max} characters, had {len(value)}")
        self.require(not CONTROL.search(value), field, CONTROL_RULE)
        return value

    def pin(self, text: str) -> Secret:
        """A PIN, of which no answer repeats anything."""
        self.require(bool(PIN.fullmatch(text)), "pin", "must be 4 to 12 digits")
        return Secret(text.encode())

    def positive(self, field: str, value: int) -> int:
        """A number above zero."""
        self.require(value > 0, field, "must be above 0", value)
        return value

    def in_range(self, field: str, value: int) -> int:
        """A number of minor units or pieces that sums can be made of."""
        self.require(abs(value) <= MINOR_UNITS_MAX, field, RANGE_RULE, value)
        return value

    def identity(self, field: str, value: str, *, optional: bool = False) -> str:
        """An online identity's id."""
        self.identifier(field, value, optional=optional)
        self.require(not looks_like_reference(value), field, "must not have the form of a UUID", value)
        return value

    def payer(self, field: str, message: payer_pb2.Payer) -> Payer:
        """A payer."""
        kind = message.WhichOneof("payer")
        if kind == "reference":
            ok = is_reference(message.reference)
            self.require(ok, f"{field}.reference", "must be a UUID in lower case", message.reference)
            return reference(message.reference)
        self.require(kind is not None, field, "must have an identity_id or a reference")
        if kind:
            self.identity(f"{field}.identity_id", message.identity_id)
        return identity(message.identity_id)

    def payer_filter(self, request: Any) -> Payer | None:
        """The payer that a list is for, in the request's field `payer`; None for all."""
        return self.payer("payer", request.payer) if request.HasField("payer") else None

    def labels(self, field: str, labels: Mapping[str, str]) -> dict[str, str]:
        """An integrator's own labels."""
        self.require(len(labels) <= LABELS_MAX, field, f"must be at most {LABELS_MAX}, were {len(labels)}")
        kept = dict(sorted(labels.items())[:LABELS_MAX])
        for key, value in kept.items():
            self.identifier(f"{field} key", key)
            self.text(f"{field}[{shown(key)}]", value, length_max=LABEL_LENGTH_MAX)
        return kept

    def origin(self, terminal_id: str, lane: str, cashier_id: str) -> Origin:
        """Where in a store something is asked for."""
        self.identifier("terminal_id", terminal_id, optional=True)
        self.identifier("lane", lane, optional=True)
        self.text("cashier_id", cashier_id, length_max=CASHIER_LENGTH_MAX)
        return Origin(terminal_id, lane, cashier_id)

    def currency(self, field: str, code: str) -> str:
        """An ISO 4217 code that has minor units."""
        self.require(code in MINOR_DIGITS, field, CURRENCY_RULE, code)
        return code

    def money(self, field: str, message: money_pb2.Money, *, minimum: int = 1) -> Money:
        """An amount of at least `minimum` minor units."""
        self.currency(f"{field}.currency_code", message.currency_code)
        value = self.in_range(f"{field}.minor_units", message.minor_units)
        self.require(value >= minimum, f"{field}.minor_units", f"must be at least {minimum}", value)
        return Money(message.currency_code, value)

    def check(self) -> None:
        """Raises INVALID_ARGUMENT if anything was wrong."""
        if self._violations:
            raise invalid(self._violations)


def shown(value: str) -> str:
    """A value as a refusal repeats it: short, and on one line."""
    said = visible_lines(repr(value[: SHOWN_LENGTH_MAX + 1]))
    return said if len(said) <= SHOWN_LENGTH_MAX + 2 else f"{said[:SHOWN_LENGTH_MAX]}…"


def parser(descriptor: Descriptor) -> Callable[[Any], Message]:
    """Makes messages of a type from what a caller sent.

    MESSAGE_MALFORMED for what is none, INVALID_FIELD for texts of the message itself with control characters:
    also what is only looked for in a database must be something that can be stored in it. Secrets are neither stored
    nor looked for, and a scanner sends FNC1 as a control character.
    """
    from_string = message_factory.GetMessageClass(descriptor).FromString
    texts = [field.name for field in descriptor.fields if field.type == FieldDescriptor.TYPE_STRING]
    secret = secret_fields(descriptor)
    single = [name for name in texts if name not in secret and not descriptor.fields_by_name[name].is_repeated]

    def parse(raw: Any) -> Message:
        try:
            message: Message = from_string(raw)
        except (DecodeError, TypeError):  # not bytes: the stream ended before there was a message
            raise CommonReason.MESSAGE_MALFORMED(message=descriptor.full_name) from None
        wrong = [name for name in single if CONTROL.search(getattr(message, name))]
        if wrong:
            raise invalid([FieldViolation(name, CONTROL_RULE) for name in wrong])
        return message

    return parse
