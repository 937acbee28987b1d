"""Rows as bytes for a receipt printer: ESC/POS, as nearly all of them understand it.

A text is put into the letters of the printer's code page before it is laid out. So a line is as wide as it has bytes,
and no byte of it is a command: those are below 0x20.
"""

import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

from store_terminal.receipts.rows import Row
from store_terminal.receipts.text import Paper, letter
from store_terminal.receipts.words import Words

CODE_PAGES = {"cp437": 0, "cp850": 2, "cp852": 18, "cp858": 19, "cp866": 17}
"""The code pages of printers, by Python's name of the codec: their number in ESC t."""
UNKNOWN = "?"
NEAREST = {
    "×": "x", "€": "EUR", "£": "GBP", "¥": "JPY", "–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "„": '"',
    "•": "*", "⁄": "/", "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L",
    "đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i",
}  # fmt: skip
"""What stands for a letter that a code page lacks, where Unicode does not take it apart."""
_ESC, _GS = b"\x1b", b"\x1d"
_INITIALIZE = _ESC + b"@"
_CODE_PAGE = _ESC + b"t"
_STRONG = _ESC + b"E\x01" + _GS + b"!\x01"  # bold and of double height, which changes no column
_PLAIN = _GS + b"!\x00" + _ESC + b"E\x00"
_CENTER, _LEFT = _ESC + b"a\x01", _ESC + b"a\x00"
_QR = _GS + b"(k"
_QR_MODEL_2, _QR_DOT, _QR_LEVEL_M = b"\x04\x001A2\x00", b"\x03\x001C\x05", b"\x03\x001E1"
_QR_STORE, _QR_PRINT = b"1P0", b"\x03\x001Q0"
_FEED_AND_CUT = _GS + b"VB\x00"


def printer_bytes(rows: Iterable[Row], qr_text: str, columns: int, code_page: str) -> bytes:
    """What to send to a printer: the rows, the QR code if there is one, and the cut."""
    paper = Paper(columns, letters_of(code_page))
    parts = [_INITIALIZE, _CODE_PAGE, bytes([CODE_PAGES[code_page]])]
    for row in rows:
        lines = "".join(f"{line}\n" for line in paper.lines(row)).encode(code_page)
        parts += [_STRONG, lines, _PLAIN] if row.strong else [lines]
    if qr_text:
        parts += [_CENTER, _qr_code(qr_text.encode("ascii")), b"\n", _LEFT]
    return b"".join([*parts, _FEED_AND_CUT])


def can_show(words: Words, code_page: str) -> bool:
    """True if the code page has all letters of a language, or what stands for them."""
    letters = letters_of(code_page)
    return not any(UNKNOWN in letters(getattr(words, name)) for name in words.__slots__)


@lru_cache(maxsize=len(CODE_PAGES))
def letters_of(code_page: str) -> Callable[[str], str]:
    """Makes of a text the nearest one that a code page has."""

    @lru_cache(maxsize=4096)
    def nearest(mark: str) -> str:
        shown = letter(mark)
        if not shown.strip() or has(shown):
            return shown
        found = NEAREST.get(mark) or "".join(
            NEAREST.get(part, part) for part in unicodedata.normalize("NFKD", mark) if not unicodedata.combining(part)
        )
        found = "".join(part for part in found if has(part))
        return found or ("" if unicodedata.combining(mark) else UNKNOWN)

    def has(mark: str) -> bool:
        try:
            return mark.isprintable() and len(mark.encode(code_page)) == 1
        except UnicodeEncodeError:
            return False

    def letters(text: str) -> str:
        if text.isascii() and text.isprintable():
            return text
        return "".join(map(nearest, unicodedata.normalize("NFC", text)))

    return letters


def _qr_code(data: bytes) -> bytes:
    store = (len(data) + len(_QR_STORE)).to_bytes(2, "little") + _QR_STORE + data
    return b"".join(_QR + part for part in (_QR_MODEL_2, _QR_DOT, _QR_LEVEL_M, store, _QR_PRINT))
