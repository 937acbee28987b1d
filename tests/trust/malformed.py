"""Messages that no honest client sends: broken bytes, and whole ones with hostile values."""

import base64
import json
import random
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message

from tillmesh.rpc.streams import OLDEST
from tillmesh.storage.seal import KEY_BYTES, Seal

Known = dict[str, list[str]]
"""Values that exist on the server, by the name of their field."""

FRESH = "*"
"""In place of a value: an id that nobody used."""
SEAL = Seal(bytes(KEY_BYTES))
"""Of no database."""
SELDOM = {"price_source", "price_override", "label_amount_minor", "amount_minor", "override_reason"}
"""Fields that make a message wrong unless others fit."""
LONG = 200_000
TEXTS = (
    "", "\0", "a\0b", "\x1b[2J", "\r\n", "\x7f", "\x85", "\u2028", "\u202e", "\ufeff", "🦄" * 90, "\U000e0001" * 90,
    "'; DROP TABLE orders; --", "{order_id}", "%s%n", "../../etc/passwd", "N/A", "x" * 65, "e\u0301" * 300,
)  # fmt: skip
INTS = (0, 1, -1, 2, 7, 255, 2**31 - 1, -(2**31), 2**53, 10**15, 10**15 + 1, 2**63 - 1, -(2**63))
PAGE_KEYS: tuple[Any, ...] = (
    [0, "x"], [10**30, "x"], [-(2**63) - 1, "x"], [2**64], ["\ud800"], [5, "\udfff"], ["\0"], [10**400], [True, "x"],
    [1e308, "x"], [float("nan")], [None], [[]], {}, "x", 5,
)  # fmt: skip
TOKENS = ("!", "====", "é", base64.b64encode(b"[" * 90_000).decode(), base64.b64encode(b'{"a":' * 9_000).decode())
NUMBERS = {
    FieldDescriptor.TYPE_INT32: 31,
    FieldDescriptor.TYPE_UINT32: 32,
    FieldDescriptor.TYPE_INT64: 63,
    FieldDescriptor.TYPE_UINT64: 64,
    FieldDescriptor.TYPE_ENUM: 31,
}
UNSIGNED = (FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64)


