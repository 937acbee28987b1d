"""How a return finds the sales it gives back from: never more than was sold, and never another amount."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillmesh.cli.replay.invoices import Invoice, InvoiceLine
from tillmesh.cli.replay.returns import Purchase, ReturnPlan, plan_return

SKUS = st.sampled_from(["A", "a", "B"])
PRICES = st.integers(0, 4)


def lines(
    quantities: st.SearchStrategy[int], prices: st.SearchStrategy[int]
) -> st.SearchStrategy[tuple[InvoiceLine, ...]]:
    line = st.builds(
        InvoiceLine, sku=SKUS, title=st.just(""), quantity=quantities.filter(bool), unit_price_minor=prices
    )
    return st.lists(line, min_size=1, max_size=5).map(tuple)


def invoice(*rows: InvoiceLine) -> Invoice:
    return Invoice("C1", 2, "17850", rows)


def sold(checkout_id: str, *rows: InvoiceLine) -> Purchase:
    return Purchase.of(checkout_id, sum(row.amount_minor for row in rows), rows)


def given_minor(plan: ReturnPlan) -> int:
    return sum(part.amount_minor for part in plan.parts) + sum(line.amount_minor for line in plan.rest)


SALES = st.lists(lines(st.integers(-2, 6), PRICES).filter(lambda rows: sum(r.amount_minor for r in rows) > 0))
RETURNS = st.lists(
    lines(st.integers(-6, 1), st.integers(-1, 4)).filter(lambda rows: sum(r.amount_minor for r in rows) < 0)
)


@given(SALES, RETURNS)
def test_returns_never_exceed_the_sales_and_keep_their_exact_total(
    sales: list[tuple[InvoiceLine, ...]], returns: list[tuple[InvoiceLine, ...]]
) -> None:
    purchases = [sold(str(number), *rows) for number, rows in enumerate(sales)]
    money: Counter[str] = Counter()
    pieces: Counter[tuple[str, str]] = Counter()
    for rows in returns:
        plan = plan_return(invoice(*rows), purchases)
        assert given_minor(plan) == -sum(row.amount_minor for row in rows)
        given_back = [line for part in plan.parts for line in part.lines] + plan.rest
        assert all(line.quantity > 0 for line in given_back)
        assert {line.sku for line in given_back} <= {row.sku for row in rows}
        assert all(part.amount_minor > 0 for part in plan.parts)
        assert not plan.rest or sum(line.amount_minor for line in plan.rest) > 0
        for part in plan.parts:
            money[part.purchase.checkout_id] += part.amount_minor
            for line in part.lines:
                if line.unit_price_minor > 0:
                    pieces[part.purchase.checkout_id, line.sku] += line.quantity
    for number, rows in enumerate(sales):
        assert money[str(number)] <= sum(row.amount_minor for row in rows)
        for sku in ("A", "a", "B"):
            assert pieces[str(number), sku] <= sum(row.quantity for row in rows if row.sku == sku and row.quantity > 0)


def test_a_row_is_split_over_the_oldest_sales() -> None:
    purchases = [sold("first", InvoiceLine("A", "", 2, 500)), sold("second", InvoiceLine("A", "", 9, 400))]
    plan = plan_return(invoice(InvoiceLine("A", "", -3, 400)), purchases)
    assert [(part.purchase.checkout_id, part.amount_minor) for part in plan.parts] == [("first", 800), ("second", 400)]
    assert plan.rest == []


@pytest.mark.parametrize(
    "row",
    [
        InvoiceLine("A", "", -4, 100),  # more than was sold
        InvoiceLine("a", "", -1, 100),  # another article: codes are compared exactly
        InvoiceLine("A", "", -1, 101),  # dearer than it was sold
    ],
)
def test_a_row_that_is_not_covered_in_full_is_not_covered(row: InvoiceLine) -> None:
    purchases = [sold("first", InvoiceLine("A", "", 3, 100))]
    plan = plan_return(invoice(row), purchases)
    assert plan.parts == []
    assert given_minor(plan) == -row.amount_minor
    again = plan_return(invoice(InvoiceLine("A", "", -3, 100)), purchases)
    assert [part.amount_minor for part in again.parts] == [300], "what was not covered took nothing"


def test_a_discounted_sale_gives_back_no_more_than_was_paid() -> None:
    purchases = [sold("first", InvoiceLine("A", "", 3, 100), InvoiceLine("D", "", -1, 150))]
    plan = plan_return(invoice(InvoiceLine("A", "", -2, 100)), purchases)
    assert (plan.parts, [line.amount_minor for line in plan.rest]) == ([], [200])


def test_rows_of_both_signs_are_returned_as_a_whole() -> None:
    purchases = [sold("first", InvoiceLine("A", "", 3, 100))]
    mixed = invoice(InvoiceLine("A", "", -3, 100), InvoiceLine("B", "", 1, 50))
    plan = plan_return(mixed, purchases)
    assert plan.parts == []
    assert [(line.quantity, line.unit_price_minor) for line in plan.rest] == [(3, 100), (1, -50)]
    assert plan_return(invoice(InvoiceLine("A", "", -3, 100)), purchases).rest == [], "the whole sale is still there"
