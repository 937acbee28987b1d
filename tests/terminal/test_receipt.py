"""What the printer gets: 42 columns, whatever the goods are called and whatever they cost."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_terminal.lifecycle import CheckoutState
from store_terminal.model import Checkout, EntryState, Line, LineItem, TillRefund, total_minor
from store_terminal.receipt import COLUMNS, receipt
from tillmesh.runtime.history import NO_HISTORY
from tillmesh.runtime.money import Money

TEA = LineItem("TEA", "Tea", 2, 125)


def checkout(*items: LineItem, currency: str = "GBP") -> Checkout:
    return Checkout(
        checkout_id="7K3M-9Q2X-VB4T",
        store_id="store-1",
        payer_id="ada",
        payer_display_name="",
        lines=tuple(Line(number, item) for number, item in enumerate(items, 1)),
        last_line_number=len(items),
        amount=Money(currency, total_minor(items)),
        state=CheckoutState.PAID,
        order_version=1,
        unanswered="",
        attempt=None,
        paid_by="pay-1",
        paid_at_ms=1_795_262_400_000,
        refunded_minor=0,
        event_count=4,
        history_hash=NO_HISTORY,
        created_at_ms=0,
        updated_at_ms=0,
    )


def refund(amount_minor: int, *items: LineItem) -> TillRefund:
    return TillRefund("ref-1", "7K3M-9Q2X-VB4T", "ada", items, "GBP", amount_minor, "cold", EntryState.DONE, "", 0)


def width(line: str) -> int:
    """Columns on paper."""
    return sum(
        2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in line if not unicodedata.combining(mark)
    )


def test_a_receipt_reads_like_one() -> None:
    paid = checkout(TEA, LineItem("D", "Discount for a very long reason that fits nowhere", 1, -50))
    assert receipt(paid, [refund(75, replace(TEA, quantity=1, unit_price_minor=75))], "till-1") == (
        "Store store-1                  Till till-1\n"
        "7K3M-9Q2X-VB4T        2026-11-21 12:00 UTC\n"
        "------------------------------------------\n"
        "Tea\n"
        "  2 × 1.25                            2.50\n"
        "Discount for a very long reason that fits\n"
        "nowhere\n"
        "  1 × -0.50                          -0.50\n"
        "------------------------------------------\n"
        "TOTAL GBP                             2.00\n"
        "Paid by ada\n"
        "Payment pay-1\n"
        "------------------------------------------\n"
        "Tea\n"
        "  1 × 0.75                            0.75\n"
        "REFUND GBP                           -0.75\n"
        "cold\n"
        "Refund ref-1          1970-01-01 00:00 UTC\n"
    )


@pytest.mark.parametrize(
    ("currency", "price", "amount"), [("JPY", "125", "250"), ("BHD", "0.125", "0.250"), ("GBP", "1.25", "2.50")]
)
def test_amounts_have_the_digits_of_their_currency(currency: str, price: str, amount: str) -> None:
    text = receipt(checkout(TEA, currency=currency), [], "till-1")
    line, total = (line for line in text.splitlines() if line.endswith(f" {amount}"))
    assert line.split() == ["2", "×", price, amount]
    assert total.split() == ["TOTAL", currency, amount]


def test_wide_letters_take_two_columns() -> None:
    text = receipt(checkout(LineItem("OCHA", "緑茶" * 15, 1, 300), currency="JPY"), [], "till-1")
    assert "緑茶" * 10 + "緑\n" + "茶" + "緑茶" * 4 + "\n" in text


def test_goods_without_a_title_show_their_code_and_no_title_steers_the_printer() -> None:
    text = receipt(checkout(LineItem("SKU-9", "", 1, 1), LineItem("X", "a\x1b@b\nTOTAL GBP 0.00", 1, 1)), [], "till-1")
    assert "SKU-9\n" in text
    assert "a @b TOTAL GBP 0.00\n" in text


@given(
    st.lists(
        st.builds(LineItem, st.text(min_size=1, max_size=64), st.text(max_size=256), st.integers(), st.integers())
    ),
    st.text(min_size=1, max_size=64, alphabet="Aa.-"),
)
def test_no_line_is_wider_than_the_paper(items: list[LineItem], name: str) -> None:
    paid = replace(checkout(*items, currency="BHD"), store_id=name, payer_id=name, paid_by=name)
    back = replace(refund(10**15, *items), refund_id=name)
    for line in receipt(paid, [back], name).split("\n"):
        assert width(line) <= COLUMNS
