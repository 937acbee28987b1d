"""What holds of lines, whatever is bought and however it comes back."""

from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.goods.baskets import PRICE_MAX, adjustments, baskets
from tillmesh.lines import Adjustment, Kind, LineItem, TaxTotal, limited, returned, spread, totals

SOME_AMOUNT = adjustments(st.integers(-PRICE_MAX, PRICE_MAX))


def amount_of(lines: list[LineItem]) -> int:
    return sum(line.amount_minor for line in lines)


@given(baskets(), st.booleans())
def test_what_is_due_is_the_sum_of_all_taxes_with_what_has_none(lines: list[LineItem], included: bool) -> None:
    total = totals(lines, prices_include_tax=included)
    untaxed = sum(line.amount_minor for line in lines if not line.tax_code and not line.tax_rate_ppm)
    assert total.amount_minor == untaxed + sum(tax.gross_minor for tax in total.taxes)
    assert all(tax.net_minor >= 0 and tax.tax_minor >= 0 for tax in total.taxes)
    assert len({(tax.tax_code, tax.tax_rate_ppm) for tax in total.taxes}) == len(total.taxes)


@given(baskets())
def test_included_taxes_take_nothing_and_others_come_on_top(lines: list[LineItem]) -> None:
    included, on_top = (totals(lines, prices_include_tax=each) for each in (True, False))
    assert included.amount_minor == amount_of(lines)
    assert on_top.amount_minor == amount_of(lines) + sum(tax.tax_minor for tax in on_top.taxes)


@given(baskets(), st.booleans(), st.randoms(use_true_random=False))
def test_the_order_of_the_lines_does_not_matter(lines: list[LineItem], included: bool, rng: object) -> None:
    shuffled = list(lines)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    assert totals(shuffled, prices_include_tax=included) == totals(lines, prices_include_tax=included)


@given(baskets(), SOME_AMOUNT)
def test_a_spread_discount_is_exact_and_makes_no_line_negative(lines: list[LineItem], whole: Adjustment) -> None:
    goods = [line.amount_minor for line in lines if line.kind is Kind.GOODS]
    assume(sum(goods) > 0 and -whole.amount_minor <= sum(goods))
    changed = spread(lines, whole)
    assert amount_of(list(changed)) == amount_of(lines) + whole.amount_minor
    assert all(line.amount_minor >= 0 for line in changed)
    assert all(after == before for before, after in zip(lines, changed, strict=True) if before.kind is not Kind.GOODS)
    for before, after in zip(lines, changed, strict=True):
        exact = whole.amount_minor * before.amount_minor / sum(goods) if before.kind is Kind.GOODS else 0
        assert abs(after.amount_minor - before.amount_minor - exact) < 1.001


def take_some(data: st.DataObject, left: list[int]) -> dict[int, int]:
    """Quantities of lines that come back together, of what is left."""
    positions = [index for index, quantity in enumerate(left) if quantity]
    chosen = data.draw(st.lists(st.sampled_from(positions), unique=True, min_size=1), "positions")
    # Often all of a line, or it would come back gram by gram.
    quantities = {index: st.just(left[index]) | st.integers(1, left[index]) for index in chosen}
    return data.draw(st.fixed_dictionaries(quantities), "quantities")


@given(baskets(4), st.booleans(), st.data())
def test_however_lines_come_back_all_of_them_are_what_was_due(
    lines: list[LineItem], included: bool, data: st.DataObject
) -> None:
    left, due = [line.quantity for line in lines], totals(lines, prices_include_tax=included)
    given_back, by_line, by_tax = 0, Counter[int](), Counter[tuple[str, int, str]]()
    while any(left):
        some = take_some(data, left)
        back = returned(lines, left, some, prices_include_tax=included)
        assert back.amount_minor >= 0
        assert back.line_amounts.keys() == some.keys()
        assert all(amount >= 0 for amount in back.line_amounts.values())
        assert all(tax.net_minor >= 0 and tax.tax_minor >= 0 for tax in back.taxes)
        given_back += back.amount_minor
        by_line.update(back.line_amounts)
        by_tax.update(parts(back.taxes))
        left = [has - some.get(index, 0) for index, has in enumerate(left)]
    assert given_back == due.amount_minor
    assert [by_line[index] for index in range(len(lines))] == [line.amount_minor for line in lines]
    assert +by_tax == +Counter(parts(due.taxes))


def parts(taxes: tuple[TaxTotal, ...]) -> dict[tuple[str, int, str], int]:
    """Net and tax of each tax."""
    net = {(tax.tax_code, tax.tax_rate_ppm, "net"): tax.net_minor for tax in taxes}
    return net | {(tax.tax_code, tax.tax_rate_ppm, "tax"): tax.tax_minor for tax in taxes}


@given(baskets(4), st.booleans(), st.data())
def test_a_refund_at_once_is_worth_what_the_same_lines_are_worth_one_by_one(
    lines: list[LineItem], included: bool, data: st.DataObject
) -> None:
    """Two terminals that take turns give back what one gives back."""
    left = [line.quantity for line in lines]
    together = take_some(data, left)
    at_once = returned(lines, left, together, prices_include_tax=included).amount_minor
    one_by_one = 0
    for index in data.draw(st.permutations(sorted(together)), "order"):
        one_by_one += returned(lines, left, {index: together[index]}, prices_include_tax=included).amount_minor
        left[index] -= together[index]
    assert one_by_one == at_once


@given(lines=baskets(), included=st.booleans(), data=st.data())
def test_the_parts_of_a_smaller_refund_add_up_to_it(lines: list[LineItem], included: bool, data: st.DataObject) -> None:
    left = [line.quantity for line in lines]
    worth = returned(lines, left, take_some(data, left), prices_include_tax=included)
    assume(worth.amount_minor)
    amount = data.draw(st.integers(0, worth.amount_minor - 1))
    back = limited(lines, worth, amount, prices_include_tax=included)
    on_top = 0 if included else sum(tax.tax_minor for tax in back.taxes)
    assert back.amount_minor == sum(back.line_amounts.values()) + on_top == amount
    for whole, tax in zip(worth.taxes, back.taxes, strict=True):
        of_tax = [part for index, part in back.line_amounts.items() if known(lines[index]) == known(tax)]
        assert sum(of_tax) == (tax.gross_minor if included else tax.net_minor)
        assert abs(tax.gross_minor * worth.amount_minor - whole.gross_minor * amount) < worth.amount_minor
        assert 0 <= tax.tax_minor <= whole.tax_minor
    assert all(0 <= part <= worth.line_amounts[index] for index, part in back.line_amounts.items())


def known(taxed: LineItem | TaxTotal) -> tuple[str, int]:
    return taxed.tax_code, taxed.tax_rate_ppm
