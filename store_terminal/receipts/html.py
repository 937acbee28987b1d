"""Rows as one page of HTML that needs nothing else. Texts are escaped, and each has a direction of its own."""

from collections.abc import Iterable
from html import escape

import segno

from store_terminal.receipts.rows import RULE, Row
from store_terminal.receipts.text import printable

_STYLE = (
    "body{font:14px/1.4 monospace;max-width:26em;margin:1em auto;overflow-wrap:anywhere}"
    "table{width:100%;border-collapse:collapse}td{padding:0;vertical-align:bottom}"
    "td+td{text-align:right;white-space:nowrap;padding-left:1em}"
    "tbody{border-bottom:1px dashed}tbody:last-child{border:0}.i>td:first-child{padding-left:2ch}.s{font-weight:bold}"
    ".qr{text-align:center}"
)
QR_LEVEL = "m"


def html_of(rows: Iterable[Row], qr_text: str, title: str, language: str) -> str:
    """The page; a rule is the end of a part of its table."""
    body = "".join("<tbody>" if row is RULE else _row(row) for row in rows)
    return (
        f'<!doctype html>\n<html lang="{escape(language)}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width"><title>{_text(title)}</title>'
        f"<style>{_STYLE}</style></head><body><table><tbody>{body}</table>{_qr_code(qr_text)}</body></html>\n"
    )


def _row(row: Row) -> str:
    classes = " ".join(name for name, is_on in (("i", row.indent), ("s", row.strong)) if is_on)
    left, right = _text(row.left), _text(row.right)
    attributes = f' class="{classes}"' if classes else ""
    if not right:
        return f'<tr{attributes}><td colspan="2" dir="auto">{left}\n'
    return f"<tr{attributes}><td><bdi>{left}</bdi><td>{right}\n"


def _text(text: str) -> str:
    return escape(printable(text))


def _qr_code(text: str) -> str:
    if not text:
        return ""
    drawn: str = segno.make(text, error=QR_LEVEL, micro=False).svg_inline(scale=4)
    return f'<p class="qr">{drawn}</p>'
