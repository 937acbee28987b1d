"""What lines come to, by figures that were worked out by hand."""

import pytest

from tillmesh.lines import (
    Adjustment,
    Kind,
    LineItem,
    PriceSource,
    Returned,
    TaxTotal,
    Totals,
    Uneven,
    Unit,
    adjusted,
    default_price_quantity,
    divided,
    limited,
    returned,
    spread,
    totals,
)


def piece(price: int, quantity: int = 1, rate: int = 0, code: str = "", kind: Kind = Kind.GOODS) -> LineItem:
    return LineItem("SKU", "", quantity, price, kind=kind, tax_code=code, tax_rate_ppm=rate)


def off(amount: int) -> Adjustment:
    return Adjustment("COUPON", "", amount)


@pytest.mark.parametrize(
    ("numerator", "denominator", "quotient"),
    [
        (0, 7, 0), (4, 10, 0), (5, 10, 1), (15, 10, 2), (25, 10, 3), (14, 10, 1), (1, 2, 1), (1, 3, 0), (2, 3, 1),
        (-4, 10, 0), (-5, 10, -1), (-15, 10, -2), (-25, 10, -3), (10**30 + 1, 2, 5 * 10**29 + 1),
    ],
)  # fmt: skip
def test_a_half_is_rounded_away_from_zero(numerator: int, denominator: int, quotient: int) -> None:
    assert divided(numerator, denominator) == quotient


# One line


@pytest.mark.parametrize(
    ("line", "amount"),
    [
        (piece(148, quantity=4), 592),
        (LineItem("BRIE", "", 432, 1290, unit=Unit.GRAM, price_quantity=1_000), 557),  # 5.5728
        (LineItem("FUEL", "", 37_420, 1_799, unit=Unit.MILLILITER, price_quantity=10_000), 6_732),  # 67.31858
        (LineItem("CABLE", "", 2_500, 99, unit=Unit.MILLIMETER, price_quantity=1_000), 248),  # 2.475
        (LineItem("EGG", "", 10, 199, price_quantity=6), 332),  # six for 1.99: 3.31666
        (LineItem("GIFT", "", 3, 0), 0),
    ],
)
def test_a_line_is_quantity_times_price_rounded_once(line: LineItem, amount: int) -> None:
    assert line.amount_minor == line.price_minor == amount


@pytest.mark.parametrize(("quantity", "unit"), [(1, Unit.PIECE), (432, Unit.GRAM), (99, Unit.PIECE)])
def test_what_a_label_says_counts_whatever_the_scale_would_say(quantity: int, unit: Unit) -> None:
    line = LineItem("BRIE", "", quantity, 1290, unit=unit, price_source=PriceSource.LABEL, label_amount_minor=558)
    assert line.amount_minor == 558
    assert totals([line] * 99, prices_include_tax=True).amount_minor == 55_242


def test_adjustments_are_added_up() -> None:
    line = adjusted(adjusted(piece(500, quantity=2), off(-150)), Adjustment("BAG", "", 20))
    assert (line.price_minor, line.amount_minor) == (1_000, 870)
    assert [each.amount_minor for each in line.adjustments] == [-150, 20]


def test_no_adjustment_makes_a_line_negative() -> None:
    assert adjusted(piece(500), off(-500)).amount_minor == 0
    with pytest.raises(Uneven):
        adjusted(piece(500), off(-501))


def test_a_price_is_for_a_piece_a_kilogram_a_litre_or_a_metre() -> None:
    assert {unit: default_price_quantity(unit) for unit in Unit} == {
        Unit.PIECE: 1,
        Unit.GRAM: 1_000,
        Unit.MILLILITER: 1_000,
        Unit.MILLIMETER: 1_000,
    }


# Taxes


def test_a_tax_on_top_is_rounded_once_over_the_order() -> None:
    lines = [piece(148, quantity=4, rate=210_000), *(piece(price, rate=210_000) for price in (152, 154, 39))]
    assert totals(lines, prices_include_tax=False) == Totals(1_134, (TaxTotal("", 210_000, 937, 197),))


def test_taxes_that_are_included_change_nothing_of_what_is_due() -> None:
    lines = [piece(2_890, rate=220_000, code="S"), piece(125, rate=100_000, code="R")]
    assert totals(lines, prices_include_tax=True) == Totals(
        3_015, (TaxTotal("R", 100_000, 114, 11), TaxTotal("S", 220_000, 2_369, 521))
    )


def test_a_rate_may_have_three_decimals() -> None:
    assert totals([piece(1_000, rate=88_750)], prices_include_tax=False).taxes[0].tax_minor == 89  # 0.8875


def test_a_tax_is_not_rounded_line_by_line() -> None:
    """Three times 0.5 of a penny would be three pennies; together it is 1.5."""
    three = totals([piece(5, rate=100_000)] * 3, prices_include_tax=False)
    assert (three.amount_minor, three.taxes[0].tax_minor) == (17, 2)


def test_one_rate_under_two_codes_is_two_taxes_and_no_tax_is_none() -> None:
    lines = [piece(5, rate=100_000, code="A"), piece(5, rate=100_000, code="B"), piece(7), piece(9, code="Z")]
    total = totals(lines, prices_include_tax=False)
    assert total.taxes == (TaxTotal("A", 100_000, 5, 1), TaxTotal("B", 100_000, 5, 1), TaxTotal("Z", 0, 9, 0))
    assert total.amount_minor == 6 + 6 + 7 + 9


def test_nothing_comes_to_nothing() -> None:
    assert totals([], prices_include_tax=True) == Totals(0, ())
    assert totals([piece(0, rate=200_000)], prices_include_tax=False) == Totals(0, (TaxTotal("", 200_000, 0, 0),))


