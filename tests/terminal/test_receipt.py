"""What a receipt says: as wide as the paper, whatever the goods are called and whatever they cost."""

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from store_terminal.checkouts.pricing import came_back
from store_terminal.receipts import text as receipts
from store_terminal.receipts.model import Kind, StoreRecord
from tests.sources import ROOT
from tests.terminal.receipts import (
    KINDS,
    STORE,
    TEA,
    TILL,
    checkout,
    english_example,
    german_example,
    receipt,
    refund,
    text,
)
from tillmesh.lines import Adjustment, LineItem, PriceSource, TaxTotal, Unit
from tillmesh.origin import Origin
from tillmesh.payer import identity, reference
from tillmesh.receipt_code import ReceiptCode, parse
from tillmesh.runtime.money import Money


def width(line: str) -> int:
    """Columns on paper, by Python's own tables."""
    return sum(
        2 if unicodedata.east_asian_width(mark) in "WF" else 1
        for mark in line
        if unicodedata.category(mark) not in ("Mn", "Me") and not unicodedata.name(mark, "").startswith("HANGUL J")
    )


def test_a_receipt_reads_like_one() -> None:
    staff = Adjustment("STAFF", "Discount for a very long reason that fits nowhere", -50)
    tea = TEA._replace(tax_code="A", tax_rate_ppm=200_000, adjustments=(staff,), note="no milk")
    ham = LineItem("HAM", "Ham", 432, 1290, unit=Unit.GRAM, price_quantity=1000, tax_code="B", tax_rate_ppm=50_000)
    back = came_back(tea._replace(note=""), 1, 100)
    store = StoreRecord("store-1", "Corner Shop", ("1 High Street", "London"), "GB123456789", "Europe/London")
    sold = replace(checkout(tea, ham), origin=Origin("till-1", "lane-3", "c-17"))
    assert text(sold, [refund(100, back, taxes=(TaxTotal("A", 200_000, 83, 17),))], store=store) == (
        "Corner Shop\n"
        "1 High Street\n"
        "London\n"
        "Tax no. GB123456789\n"
        "Till till-1                    Lane lane-3\n"
        "Cashier c-17\n"
        "Order 7K3M-9Q2X-VB4T\n"
        "Nov 21, 2026 12:00 PM +00:00\n"
        "------------------------------------------\n"
        "Tea\n"
        "  2 × 1.25                            2.50\n"
        "  Discount for a very long reason that\n"
        "  fits nowhere\n"
        "                                     -0.50\n"
        "  no milk\n"
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
        "Refund ref-1\n"
        "Jan 1, 1970 1:00 AM +01:00\n"
    )


def test_the_page_of_the_terminal_shows_receipts_as_they_print() -> None:
    page = (ROOT / "store_terminal/README.md").read_text()
    assert f"```\n{english_example()}```" in page
    assert f"```\n{german_example()}```" in page


def test_goods_for_which_less_is_left_than_their_share_say_so() -> None:
    brie = LineItem("BRIE", "Brie", 400, 0, unit=Unit.GRAM, price_source=PriceSource.LABEL, label_amount_minor=387)
    fee = TEA._replace(adjustments=(Adjustment("GIFT", "Wrapped", 30),))
    by_amount = refund(200)
    by_line = refund(367, came_back(brie, 400, 287), came_back(fee, 1, 80))
    assert text(checkout(brie, fee), [by_amount, by_line]).partition("Payment pay-1\n")[2] == (
        "------------------------------------------\n"
        "REFUND GBP                           -2.00\n"
        "cold\n"
        "Refund ref-1\n"
        "Jan 1, 1970 12:00 AM +00:00\n"
        "------------------------------------------\n"
        "Brie\n"
        "  0.4 kg                              3.87\n"
        "  PRORATED                           -1.00\n"
        "Tea\n"
        "  1 × 1.25                            1.25\n"
        "  PRORATED                           -0.45\n"
        "REFUND GBP                           -3.67\n"
        "cold\n"
        "Refund ref-1\n"
        "Jan 1, 1970 12:00 AM +00:00\n"
    )


def test_taxes_that_come_on_top_stand_before_the_total() -> None:
    bolts = LineItem("BOLT", "Bolts", 4, 148, tax_code="S", tax_rate_ppm=88_750)
    assert (
        "  4 × 1.48                            5.92\n"
        "------------------------------------------\n"
        "plus tax S 8.875% of 5.92             0.53\n"
        "TOTAL GBP                             6.45\n"
    ) in text(checkout(bolts, prices_include_tax=False))


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
    assert row in [" ".join(line.split()) for line in text(checkout(item)).splitlines()]


def test_a_receipt_of_nothing_says_so() -> None:
    free = replace(checkout(TEA._replace(unit_price_minor=0)), paid_by="")
    assert text(free).endswith("TOTAL GBP                             0.00\nNothing to pay\n")


