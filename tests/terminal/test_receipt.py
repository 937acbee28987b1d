"""What the printer gets: 42 columns, whatever the goods are called and whatever they cost."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout, Line
from store_terminal.checkouts.pricing import came_back
from store_terminal.outbox.model import EntryState
from store_terminal.receipts import text as receipts
from store_terminal.receipts.text import COLUMNS, receipt
from store_terminal.refunds.model import TillRefund
from tillmesh.lines import Adjustment, LineItem, PriceSource, TaxTotal, Unit, totals
from tillmesh.origin import NOWHERE
from tillmesh.payer import identity
from tillmesh.runtime.money import Money

TEA = LineItem("TEA", "Tea", 2, 125)


def checkout(*items: LineItem, currency: str = "GBP", prices_include_tax: bool = True) -> Checkout:
    return Checkout(
        checkout_id="7K3M-9Q2X-VB4T",
        store_id="store-1",
        origin=NOWHERE,
        payer=identity("ada"),
        payer_display_name="",
        lines=tuple(Line(number, item) for number, item in enumerate(items, 1)),
        last_line_number=len(items),
        prices_include_tax=prices_include_tax,
        amount=Money(currency, totals(items, prices_include_tax=prices_include_tax).amount_minor),
        labels={},
        basket_version=1,
        state=CheckoutState.PAID,
        order_version=1,
        unanswered="",
        attempt=None,
        paid_by="pay-1",
        paid_at_ms=1_795_262_400_000,
        refunded_minor=0,
        confirmed_at_ms=0,
        event_count=4,
        created_at_ms=0,
        updated_at_ms=0,
    )


def refund(amount_minor: int, *items: LineItem, taxes: tuple[TaxTotal, ...] = ()) -> TillRefund:
    return TillRefund(
        refund_id="ref-1",
        checkout_id="7K3M-9Q2X-VB4T",
        payer=identity("ada"),
        items=items,
        taxes=taxes,
        currency="GBP",
        amount_minor=amount_minor,
        note="cold",
        origin=NOWHERE,
        actor="",
        state=EntryState.DONE,
        reason="",
        created_at_ms=0,
    )


def width(line: str) -> int:
    """Columns on paper."""
    return sum(
        2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in line if not unicodedata.combining(mark)
    )


def test_a_receipt_reads_like_one() -> None:
    staff = Adjustment("STAFF", "Discount for a very long reason that fits nowhere", -50)
    tea = TEA._replace(tax_code="A", tax_rate_ppm=200_000, adjustments=(staff,))
    ham = LineItem("HAM", "Ham", 432, 1290, unit=Unit.GRAM, price_quantity=1000, tax_code="B", tax_rate_ppm=50_000)
    back = came_back(tea, 1, 100)
    assert receipt(checkout(tea, ham), [refund(100, back, taxes=(TaxTotal("A", 200_000, 83, 17),))], "till-1") == (
        "Store store-1                  Till till-1\n"
        "7K3M-9Q2X-VB4T        2026-11-21 12:00 UTC\n"
        "------------------------------------------\n"
        "Tea\n"
        "  2 × 1.25                            2.50\n"
        "Discount for a very long reason that fits\n"
        "nowhere\n"
        "                                     -0.50\n"
        "Ham\n"
        "  0.432 kg × 12.90/kg                 5.57\n"
        "------------------------------------------\n"
        "TOTAL GBP                             7.57\n"
        "incl. tax A 20% of 1.67               0.33\n"
        "incl. tax B 5% of 5.30                0.27\n"
        "Paid by ada\n"
        "Payment pay-1\n"
        "------------------------------------------\n"
        "Tea\n"
        "  1 × 1.25                            1.25\n"
        "  PRORATED                           -0.25\n"
        "REFUND GBP                           -1.00\n"
        "of it tax A 20% of 0.83               0.17\n"
        "cold\n"
        "Refund ref-1          1970-01-01 00:00 UTC\n"
    )


def test_goods_for_which_less_is_left_than_their_share_say_so() -> None:
    brie = LineItem("BRIE", "Brie", 400, 0, unit=Unit.GRAM, price_source=PriceSource.LABEL, label_amount_minor=387)
    fee = TEA._replace(adjustments=(Adjustment("GIFT", "Wrapped", 30),))
    by_amount = refund(200)
    by_line = refund(367, came_back(brie, 400, 287), came_back(fee, 1, 80))
    text = receipt(checkout(brie, fee), [by_amount, by_line], "till-1")
    assert text.partition("Payment pay-1\n")[2] == (
        "------------------------------------------\n"
        "REFUND GBP                           -2.00\n"
        "cold\n"
        "Refund ref-1          1970-01-01 00:00 UTC\n"
        "------------------------------------------\n"
        "Brie\n"
        "  0.4 kg                              3.87\n"
        "  PRORATED                           -1.00\n"
        "Tea\n"
        "  1 × 1.25                            1.25\n"
        "  PRORATED                           -0.45\n"
        "REFUND GBP                           -3.67\n"
        "cold\n"
        "Refund ref-1          1970-01-01 00:00 UTC\n"
    )


def test_taxes_that_come_on_top_stand_before_the_total() -> None:
    bolts = LineItem("BOLT", "Bolts", 4, 148, tax_code="S", tax_rate_ppm=88_750)
    text = receipt(checkout(bolts, prices_include_tax=False), [], "till-1")
    assert (
        "  4 × 1.48                            5.92\n"
        "------------------------------------------\n"
        "plus tax S 8.875% of 5.92             0.53\n"
        "TOTAL GBP                             6.45\n"
    ) in text


@pytest.mark.parametrize(
    ("item", "row"),
    [
        (LineItem("FUEL", "", 30_500, 1799, unit=Unit.MILLILITER, price_quantity=10_000), "30.5 l × 17.99/10 l 54.87"),
        (LineItem("HERB", "", 20, 150, unit=Unit.GRAM, price_quantity=100), "0.02 kg × 1.50/0.1 kg 0.30"),
        (LineItem("ROPE", "", 2_500, 80, unit=Unit.MILLIMETER, price_quantity=1000), "2.5 m × 0.80/m 2.00"),
        (LineItem("EGGS", "", 6, 299, price_quantity=10), "6 × 2.99/10 1.79"),
        (
            LineItem("BRIE", "", 215, 0, unit=Unit.GRAM, price_source=PriceSource.LABEL, label_amount_minor=387),
            "0.215 kg 3.87",
        ),
    ],
)
def test_quantities_and_prices_read_as_in_the_shop(item: LineItem, row: str) -> None:
    assert row in [" ".join(line.split()) for line in receipt(checkout(item), [], "till-1").splitlines()]


def test_a_receipt_of_nothing_says_so() -> None:
    free = replace(checkout(TEA._replace(unit_price_minor=0)), paid_by="")
    text = receipt(free, [], "till-1")
    assert text.endswith("TOTAL GBP                             0.00\nNothing to pay\n")


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
    steering = Adjustment("STAFF", "a\x1b@b", 1)
    assert "  a @b  " in receipt(checkout(TEA._replace(adjustments=(steering,))), [], "till-1")


ADJUSTMENTS = st.builds(Adjustment, st.text(min_size=1, max_size=32), st.text(max_size=128), st.integers())
ITEMS = st.builds(
    LineItem,
    st.text(min_size=1, max_size=64),
    st.text(max_size=256),
    st.integers(),
    st.integers(),
    unit=st.sampled_from(Unit),
    price_quantity=st.integers(1, 10**15),
    tax_code=st.text(max_size=16, alphabet="Aa.-"),
    tax_rate_ppm=st.integers(0, 1_000_000),
    adjustments=st.lists(ADJUSTMENTS, max_size=3).map(tuple),
)


@given(st.lists(ITEMS), st.text(min_size=1, max_size=64, alphabet="Aa.-"), st.booleans())
def test_no_line_is_wider_than_the_paper(items: list[LineItem], name: str, prices_include_tax: bool) -> None:
    sold = checkout(*items, currency="BHD", prices_include_tax=prices_include_tax)
    paid = replace(sold, store_id=name, payer=identity(name), paid_by=name)
    back = replace(refund(10**15, *items, taxes=paid.totals.taxes), refund_id=name)
    for line in receipt(paid, [back], name).split("\n"):
        assert width(line) <= COLUMNS


@pytest.mark.parametrize("title", ["日本茶" * 85, "日本茶 " * 64, "é" * 256])
def test_a_receipt_measures_each_letter_thrice_at_most(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = 0
    width_of = receipts._width_of

    def counted(mark: str) -> int:
        nonlocal measured
        measured += 1
        return width_of(mark)

    monkeypatch.setattr(receipts, "_width_of", counted)
    text = receipt(checkout(*[LineItem("TEA", title, 1, 125)] * 60), [], "till-1")
    assert text.count(title[0]) >= 60 * title.count(title[0])
    assert 0 < measured <= 3 * 60 * len(title)


def test_a_receipt_says_that_it_does_not_show_every_refund() -> None:
    assert "Earlier refunds are not shown" not in receipt(checkout(TEA), [refund(1)], "till-1")
    text = receipt(checkout(TEA), [refund(1)], "till-1", earlier=True)
    assert text.index("Earlier refunds are not shown\n") < text.index("REFUND GBP")
