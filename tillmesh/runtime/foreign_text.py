"""Texts that others typed, for people to read: no character of them steers a screen, hides, or ends a line.

Names, notes, titles, labels, file fields, paths and what servers and certificates say come from others. Shown as they
are, they could move the cursor, turn the direction of writing, or look like a line of ours.
"""

import re
import unicodedata
from functools import lru_cache

LENGTH_MAX = 100
"""How much of a text stands in a sentence."""
NAME_MAX = 512
"""The same of a path or another name."""
_WORD = re.compile(f"[A-Za-z0-9._/:@+~=%-]{{1,{NAME_MAX}}}")
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)  # fmt: skip
"""Letters and marks that show nothing: joiners, fillers of Hangul, selectors of variants."""
_BLANKS = re.compile(" {2,}")
_OWN_QUOTES = str.maketrans("“”", '""')


@lru_cache(maxsize=4096)
def is_hidden(mark: str) -> bool:
    """True for a character that steers or shows nothing, such as a control character; false for a blank."""
    if mark.isprintable():
        return bool(_UNSEEN.match(mark))
    return unicodedata.category(mark) != "Zs"


def visible_lines(text: str) -> str:
    r"""A text of whole lines: hidden characters are written as \u202e, all blanks are plain ones."""
    if text.isascii() and text.replace("\n", "").isprintable():  # as nearly all are
        return text
    return "".join("\n" if mark == "\n" else _visible(mark) for mark in text)


def visible(text: str, length_max: int | None = None) -> str:
    r"""A text on one line: its line ends are written as \n, several blanks are one, what is too long ends in "…"."""
    shown = _BLANKS.sub(" ", visible_lines(text).replace("\n", r"\n")).strip()
    return shown if length_max is None or len(shown) <= length_max else f"{shown[: length_max - 1]}…"


def quoted(text: str, length_max: int = LENGTH_MAX) -> str:
    """A text inside a sentence: “Ada”. Quotation marks of this form in it become straight, so none ends it early."""
    return f"“{visible(text, length_max).translate(_OWN_QUOTES)}”"


def named(text: object) -> str:
    """An identifier, a path or an address inside a sentence; quoted if it is more than one plain word."""
    return str(text) if _WORD.fullmatch(str(text)) else quoted(str(text), NAME_MAX)


def visible_json(line: str) -> str:
    """A line of JSON in ASCII; its one control character that JSON does not escape is DEL."""
    return line.replace("\x7f", r"\u007f")


@lru_cache(maxsize=4096)
def _visible(mark: str) -> str:
    if is_hidden(mark):
        return mark.encode("unicode_escape").decode()
    return mark if mark.isprintable() and mark != "\u2800" else " "  # a pattern of Braille without a dot
