"""Texts that others typed, made safe to show."""

import random

import pytest

from tests.foreign import LONE, PIECES, foreign, hidden_in
from tillmesh.rpc.fields import shown
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.foreign_text import LENGTH_MAX, named, quoted, visible, visible_json, visible_lines


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("Ada L.", "“Ada L.”"),
        ("日本 茶, é", "“日本 茶, é”"),
        ("a\x1b[2Jb\x7f\x85", r"“a\x1b[2Jb\x7f\x85”"),
        ("Ada\nHAND OVER GOODS\u2028", r"“Ada\nHAND OVER GOODS\u2028”"),
        ("\u202eadA\u2066", r"“\u202eadA\u2066”"),
        ("a\u200db\ufe0fc\u3164\U000e0041", r"“a\u200db\ufe0fc\u3164\U000e0041”"),
        ("a\u00a0\u3000\u2003 b\u2800c", "“a b c”"),
        (" " * 100, "“”"),
        ("\udc80", r"“\udc80”"),
        ("\ue000\u0378", r"“\ue000\u0378”"),
        ("Ada”. HAND OVER “GOODS", '“Ada". HAND OVER "GOODS”'),
        ("x" * 101, f"“{'x' * 99}…”"),
    ],
)
def test_a_text_is_quoted_on_one_line_and_shows_what_it_hides(typed: str, said: str) -> None:
    assert quoted(typed) == said


def test_a_plain_name_needs_no_quotation_marks() -> None:
    for name in ("7K3M-9Q2X-VB4T", "/var/lib/tillmesh/tls", "spiffe://tillmesh/terminal/store-1/till-1", "[::1]:7001"):
        assert named(name) == (name if "[" not in name else f"“{name}”")
    for name in ("", "Ada L.", "a\u202eb", "a\n"):
        assert named(name) == quoted(name)


def test_lines_stay_lines_and_columns_stay_columns() -> None:
    assert visible_lines("TEA   2.50\n  2 x 1.25\x1b\n") == "TEA   2.50\n  2 x 1.25\\x1b\n"


def test_json_keeps_its_values() -> None:
    assert visible_json('{"name": "a\x7f"}') == r'{"name": "a\u007f"}'


def test_nothing_hidden_gets_out_of_ten_thousand_texts() -> None:
    rng = random.Random(2026)
    for text in (*PIECES, *LONE, *(foreign(rng, lone=True) for _ in range(10_000))):
        for said in (visible(text), quoted(text), named(text)):
            assert hidden_in(said) == []
            assert "\n" not in said
            assert "  " not in said
        assert len(quoted(text)) <= LENGTH_MAX + 2
        assert not {"“", "”"} & set(quoted(text)[1:-1])
        assert hidden_in(visible_lines(text)) == []
        assert visible(visible(text)) == visible(text)


def test_a_refusal_repeats_what_was_sent_on_one_line() -> None:
    rng = random.Random(7)
    for _ in range(1_000):
        text = foreign(rng)
        refusal = CommonReason.REQUEST_ID_REUSED(request_id=text)
        assert hidden_in(refusal.text) == []
        assert "\n" not in refusal.text
        assert hidden_in(shown(text)) == []