# A discount of the whole basket


@pytest.mark.parametrize(
    ("prices", "discount", "shares"),
    [
        ([333, 333, 334], 100, [33, 33, 34]),  # 33.3, 33.3, 33.4: the largest remainder
        ([100, 100, 100], 100, [34, 33, 33]),  # a tie: the earlier line
        ([100, 100, 100], 2, [1, 1, 0]),
        ([1, 1, 998], 1, [0, 0, 1]),
        ([700, 0, 300], 10, [7, 0, 3]),
        ([500, 300], 800, [500, 300]),
    ],
)
def test_a_basket_discount_is_spread_by_amount(prices: list[int], discount: int, shares: list[int]) -> None:
    lines = spread([piece(price) for price in prices], off(-discount))
    assert [price - line.amount_minor for price, line in zip(prices, lines, strict=True)] == shares
    assert [len(line.adjustments) for line in lines] == [bool(share) for share in shares]
    assert {each.reason_code for line in lines for each in line.adjustments} == {"COUPON"}


def test_a_surcharge_is_spread_alike() -> None:
    assert [line.amount_minor for line in spread([piece(100), piece(200)], off(10))] == [103, 207]


def test_only_goods_are_discounted() -> None:
    others = [piece(1_000, kind=kind) for kind in Kind if kind is not Kind.GOODS]
    lines = spread([others[0], piece(100), *others[1:], piece(100)], off(-150))
    assert [line.amount_minor for line in lines] == [1_000, 25, 1_000, 1_000, 25]


@pytest.mark.parametrize(
    ("lines", "amount"),
    [
        ([piece(100), piece(50)], -151),
        ([piece(100), piece(1_000, kind=Kind.TIP)], -101),
        ([piece(1_000, kind=Kind.DEPOSIT)], -1),
        ([piece(0)], -1),
        ([piece(0)], 1),
        ([], 1),
    ],
)
def test_what_cannot_be_spread_is_refused(lines: list[LineItem], amount: int) -> None:
    with pytest.raises(Uneven):
        spread(lines, off(amount))


# What comes back


def test_pieces_of_one_line_come_back_to_the_penny() -> None:
    """Three for 1.00: 0.33, 0.34 and 0.33."""
    line = LineItem("EGG", "", 3, 100, price_quantity=3)
    back = [returned([line], [left], {0: 1}, prices_include_tax=True).amount_minor for left in (3, 2, 1)]
    assert back == [33, 34, 33]
    assert returned([line], [3], {0: 2}, prices_include_tax=True).amount_minor == 67
    assert returned([line], [3], {0: 3}, prices_include_tax=True).amount_minor == 100


def test_what_comes_back_has_its_discount_and_its_tax() -> None:
    tea, mug = adjusted(piece(300, quantity=2, rate=200_000, code="S"), off(-100)), piece(650, rate=50_000, code="R")
    assert totals([tea, mug], prices_include_tax=False).amount_minor == 600 + 683  # 5.00 + 20 %; 6.50 + 5 % is 6.825
    back = returned([tea, mug], [2, 1], {0: 1}, prices_include_tax=False)
    assert (back.amount_minor, back.taxes, back.line_amounts) == (300, (TaxTotal("S", 200_000, 250, 50),), {0: 250})
    rest = returned([tea, mug], [1, 1], {0: 1, 1: 1}, prices_include_tax=False)
    assert rest.amount_minor == 300 + 683
    assert rest.line_amounts == {0: 250, 1: 650}
    assert {tax.tax_code: tax.gross_minor for tax in rest.taxes} == {"S": 300, "R": 683}


def test_where_less_is_given_back_its_parts_are_less_in_proportion() -> None:
    """12.00 with 2.00 of tax, of which 11.00 were given back before."""
    lines = [piece(1200, rate=200_000, code="S")]
    worth = returned(lines, [1], {0: 1}, prices_include_tax=True)
    assert worth.taxes == (TaxTotal("S", 200_000, 1000, 200),)
    back = limited(lines, worth, 100, prices_include_tax=True)
    assert (back.amount_minor, back.taxes, back.line_amounts) == (100, (TaxTotal("S", 200_000, 83, 17),), {0: 100})
    assert limited(lines, worth, 0, prices_include_tax=True) == Returned(0, (TaxTotal("S", 200_000, 0, 0),), {0: 0})


def test_the_lines_of_less_add_up_to_it() -> None:
    """Three of 3.33, of which 5.00 were given back before."""
    lines = [piece(333)] * 3
    worth = returned(lines, [1, 1, 1], {0: 1, 1: 1, 2: 1}, prices_include_tax=True)
    assert limited(lines, worth, 499, prices_include_tax=True).line_amounts == {0: 167, 1: 166, 2: 166}


def test_part_of_a_line_may_be_worth_nothing() -> None:
    """One gram of 0.432 kg that cost 0.02."""
    line = LineItem("SALT", "", 432, 2, unit=Unit.GRAM, price_quantity=432)
    assert returned([line], [432], {0: 1}, prices_include_tax=True).amount_minor == 0
    assert returned([line], [431], {0: 431}, prices_include_tax=True).amount_minor == 2


def test_a_label_comes_back_by_its_weight() -> None:
    line = LineItem("BRIE", "", 400, 0, unit=Unit.GRAM)._replace(price_source=PriceSource.LABEL, label_amount_minor=558)
    assert returned([line], [400], {0: 100}, prices_include_tax=True).amount_minor == 139  # 418.5 are left, rounded up
