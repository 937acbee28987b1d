"""What lines come to, and which lines make no order."""

from typing import Any

import pytest

from tests.orders.shop import Shop, acting, line, refused_fields
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.type.v1.line_item_pb2 import Adjustment, LineItem, PriceOverride
from tillmesh.api.type.v1.tax_total_pb2 import TaxTotal
from tillmesh.lines import LINES_MAX
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import MINOR_UNITS_MAX

GRAM, MILLILITER = LineItem.UNIT_GRAM, LineItem.UNIT_MILLILITER
LABEL, OVERRIDE = LineItem.PRICE_SOURCE_LABEL, LineItem.PRICE_SOURCE_OVERRIDE
KILOGRAM: dict[str, Any] = {"unit": GRAM, "price_quantity": 1000}
GTIN = "04006381333931"


def due(record: order_pb2.Order | order_pb2.OrderVersion) -> int:
    return record.amount.minor_units


def taxed(sku: str, quantity: int, minor: int, code: str, rate_ppm: int) -> LineItem:
    return line(sku, quantity, minor, tax_code=code, tax_rate_ppm=rate_ppm)


async def test_taxes_on_top_are_rounded_once_over_all_lines_of_a_rate(shop: Shop) -> None:
    """By hand: (4 x 1.48 + 1.52 + 1.54 + 0.39) = 9.37, and 21 % of that is 1.9677."""
    basket = [(4, 148), (1, 152), (1, 154), (1, 39)]
    lines = [taxed(f"sku-{number}", quantity, minor, "S", 210_000) for number, (quantity, minor) in enumerate(basket)]
    order = await shop.create(lines=lines, prices_include_tax=False)
    assert due(order) == 1134
    taxes = [TaxTotal(tax_code="S", tax_rate_ppm=210_000, net_minor=937, tax_minor=197, gross_minor=1134)]
    assert list(order.taxes) == taxes
    assert await shop.order() == order
    assert list((await shop.version(1)).taxes) == taxes


async def test_taxes_that_are_included_change_no_amount(shop: Shop) -> None:
    """By hand: 28.90 has 28.90 x 22 / 122 = 5.2114 of tax, 1.25 has 1.25 x 10 / 110 = 0.1136."""
    lines = [taxed("SHIRT", 1, 2890, "S", 220_000), taxed("BREAD", 1, 125, "R", 100_000)]
    order = await shop.create(lines=lines, prices_include_tax=True)
    assert (order.prices_include_tax, due(order)) == (True, 3015)
    assert list(order.taxes) == [
        TaxTotal(tax_code="R", tax_rate_ppm=100_000, net_minor=114, tax_minor=11, gross_minor=125),
        TaxTotal(tax_code="S", tax_rate_ppm=220_000, net_minor=2369, tax_minor=521, gross_minor=2890),
    ]
    assert await shop.order() == order


@pytest.mark.parametrize("prices_include_tax", [True, False])
async def test_a_change_of_lines_reckons_taxes_as_the_order_was_raised(shop: Shop, prices_include_tax: bool) -> None:
    await shop.create(prices_include_tax=prices_include_tax)
    order = await shop.replace_lines(1, [taxed("SHIRT", 1, 1000, "S", 200_000)])
    assert order.prices_include_tax is prices_include_tax
    assert due(order) == (1000 if prices_include_tax else 1200)


async def test_a_note_stays_with_the_version_that_it_was_written_for(shop: Shop) -> None:
    await shop.create(lines=[line("SOUP", 1, 500, note="no onions"), line("TEA", 2, 125)])
    changed = await shop.replace_lines(1, [line("SOUP", 1, 500), line("TEA", 2, 125, note="x" * 128)])
    assert [each.note for each in changed.lines] == ["", "x" * 128]
    assert [each.note for each in (await shop.order()).lines] == ["", "x" * 128]
    assert [each.note for each in (await shop.version(1)).lines] == ["no onions", ""]
    assert await refused_fields(shop.replace_lines(2, [line("TEA", 1, 125, note="x" * 129)])) == ["lines[0].note"]


async def test_what_is_due_is_what_a_payment_locks(shop: Shop) -> None:
    await shop.create(lines=[taxed("SHIRT", 1, 1000, "S", 200_000)])
    assert (await shop.lock("net", minor=1000)).reason == "AMOUNT_MISMATCH"
    assert (await shop.lock("gross", minor=1200)).epoch == 1


@pytest.mark.parametrize(
    ("sold", "amount"),
    [
        (line("HAM", 432, 1290, **KILOGRAM, amount_minor=557), 557),  # 5.57280
        (line("FUEL", 41_870, 1799, unit=MILLILITER, price_quantity=10_000, amount_minor=7532), 7532),  # 75.32413
        (line("HALF", 1, 5, unit=GRAM, price_quantity=10, amount_minor=1), 1),  # 0.5, away from zero
        (line("FISH", 1, 0, price_source=LABEL, label_amount_minor=389, amount_minor=389), 389),
        (line("EEL", 432, 900, **KILOGRAM, price_source=LABEL, label_amount_minor=390, amount_minor=390), 390),
    ],
)
async def test_goods_by_weight_volume_and_label_have_the_amount_of_the_contract(
    shop: Shop, sold: LineItem, amount: int
) -> None:
    order = await shop.create(lines=[sold])
    assert list(order.lines) == [sold]
    assert due(order) == amount
    assert await shop.order() == order