def test_a_payer_whom_the_till_knows_by_a_reference_alone_is_not_named() -> None:
    by_code = replace(checkout(TEA), payer=reference("0198c1de-7f6a-7000-8000-000000000001"))
    assert text(by_code).endswith("TOTAL GBP                             2.50\nPayment pay-1\n")
    back = text(by_code, [refund(125)], kind=Kind.REFUND)
    assert back.endswith("Refund ref-1\nPayment pay-1\n")
    assert "Paid by Ada L.\n" in text(replace(by_code, payer_display_name="Ada L."))


def test_a_failed_payment_prints_no_goods() -> None:
    assert text(checkout(TEA), kind=Kind.DECLINE).partition("-\n")[2] == (
        "PAYMENT FAILED\n"
        "No goods are handed over\n"
        "TOTAL GBP                             2.50\n"
        "Payment pay-9\n"
        "Reason DECLINED\n"
    )


def test_an_interim_bill_says_that_it_is_no_receipt_and_not_that_anybody_paid() -> None:
    bill = text(checkout(TEA), kind=Kind.BILL)
    assert "INTERIM BILL\nThis is not a receipt\n" in bill
    assert bill.endswith("TOTAL GBP                             2.50\n")


def test_a_refund_shows_what_came_back_and_who_got_the_money() -> None:
    back = [refund(125, TEA._replace(quantity=1))]
    slip = text(checkout(TEA), back, kind=Kind.REFUND).partition("-\n")[2]
    assert slip == (
        "Tea\n"
        "  1 × 1.25                            1.25\n"
        "REFUND GBP                           -1.25\n"
        "cold\n"
        "Refund ref-1\n"
        "Given back to ada\n"
        "Payment pay-1\n"
    )
    without_sale = text(checkout(TEA), back, kind=Kind.RETURN)
    assert "RETURN GBP                           -1.25\n" in without_sale
    assert "Order" not in without_sale
    assert without_sale.endswith("Given back to ada\n")
    to_a_code = text(checkout(TEA), [replace(back[0], payer=None)], kind=Kind.RETURN)
    assert to_a_code.endswith("Refund ref-1\n")


@pytest.mark.parametrize(("given_back", "said"), [(100, "DIFFERENCE GBP 1.50"), (600, "DIFFERENCE GBP -3.50")])
def test_an_exchange_shows_both_and_their_difference_which_nobody_is_told_to_pay(given_back: int, said: str) -> None:
    back = refund(given_back, TEA._replace(title="Cold tea"))
    made = receipt(checkout(TEA), exchanged=back)
    assert made.exchange_difference == Money("GBP", 250 - given_back)
    rows = [" ".join(line.split()) for line in text(checkout(TEA), exchanged=back).splitlines()]
    assert rows.index("In exchange for") < rows.index("Cold tea") < rows.index(said) < rows.index("Paid by ada")


def test_an_exchange_in_another_currency_has_no_difference() -> None:
    back = refund(100, TEA._replace(title="Cold tea"), currency="EUR")
    assert receipt(checkout(TEA), exchanged=back).exchange_difference is None
    shown = text(checkout(TEA), exchanged=back)
    assert "REFUND EUR                           -1.00\n" in shown
    assert "DIFFERENCE" not in shown


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_print_says_that_it_is_a_copy(kind: Kind) -> None:
    assert "COPY\n" in text(checkout(TEA), kind=kind, reprint=True)
    assert "COPY" not in text(checkout(TEA), kind=kind)


def test_the_code_names_the_order_and_the_history_of_its_checkout() -> None:
    sold = replace(checkout(TEA), event_count=7, history_hash=bytes(range(32)))
    made = receipt(sold)
    assert parse(made.qr_text) == ReceiptCode("7K3M-9Q2X-VB4T", "till-1", 7, bytes(range(16)).hex())
    assert receipt(sold, kind=Kind.RETURN).qr_text == ""


@pytest.mark.parametrize(
    ("zone", "at_s", "shown"),
    [
        ("Europe/Berlin", 1_792_886_399, "2026-10-25T01:59:59+02:00"),
        ("Europe/Berlin", 1_792_889_999, "2026-10-25T02:59:59+02:00"),
        ("Europe/Berlin", 1_792_890_000, "2026-10-25T02:00:00+01:00"),
        ("Asia/Kathmandu", 1_792_890_000, "2026-10-25T06:45:00+05:45"),
        ("Nowhere/Land", 1_792_890_000, "2026-10-25T01:00:00+00:00"),
        ("../../etc/passwd", 1_792_890_000, "2026-10-25T01:00:00+00:00"),
        ("", 1_792_890_000, "2026-10-25T01:00:00+00:00"),
        ("Europe", 1_792_890_000, "2026-10-25T01:00:00+00:00"),
    ],
)
def test_a_receipt_has_the_time_on_the_wall_of_the_store(zone: str, at_s: int, shown: str) -> None:
    sold = replace(checkout(TEA), sold_at_ms=at_s * 1000)
    made = receipt(sold, store=replace(STORE, time_zone=zone))
    assert made.local(made.at_ms).isoformat() == shown
    assert made.store.time_zone == (zone if "/" in zone and "/L" not in zone and ".." not in zone else "UTC")
    assert shown[-6:] in text(sold, store=replace(STORE, time_zone=zone))


