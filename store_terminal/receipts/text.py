"""Rows as lines of plain text, by the columns that letters take on paper. Each letter is measured thrice at most."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from wcwidth import wcswidth, wcwidth

from store_terminal.receipts.language import NO_BREAK
from store_terminal.receipts.rows import RULE, Row
from tillmesh.runtime.foreign_text import is_hidden

COLUMNS = (32, 42, 48)
"""The widths of paper."""
Letters = Callable[[str], str]
"""Makes of a text what the paper can show."""


def printable(text: str) -> str:
    """A text without what steers a printer, a screen or the direction of writing, and without accents on nothing."""
    if text.isascii() and text.isprintable():  # as nearly all are
        return text
    kept: list[str] = []
    before = " "
    for mark in filter(None, map(letter, text)):
        if before not in (" ", NO_BREAK) or not unicodedata.category(mark).startswith("M"):
            kept.append(mark)
            before = mark
    return "".join(kept)


@lru_cache(maxsize=4096)
def letter(mark: str) -> str:
    """A mark that only shows itself; a blank in place of a control character, nothing in place of a hidden one."""
    if mark.isprintable():
        return "" if is_hidden(mark) else mark
    return mark if mark == NO_BREAK else "" if unicodedata.category(mark) == "Cf" else " "


@dataclass(frozen=True, slots=True)
class Paper:
    """Paper of a width in columns, and the letters that it can show."""

    columns: int
    letters: Letters = printable

    def lines(self, row: Row) -> Iterator[str]:
        """The lines of a row."""
        if row is RULE:
            yield "-" * self.columns
            return
        for line in self._columns(self.letters(row.left), self.letters(row.right), " " * row.indent):
            yield line.replace(NO_BREAK, " ")

    def _columns(self, left: str, right: str, indent: str) -> Iterator[str]:
        """`left` at the left and `right` at the right; on lines of their own where they do not fit on one."""
        left, right = " ".join(_words(left)), " ".join(_words(right))
        if not right:
            yield from self._wrapped(left, indent)
            return
        wide = _width(right)
        gap = self.columns - len(indent) - _width(left) - wide
        if gap > 0:
            yield indent + left + " " * gap + right
            return
        yield from self._wrapped(left, indent)
        if wide <= self.columns:
            yield " " * (self.columns - wide) + right
        else:
            yield from self._wrapped(right, indent)

    def _wrapped(self, text: str, indent: str) -> Iterator[str]:
        """Breaks a text at blanks where it can."""
        columns = self.columns - len(indent)
        if len(text) <= columns and text.isascii():  # as nearly all are
            if text:
                yield indent + text
            return
        line, used = "", 0
        for word in _words(text):
            needed = _width(word)
            if line and used + 1 + needed > columns:
                yield indent + line
                line, used = "", 0
            line, used = (f"{line} {word}", used + 1 + needed) if line else (word, needed)
            while used > columns:
                head, taken = _head(line, columns)
                yield indent + head
                line, used = line[len(head) :], used - taken
        if line:
            yield indent + line


def text_of(rows: Iterable[Row], columns: int) -> str:
    """Plain text; lines end in a line feed."""
    paper = Paper(columns)
    return "".join(f"{line}\n" for row in rows for line in paper.lines(row))


def _words(text: str) -> list[str]:
    """What may stand on lines of its own."""
    return [word for word in text.split(" ") if word.strip(NO_BREAK)]


def _head(text: str, columns: int) -> tuple[str, int]:
    """As much of a text as fits a line, and its width. The text has more."""
    used = 0
    for end, mark in enumerate(text):
        width = _width_of(mark)
        if used + width > columns:
            return text[:end], used
        used += width
    return text, used


def _width(text: str) -> int:
    """Columns on paper."""
    return len(text) if text.isascii() else sum(map(_width_of, text))


@lru_cache(maxsize=4096)
def _width_of(mark: str) -> int:
    """Wide letters, such as Japanese ones, take two columns; marks on a letter none, but those that stand beside it."""
    return max(wcswidth(f"a{mark}") - 1, 2 if unicodedata.east_asian_width(mark) in "WF" else wcwidth(mark))
