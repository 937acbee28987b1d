"""Texts that somebody typed to look like something else, and messages full of them."""

import random
import unicodedata
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""The categories of characters that steer, or that are none."""
SHOWING_NOTHING = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180d\u3164\ufe00\ufe0f\uffa0\U000e0020\U000e0100\U000e01ef"
PIECES = (
    *("\x00", "\x07", "\x08", "\x1b[2J", "\x1b[1A\x1b[2K", "\x1b]0;title\x07", "\x7f", "\x85", "\x9b31m", "\r"),
    *("\n", "\r\n", "\u2028", "\u2029", "\x0b", "\x0c", "\t", "\nHAND OVER GOODS", "\rHAND OVER GOODS\n"),
    *("\u202a", "\u202d", "\u202e", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c", "\ufeff", "\u200b", "\u00ad"),
    *SHOWING_NOTHING,
    *(" " * 100, "\u00a0" * 50, "\u3000", "\u2003", "\u2800", " "),
    *(
        "[red]",
        "[/]",
        "[/bold]",
        "[link=https://example.org]",
        "[",
        "\\",
        "\\[",
        ":warning:",
        "{0}",
        "%s",
        "<b>",
        "&lt;",
    ),
    *("”", "“", '"', "'", ". HAND OVER GOODS. ", "Ada", "日本", "é", "e\u0301", "\u0301" * 9, "👩\u200d👧", "\u05d0"),
    *("\ue000", "\U000f0000", "\uffff", "\u0378", "\U0010ffff"),
)
ANY = (*range(0xD800), *range(0xE000, 0x11000))
LONE = tuple(map(chr, range(0xDC80, 0xDD00)))
"""The bytes of a command line that are not UTF-8."""


def foreign(rng: random.Random, *, lone: bool = False) -> str:
    """One such text; with `lone` also bytes that are no text, which only a command line or a file can have."""
    kinds = PIECES + LONE if lone else PIECES
    pieces = [rng.choice(kinds) for _ in range(rng.choice((1, 1, 2, 3, 5, 8)))]
    if rng.random() < 0.02:
        pieces.append("x" * 5_000)
    if rng.random() < 0.2:
        pieces.append(chr(rng.choice(ANY)))
    return "".join(pieces)


def hidden_in(text: str) -> list[str]:
    """The characters that nobody sees or that steer a screen, but for the ends of lines."""
    return [
        mark
        for mark in text
        if mark != "\n" and (unicodedata.category(mark) in STEERING or mark in SHOWING_NOTHING)
    ]  # fmt: skip


def fill(message: Message, text: Callable[[str], str], rng: random.Random, depth: int = 4) -> None:
    """Gives every field a value: `text(its name)` where it is a text, else one of those that are possible."""
    for each in message.DESCRIPTOR.fields:
        if each.name == "next_page_token" or (each.message_type and depth == 0):
            continue
        if each.message_type and each.message_type.GetOptions().map_entry:
            getattr(message, each.name)[text(each.name)] = text(each.name)
        elif each.is_repeated:
            _fill_list(getattr(message, each.name), each, text, rng, depth)
        elif each.message_type:
            nested = getattr(message, each.name)
            nested.SetInParent()
            fill(nested, text, rng, depth - 1)
        else:
            setattr(message, each.name, _value(each, text, rng))
    if message.DESCRIPTOR.full_name == "tillmesh.api.type.v1.Money":
        message.currency_code = "GBP"  # type: ignore[attr-defined]
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        message.seconds, message.nanos = 1_795_262_400 + rng.randrange(3_600), 0  # type: ignore[attr-defined]
    if message.DESCRIPTOR.full_name == "google.protobuf.Duration":
        message.seconds, message.nanos = rng.randrange(90), 0  # type: ignore[attr-defined]


def _fill_list(values: Any, each: Any, text: Callable[[str], str], rng: random.Random, depth: int) -> None:
    for _ in range(3):
        if each.message_type:
            fill(values.add(), text, rng, depth - 1)
        else:
            values.append(_value(each, text, rng))


def _value(each: Any, text: Callable[[str], str], rng: random.Random) -> Any:
    match each.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return b"" if each.type == FieldDescriptor.TYPE_BYTES else text(each.name)
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice([value.number for value in each.enum_type.values if value.number])
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return 1.5
    return rng.randrange(1, 1000)