async def test_what_a_line_may_leave_out_is_filled_in(shop: Shop) -> None:
    piece = LineItem(sku="MUG", quantity=2, unit_price_minor=600)
    weighed = LineItem(sku="HAM", quantity=432, unit_price_minor=1290, unit=GRAM)
    order = await shop.create(lines=[piece, weighed])
    assert list(order.lines) == [line("MUG", 2, 600), line("HAM", 432, 1290, **KILOGRAM, amount_minor=557)]


async def test_a_discount_is_kept_with_its_reason(shop: Shop) -> None:
    coupon = Adjustment(reason_code="COUPON", text="Ten off", amount_minor=-10)
    sold = line("MUG", 1, 600, adjustments=[coupon], amount_minor=590)
    order = await shop.create(lines=[sold])
    assert (list(order.lines), due(order)) == ([sold], 590)
    assert await shop.order() == order


SET_AT_LANE = PriceOverride(reason="dented", actor="spiffe://tillmesh/device/store-1/l1", catalogue_price_minor=600)
PLATFORM = "spiffe://tillmesh/platform/shop-app"


@pytest.mark.parametrize(
    ("uri", "setter"),
    [
        ("spiffe://tillmesh/terminal/store-1/t1", SET_AT_LANE.actor),
        (PLATFORM, PLATFORM),
        ("", SET_AT_LANE.actor),
    ],
)
async def test_another_price_is_kept_with_who_set_it(shop: Shop, uri: str, setter: str) -> None:
    sold = line("MUG", 1, 500, price_source=OVERRIDE, price_override=SET_AT_LANE)
    with acting(uri):
        created = await shop.create(lines=[sold])
        replaced = await shop.replace_lines(1, [sold])
    for order in (created, replaced, await shop.order()):
        override = order.lines[0].price_override
        assert (override.reason, override.actor, override.catalogue_price_minor) == ("dented", setter, 600)


# Lines that are refused.


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ([], "lines"),
        ([line("TEA", 1, 1)] * (LINES_MAX + 1), "lines"),
        ([line("TEA", 1, MINOR_UNITS_MAX), line("TEA", 1, 1)], "lines"),
        ([taxed("TEA", 1, MINOR_UNITS_MAX, "S", 1)], "lines"),
        ([line("TEA", 1, MINOR_UNITS_MAX + 1)], "lines[0].unit_price_minor"),
        ([LineItem(sku="TEA", quantity=2**63 - 1, unit_price_minor=2**63 - 1)], "lines[0].quantity"),
        ([LineItem(sku="TEA", quantity=10**8, unit_price_minor=10**8)], "lines[0]"),
        ([LineItem(sku="TEA", quantity=0, unit_price_minor=1)], "lines[0].quantity"),
        ([LineItem(sku="TEA", quantity=-1, unit_price_minor=1)], "lines[0].quantity"),
        ([LineItem(sku="TEA", quantity=-(2**63), unit_price_minor=1)], "lines[0].quantity"),
        ([LineItem(sku="TEA", quantity=1, unit_price_minor=-1)], "lines[0].unit_price_minor"),
        ([LineItem(sku="TEA", quantity=1, unit_price_minor=1, price_quantity=-1)], "lines[0].price_quantity"),
        ([line("TEA", 1, 0, price_source=LABEL, label_amount_minor=-1)], "lines[0].label_amount_minor"),
        ([line("TEA", 1, 1, label_amount_minor=1)], "lines[0].label_amount_minor"),
        ([line("TEA", 1, 1, amount_minor=2)], "lines[0].amount_minor"),
        (
            [line("TEA", 1, 1), line("OFF", 1, 1, adjustments=[Adjustment(reason_code="X", amount_minor=-2)])],
            "lines[1]",
        ),
        ([line("TEA", 1, 1, gtin=GTIN[:-1] + "2")], "lines[0].gtin"),
        ([line("TEA", 1, 1, gtin=GTIN[1:])], "lines[0].gtin"),
        ([line("TEA", 1, 1, tax_rate_ppm=-1)], "lines[0].tax_rate_ppm"),
        ([line("TEA", 1, 1, tax_code="a b")], "lines[0].tax_code"),
        ([line("x" * 65, 1, 1)], "lines[0].sku"),
        ([line("TEA", 1, 1, unit=9)], "lines[0].unit"),
        ([line("TEA", 1, 1, price_override=PriceOverride(reason="x"))], "lines[0].price_override"),
    ],
)
async def test_lines_that_make_no_order_are_refused(shop: Shop, lines: list[LineItem], field: str) -> None:
    await shop.create()
    assert field in await refused_fields(shop.create("o-2", lines))
    assert field in await refused_fields(shop.replace_lines(1, lines))
    assert await shop.events() == ["CREATED"]


async def test_a_good_gtin_is_kept(shop: Shop) -> None:
    order = await shop.create(lines=[line("PEN", 1, 1, gtin=GTIN)])
    assert order.lines[0].gtin == GTIN


async def test_the_largest_order_there_may_be_is_an_order(shop: Shop) -> None:
    lines = [line("GOLD", 1, MINOR_UNITS_MAX), *[line("GIFT", 1, 0)] * (LINES_MAX - 1)]
    order = await shop.create(lines=lines)
    assert due(order) == MINOR_UNITS_MAX
    assert await shop.order() == order


async def test_an_amount_that_is_too_large_only_with_its_taxes_is_refused_once_and_for_all(shop: Shop) -> None:
    await shop.create()
    lines = [taxed("GOLD", 1, MINOR_UNITS_MAX, "S", 1)]
    for _ in range(2):
        with pytest.raises(Refusal, match=f"lines must come to at most {MINOR_UNITS_MAX}"):
            await shop.replace_lines(1, lines, request_id="r-1")