class Malformer:
    """Makes messages for methods; the same ones from the same seed."""

    def __init__(self, rng: random.Random, known: Known, known_to: Mapping[str, Known]) -> None:
        self._rng = rng
        self._all = known
        self._known_to = known_to
        self._known = known

    def messages(self, methods: list[MethodDescriptor], count: int) -> Iterator[tuple[MethodDescriptor, bytes]]:
        """So many, spread over all methods and all ways to be wrong."""
        for number in range(count):
            method = methods[number % len(methods)]
            way = self._rng.choice(WAYS)
            self._known = self._all | self._known_to.get(method.name, {})
            yield method, way(self, method.input_type)

    def whole(self, descriptor: Descriptor, hostile: float = 0.0, missing: float = 0.0) -> Message:
        """A message with plausible values; shares of its fields are hostile or missing."""
        message: Message = message_factory.GetMessageClass(descriptor)()
        for field in descriptor.fields:
            of_several = field.containing_oneof and len(field.containing_oneof.fields) > 1
            left_out = 0.9 if field.name in SELDOM else 0.5 if of_several else missing
            if self._rng.random() >= left_out:
                self._fill(message, field, hostile, missing)
        return message

    def _fill(self, message: Any, field: FieldDescriptor, hostile: float, missing: float) -> None:
        count = self._rng.choice((0, 1, 2, 3)) if field.is_repeated else 1
        for _ in range(count):
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                key, value = (self._value(part, self._rng.random() < hostile) for part in field.message_type.fields)
                getattr(message, field.name)[key] = value
                continue
            if field.message_type is not None:
                part = getattr(message, field.name).add() if field.is_repeated else getattr(message, field.name)
                part.CopyFrom(self.whole(field.message_type, hostile, missing))
                continue
            value = self._value(field, self._rng.random() < hostile)
            if field.is_repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)

    def _value(self, field: FieldDescriptor, hostile: bool) -> Any:
        if field.type == FieldDescriptor.TYPE_BOOL:
            return self._rng.random() < 0.5
        if field.type in NUMBERS:
            bits = NUMBERS[field.type]
            low = 0 if field.type in UNSIGNED else -(2**bits)
            number = self._rng.choice(INTS) if hostile else self._rng.randint(1, 5)
            return max(low, min(number, 2**bits - 1))
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._rng.randbytes(self._rng.choice((0, 1, 31, 33, LONG)) if hostile else 32)
        assert field.type == FieldDescriptor.TYPE_STRING, field.full_name
        return self._hostile_text(field.name) if hostile else self._text(field.name)

    def _text(self, name: str) -> str:
        if name == "page_token":
            return ""
        if name == "cursor":
            return self._rng.choice(("", OLDEST))
        text = self._rng.choice(self._known.get(name, ["x"]))
        return f"r-{self._rng.randrange(10**12)}" if text == FRESH else text

    def _hostile_text(self, name: str) -> str:
        if name in ("page_token", "cursor"):
            if self._rng.random() < 0.1:
                return self._rng.choice(TOKENS)
            return SEAL.close(json.dumps(self._rng.choice(PAGE_KEYS)), self._rng.choice(("[]", '["ListOrders"]')))
        if self._rng.random() < 0.02:
            return self._rng.choice("a\0🦄") * (LONG // 4)
        return self._rng.choice(TEXTS)

    # Ways to be wrong

    def missing_fields(self, descriptor: Descriptor) -> bytes:
        """Some of the fields only."""
        return self.whole(descriptor, missing=0.4).SerializeToString()

    def hostile_values(self, descriptor: Descriptor) -> bytes:
        """A valid message with values that nobody means well with."""
        return self.whole(descriptor, hostile=0.3).SerializeToString()

    def one_hostile_value(self, descriptor: Descriptor) -> bytes:
        """Everything else is right, so that it gets far."""
        message = self.whole(descriptor)
        plain = [field for field in descriptor.fields if field.type != FieldDescriptor.TYPE_MESSAGE]
        if plain:
            field = self._rng.choice(plain)
            value = self._value(field, hostile=field.type != FieldDescriptor.TYPE_BOOL)
            if field.is_repeated:
                getattr(message, field.name).extend([value] * self._rng.choice((1, 300)))
            else:
                setattr(message, field.name, value)
        return message.SerializeToString()

    def noise(self, _descriptor: Descriptor) -> bytes:
        """Random bytes."""
        return self._rng.randbytes(self._rng.choice((0, 1, 2, 7, 40, 300, 5_000)))

    def truncated(self, descriptor: Descriptor) -> bytes:
        """The beginning of a valid message."""
        whole = self.whole(descriptor).SerializeToString()
        return whole[: self._rng.randrange(len(whole) + 1)]

    def flipped(self, descriptor: Descriptor) -> bytes:
        """A valid message with a few bits flipped."""
        damaged = bytearray(self.whole(descriptor).SerializeToString())
        for _ in range(self._rng.randint(1, 8) if damaged else 0):
            damaged[self._rng.randrange(len(damaged))] ^= 1 << self._rng.randrange(8)
        return bytes(damaged)

    def wrong_types(self, descriptor: Descriptor) -> bytes:
        """Fields of the message, and others, with any wire type; bad UTF-8 and lengths that are none."""
        parts = []
        for _ in range(self._rng.randint(1, 6)):
            number = self._rng.choice([field.number for field in descriptor.fields] or [1])
            if self._rng.random() < 0.1:
                number = self._rng.choice((0, 19_000, 2**29 - 1, 2**29))
            wire = self._rng.randrange(8)
            parts.append(varint(number << 3 | wire) + self._content(wire))
        return b"".join(parts)

    def _content(self, wire: int) -> bytes:
        if wire == 0:
            return self._rng.choice((b"\0", b"\xff" * 9 + b"\x01", b"\xff" * 11, b"\x80"))
        if wire == 2:
            text = self._rng.choice((b"", b"x", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80", b"\0", b"\x08" * 30))
            claimed = self._rng.choice((len(text), len(text), len(text) + 1, 2**31 - 1, 2**31, 2**63, 2**64 - 1))
            return varint(claimed) + text
        return {1: struct.pack("<q", -1), 5: struct.pack("<i", -1)}.get(wire, b"")

    def many(self, descriptor: Descriptor) -> bytes:
        """One field of the message thousands of times, empty."""
        whole = self.whole(descriptor).SerializeToString()
        fields = [field for field in descriptor.fields if field.is_repeated] or list(descriptor.fields)
        if not fields or self._rng.random() < 0.95:  # they are dear to both ends
            return whole + varint(self._rng.randrange(1, 2**29) << 3) + b"\0"
        field = self._rng.choice(fields)
        wire = 2 if field.type in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING) else 0
        return whole + (varint(field.number << 3 | wire) + b"\0") * 50_000

    def nested(self, descriptor: Descriptor) -> bytes:
        """Groups within groups, which old decoders followed until their stack ended."""
        return self.whole(descriptor).SerializeToString() + varint(77 << 3 | 3) * self._rng.choice((1, 99, 101, 9_000))


WAYS: tuple[Callable[[Malformer, Descriptor], bytes], ...] = (
    Malformer.missing_fields, Malformer.hostile_values, Malformer.one_hostile_value, Malformer.noise,
    Malformer.truncated, Malformer.flipped, Malformer.wrong_types, Malformer.many, Malformer.nested,
)  # fmt: skip


def varint(value: int) -> bytes:
    """A number as protobuf writes it."""
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])
