"""What a receipt printer gets: letters of its code page, and no command but ours."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_terminal.receipts.escpos import CODE_PAGES, printer_bytes
from store_terminal.receipts.model import Kind, StoreRecord
from store_terminal.receipts.rows import Row
from tests.processes import DEADLINE_S
from tests.terminal.receipts import KINDS, STORE, TEA, checkout, for_printer, refund
from tillmesh.lines import LineItem
from tillmesh.origin import Origin
from tillmesh.payer import identity

STRONG, PLAIN = b"\x1bE\x01\x1d!\x01", b"\x1d!\x00\x1bE\x00"
QR_TEXT = "TILLMESH1/7K3M-9Q2X-VB4T/till-1/4/" + "0" * 32
ORACLE = """
import sys
from escpos.printer import Dummy

printer = Dummy()
for code_page in sys.argv[2:]:
    printer.charcode(code_page.upper())
    printer.text({"cp858": "Bär €\\n", "cp866": "Я\\n"}.get(code_page, "Bär\\n"))
printer.qr(sys.argv[1], native=True, size=5, ec=1, model=2)
printer.cut(feed=False)
sys.stdout.buffer.write(printer.output)
"""


def printed(text: str, code_page: str = "cp858", columns: int = 42) -> bytes:
    """The one row of a text as the printer gets it."""
    whole = printer_bytes([Row(text)], "", columns, code_page)
    head, tail = b"\x1b@\x1bt" + bytes([CODE_PAGES[code_page]]), b"\x1dVB\x00"
    assert whole.startswith(head)
    assert whole.endswith(tail)
    return whole.removeprefix(head).removesuffix(tail)


def text_in(whole: bytes, qr_text: str) -> list[bytes]:
    """The lines that a printer prints; everything else must be a command that is known here."""
    head = re.match(rb"\x1b@\x1bt.", whole, re.DOTALL)
    assert head
    rest = whole[head.end() :].removesuffix(b"\x1dVB\x00")
    if qr_text:
        rest, code, end = rest.partition(b"\x1ba\x01\x1d(k")
        assert code
        assert qr_text.encode() in end
    *lines, last = rest.replace(STRONG, b"").replace(PLAIN, b"").split(b"\n")
    assert not last
    return lines


def test_letters_are_those_of_the_code_page() -> None:
    assert printed("Bär €") == bytes.fromhex("42 84 72 20 D5 0A")
    assert printed("Zażółć", "cp852") == "Zażółć\n".encode("cp852")
    assert printed("Яблоко", "cp866") == "Яблоко\n".encode("cp866")


@pytest.mark.parametrize(
    ("code_page", "text", "shown"),
    [
        ("cp858", "Zażółć Łódź", b"Zaz\xa2lc L\xa2dz\n"),
        ("cp437", "2 × 1.25 €", b"2 x 1.25 EUR\n"),
        ("cp858", "e\u0301clair", b"\x82clair\n"),
        ("cp858", "x\u0301", b"x\n"),
        ("cp866", "Straße", b"Strasse\n"),
        ("cp858", "日本 茶", b"?? ?\n"),
        ("cp858", "½ ﬁ …", b"\xab fi ...\n"),
        ("cp437", "a\x1b@b\x1dV\x00c\x10\x04", b"a @b V c\n"),
        ("cp850", "a\u202eb\u200dc\u00add", b"abcd\n"),
    ],
)
def test_what_a_code_page_lacks_prints_as_its_nearest_letter(code_page: str, text: str, shown: bytes) -> None:
    assert printed(text, code_page) == shown


def test_what_is_longer_in_the_letters_of_the_printer_keeps_to_the_columns() -> None:
    lines = printed("€" * 20, "cp437", columns=32).splitlines()
    assert lines == [b"EUR" * 10 + b"EU", b"R" + b"EUR" * 9]


def test_total_and_store_stand_out_and_change_no_column() -> None:
    whole = for_printer(checkout(TEA))
    assert STRONG + b"Corner Shop\n" + PLAIN in whole
    assert STRONG + b"TOTAL GBP                             2.50\n" + PLAIN in whole


@pytest.mark.process
def test_an_independent_writer_gives_the_same_bytes_for_letters_code_and_cut() -> None:
    command = [sys.executable, "-c", ORACLE, QR_TEXT, *CODE_PAGES]
    theirs = subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=True).stdout
    ours = printer_bytes([], QR_TEXT, 42, "cp858")
    code, cut = ours.index(b"\x1d(k"), b"\x1dVB\x00"
    assert theirs.endswith(cut)
    assert ours.endswith(cut)
    stored = ours[code : ours.rindex(b"\x1b")].rstrip(b"\n")
    assert sorted(stored.split(b"\x1d(k")) == sorted(theirs[theirs.index(b"\x1d(k") :].split(cut)[0].split(b"\x1d(k"))
    for code_page, number in CODE_PAGES.items():
        letters = printed("Я" if code_page == "cp866" else "Bär €" if code_page == "cp858" else "Bär", code_page)
        assert b"\x1bt" + bytes([number]) + letters in theirs


TEXTS = st.text(max_size=80) | st.text("a \x1b\x1d\n\u20ac\u4e2d\u0301\u00ad", max_size=80)


@given(TEXTS, TEXTS, st.sampled_from(KINDS), st.sampled_from(sorted(CODE_PAGES)), st.sampled_from([32, 42, 48]))
def test_no_text_steers_the_printer_or_leaves_the_paper(
    title: str, name: str, kind: Kind, code_page: str, columns: int
) -> None:
    item = LineItem("TEA", title, 2, 125, note=name)
    sold = replace(checkout(item), payer=identity(name), origin=Origin("till-1", "lane-1", name))
    store = StoreRecord("store-1", name, (title, name), name)
    back = [replace(refund(10, item), note=title)]
    whole = for_printer(sold, back, kind=kind, code_page=code_page, columns=columns, store=store, exchanged=back[0])
    for line in text_in(whole, "" if kind is Kind.RETURN else QR_TEXT):
        assert len(line) <= columns
        assert all(byte >= 0x20 and byte != 0x7F for byte in line)


def test_a_return_has_no_code() -> None:
    assert b"\x1d(k" not in for_printer(checkout(TEA), kind=Kind.RETURN)
    assert b"1P0" + QR_TEXT.encode() in for_printer(checkout(TEA), store=STORE)