def test_wide_letters_take_two_columns() -> None:
    ocha = checkout(LineItem("OCHA", "緑茶" * 15, 1, 300), currency="JPY")
    assert "緑茶" * 10 + "緑\n" + "茶" + "緑茶" * 4 + "\n" in text(ocha)


def test_goods_without_a_title_show_their_code_and_no_title_steers_the_printer() -> None:
    shown = text(checkout(LineItem("SKU-9", "", 1, 1), LineItem("X", "a\x1b@b\nTOTAL GBP 0.00", 1, 1)))
    assert "SKU-9\n" in shown
    assert "a @b TOTAL GBP 0.00\n" in shown
    steering = Adjustment("STAFF", "a\x1b@b", 1)
    assert "  a @b  " in text(checkout(TEA._replace(adjustments=(steering,))))


def test_a_pictogram_of_several_is_shown_as_its_parts_and_hidden_marks_are_left_out() -> None:
    family, heart, turned = "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u2764\ufe0f", "a\u202eb\u2066c\u200f"
    shown = text(checkout(LineItem("X", f"{family} {heart} {turned}", 1, 1)))
    assert "\U0001f468\U0001f469\U0001f467 \u2764 abc\n" in shown


MINOR = st.integers(0, 10**15)
TEXTS = st.text(max_size=128) | st.text(
    "ab \u0301\u200d\ufe0f\u202e\u0e33\u05d0\u0661\u4e2d\uac00\u1100\u1161👩🏽🇩", max_size=128
)
ADJUSTMENTS = st.builds(Adjustment, st.text("AZ_", min_size=1, max_size=32), TEXTS, st.integers(-(10**15), 10**15))
ITEMS = st.builds(
    LineItem,
    st.text(min_size=1, max_size=64),
    TEXTS,
    MINOR,
    MINOR,
    unit=st.sampled_from(Unit),
    price_quantity=st.integers(1, 10**15),
    tax_code=st.text(max_size=16, alphabet="Aa.-"),
    tax_rate_ppm=st.integers(0, 1_000_000),
    label_amount_minor=MINOR,
    adjustments=st.lists(ADJUSTMENTS, max_size=3).map(tuple),
    note=TEXTS,
)
NAMES = st.text(min_size=1, max_size=64, alphabet="Aa.-")


@given(
    st.lists(ITEMS, max_size=4),
    NAMES,
    TEXTS,
    st.booleans(),
    st.sampled_from(KINDS),
    st.sampled_from([32, 42, 48]),
    st.sampled_from(["en", "de", "fr", "ja", "pl"]),
)
def test_no_line_is_wider_than_the_paper_and_none_steers_it(
    items: list[LineItem], name: str, words: str, included: bool, kind: Kind, columns: int, language: str
) -> None:
    sold = checkout(*items, currency="BHD", prices_include_tax=included)
    paid = replace(sold, payer=identity(words), paid_by=name, origin=Origin(name, name, words))
    back = replace(
        refund(10**15, *items, taxes=paid.totals.taxes, currency="BHD"), refund_id=name, note=words, payer=paid.payer
    )
    store = StoreRecord(name, words, (words,), words)
    till = replace(TILL, terminal_id=name)
    shown = text(
        paid, [back], kind=kind, till=till, store=store, exchanged=back, columns=columns, language=language
    )  # fmt: skip
    assert shown.endswith("\n")
    for line in shown.removesuffix("\n").split("\n"):
        assert width(line) <= columns
        assert 0 <= wcswidth(line) <= columns
        assert line.isprintable()
        assert not any(unicodedata.bidirectional(mark) in ("LRE", "RLE", "LRO", "RLO", "PDF", "BN") for mark in line)


@pytest.mark.parametrize("title", ["日本茶" * 85, "日本茶 " * 64, "é" * 256])
def test_a_receipt_measures_each_letter_thrice_at_most(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = 0
    width_of = receipts._width_of

    def counted(mark: str) -> int:
        nonlocal measured
        measured += 1
        return width_of(mark)

    monkeypatch.setattr(receipts, "_width_of", counted)
    shown = text(checkout(*[LineItem("TEA", title, 1, 125)] * 60))
    assert shown.count(title[0]) >= 60 * title.count(title[0])
    assert 0 < measured <= 3 * 60 * (len(title) + len("1 × 1.25"))


def test_a_receipt_says_that_it_does_not_show_every_refund() -> None:
    assert "Earlier refunds are not shown" not in text(checkout(TEA), [refund(1)])
    shown = text(checkout(TEA), [refund(1)], has_earlier_refunds=True)
    assert shown.index("Earlier refunds are not shown\n") < shown.index("REFUND GBP")
