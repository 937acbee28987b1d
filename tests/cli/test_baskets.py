"""How an invoice's rows become a basket in which nothing is negative."""

from hypothesis import given
from hypothesis import strategies as st

from tillmesh.cli.replay.baskets import basket
from tillmesh.cli.replay.invoices import InvoiceLine
from tillmesh.lines import Adjustment, totals

ROWS = st.lists(
    st.builds(
        InvoiceLine,
        sku=st.sampled_from(["A", "B", "D"]),
        title=st.text(max_size=4),
        quantity=st.integers(-50, 50).filter(bool),
        unit_price_minor=st.integers(-9, 99),
    ),
    min_size=1,
    max_size=12,
).filter(lambda rows: sum(row.amount_minor for row in rows) > 0)


@given(ROWS)
def test_a_basket_comes_to_exactly_what_the_rows_do_and_no_line_is_negative(rows: list[InvoiceLine]) -> None:
    lines = basket(rows)
    amount_minor = sum(row.amount_minor for row in rows)
    assert totals(lines, prices_include_tax=True).amount_minor == amount_minor
    assert sum(line.amount_minor for line in lines) == amount_minor
    for line in lines:
        assert line.quantity > 0
        assert line.unit_price_minor >= 0
        assert line.amount_minor >= 0
        assert len(line.adjustments) <= 1


def test_rows_below_zero_are_one_discount_spread_over_the_others_by_amount() -> None:
    rows = [
        InvoiceLine("MUG", "Mug", 2, 450),
        InvoiceLine("D", "Discount", -1, 500),
        InvoiceLine("TEA", "Tea", 1, 300),
        InvoiceLine("FREE", "Gift", 1, 0),
        InvoiceLine("D", "Staff", 1, -100),
    ]
    mug, tea, gift = basket(rows)
    assert (mug.sku, mug.quantity, mug.unit_price_minor, mug.amount_minor) == ("MUG", 2, 450, 450)
    assert mug.adjustments == (Adjustment("DISCOUNT", "Discount, Staff", -450),)
    assert tea.adjustments == (Adjustment("DISCOUNT", "Discount, Staff", -150),)
    assert (gift.sku, gift.amount_minor, gift.adjustments) == ("FREE", 0, ())


def test_a_row_that_is_negative_twice_is_sold_and_one_that_is_worth_nothing_is_left_out() -> None:
    lines = basket([InvoiceLine("A", "", -2, -30), InvoiceLine("GONE", "", -5, 0)])
    assert [(line.sku, line.quantity, line.unit_price_minor) for line in lines] == [("A", 2, 30)]
