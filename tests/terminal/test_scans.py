"""ScanItem: what becomes of a code in a checkout."""

import re

import pytest
from stdnum import ean

from tests.terminal.scans import EAN, FNC1, GTIN, OTHER_EAN, PRICE_RULE, WEIGHT_RULE, Rule, Scanner, says
from tests.terminal.test_catalogue import bottled, item
from tests.terminal.till import gbp, skus
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.errors import Refusal

WIRE = line_item_pb2.LineItem


async def test_a_scanned_article_is_a_line_with_its_catalogue_price(scanner: Scanner) -> None:
    await scanner.sells(item("TUNA", 199, gtins=["96385074", "810354020810"], title="Tuna", tax_code="A"))
    line = await scanner.line("]E00810354020810")
    assert (line.sku, line.gtin, line.quantity, line.amount_minor) == ("TUNA", "00810354020810", 1, 199)
    assert (line.title, line.tax_code, line.price_source) == ("Tuna", "A", WIRE.PRICE_SOURCE_CATALOGUE)
    assert (await scanner.line("810354020810", quantity=3)).amount_minor == 597


async def test_an_article_that_is_sold_by_weight_weighs_what_its_code_says(scanner: Scanner) -> None:
    """2.750 kg at 3.99 a kilogram is 10.9725."""
    await scanner.sells(item("00001", 399, unit=WIRE.UNIT_GRAM), item("HAM", 1990, unit=WIRE.UNIT_GRAM, gtins=[EAN]))
    await scanner.rules(WEIGHT_RULE)
    line = await scanner.line("2100001027506")
    assert (line.sku, line.quantity, line.unit, line.amount_minor) == ("00001", 2_750, WIRE.UNIT_GRAM, 1_097)
    line = await scanner.line(f"]C101{GTIN}3102000125")
    assert (line.quantity, line.amount_minor, line.gtin) == (1_250, 2_488, GTIN)
    assert (await scanner.line(EAN, quantity=500)).amount_minor == 995
    with says("INVALID_FIELD", "quantity"):
        await scanner.line(EAN)
    with says("INVALID_FIELD", "quantity"):
        await scanner.line("2100001027506", quantity=2)
    for unreadable in (f"]C101{GTIN}3104012345", f"]C101{GTIN}3103000000", "2100001000004"):
        with says("CODE_UNREADABLE"):
            await scanner.line(unreadable)


async def test_an_amount_in_a_code_is_the_amount_of_the_line(scanner: Scanner) -> None:
    await scanner.sells(item("12345", 399, unit=WIRE.UNIT_GRAM), item("PIE", 300, gtins=[EAN]))
    await scanner.rules(PRICE_RULE)
    for code in ("0212345002650", "212345002650"):
        line = await scanner.line(code)
        assert (line.sku, line.amount_minor, line.price_source) == ("12345", 265, WIRE.PRICE_SOURCE_LABEL)
        assert (line.quantity, line.unit) == (1, WIRE.UNIT_PIECE)
    line = await scanner.line(f"]C101{GTIN}3922265{FNC1}3103000500")
    assert (line.amount_minor, line.quantity, line.unit) == (265, 500, WIRE.UNIT_GRAM)
    assert (await scanner.line(f"]C101{GTIN}39202")).amount_minor == 200
    assert (await scanner.line(f"]C101{GTIN}39232650")).amount_minor == 265
    assert (await scanner.line(f"]C101{GTIN}3932826265")).amount_minor == 265
    with says("CODE_UNREADABLE"):
        await scanner.line(f"]C101{GTIN}39232651")
    with says("CURRENCY_MISMATCH"):
        await scanner.line(f"]C101{GTIN}3932978265")
    with says("CURRENCY_MISMATCH"):  # dinars have three decimals
        await scanner.line(f"]C101{GTIN}39330482651")
    euros = await scanner.basket("EUR")
    for code in ("0212345002650", f"]C101{GTIN}3922265"):
        with says("CURRENCY_MISMATCH"):
            await scanner.scan(euros, code)


async def test_an_in_store_code_without_a_rule_is_no_article_even_if_the_catalogue_has_it(scanner: Scanner) -> None:
    await scanner.sells(item("PIE", gtins=["0231566199093"]), item("OWN", gtins=["20848378"]))
    for code in ("0231566199093", "231566199093", "00231566199093", "]C10100231566199093"):
        with says("RULE_MISSING"):
            await scanner.line(code)
    await scanner.rules(Rule(prefix="02", value=Rule.VALUE_WHOLE_CODE))
    line = await scanner.line("0231566199093")
    assert (line.sku, line.gtin) == ("PIE", "00231566199093")
    assert (await scanner.line("20848378")).sku == "OWN"
    short = Rule(prefix="20", code_length=8, value=Rule.VALUE_AMOUNT, article_start=3, article_digits=2)
    short.value_start, short.value_digits = 5, 3
    await scanner.rules(short)
    await scanner.sells(item("84"))
    assert (await scanner.line("20848378")).amount_minor == 837


async def test_what_the_catalogue_does_not_have_is_named(scanner: Scanner) -> None:
    await scanner.rules(WEIGHT_RULE)
    with says("GTIN_NOT_FOUND"):
        await scanner.line("810354020810")
    with says("ITEM_NOT_FOUND"):
        await scanner.line("2100001027506")


async def test_what_may_be_a_part_of_a_pay_code_is_not_named(scanner: Scanner) -> None:
    by_weight = Rule(
        prefix="27", value=Rule.VALUE_QUANTITY, article_start=3, article_digits=5, value_start=8, value_digits=5
    )
    for rules, codes in (
        ([by_weight], ["271234567890", "]E0271234567890"]),
        ([Rule(prefix="27", value=Rule.VALUE_WHOLE_CODE)], ["271234567890", "2712345", "2712345678901"]),
    ):
        await scanner.rules(*rules)
        for code in codes:
            with pytest.raises(Refusal) as refused:
                await scanner.line(code + ean.calc_check_digit(code.removeprefix("]E0")))
            assert refused.value.reason in ("GTIN_NOT_FOUND", "ITEM_NOT_FOUND")
            assert not re.search("[0-9]{3}", f"{refused.value.text} {refused.value.metadata}")
            assert "27..." in refused.value.text


async def test_a_package_says_how_many_are_in_it(scanner: Scanner) -> None:
    await scanner.sells(item("CAN", 80, gtins=[EAN]))
    assert (await scanner.line(f"]C102{GTIN}3712")).amount_minor == 960
    with says("INVALID_FIELD", "quantity"):
        await scanner.line(f"]C102{GTIN}3712", quantity=2)


async def test_a_weight_counts_for_what_is_sold_by_weight_alone(scanner: Scanner) -> None:
    await scanner.sells(item("CAN", 80, gtins=[EAN]), item("OIL", 800, gtins=[OTHER_EAN], unit=WIRE.UNIT_MILLILITER))
    line = await scanner.line(f"]C101{GTIN}3103000500", quantity=2)
    assert (line.quantity, line.unit, line.amount_minor) == (2, WIRE.UNIT_PIECE, 160)
    with says("CODE_UNREADABLE"):
        await scanner.line(f"]C1010{OTHER_EAN}3103000500")
    assert (await scanner.line(f"]C1010{OTHER_EAN}10LOT", quantity=500)).amount_minor == 400
    await scanner.sells(item("HAM", 1990, gtins=[EAN], unit=WIRE.UNIT_GRAM), item("CAN", 80))
    with says("CODE_UNREADABLE"):
        await scanner.line(f"]C102{GTIN}3712")


async def test_a_code_must_not_say_twice_how_much(scanner: Scanner) -> None:
    await scanner.sells(item("00001", 399, unit=WIRE.UNIT_GRAM), item("12345", 300))
    await scanner.rules(WEIGHT_RULE, PRICE_RULE)
    for ais in ("3103000500", "3922265", "3932826265"):
        for code in ("2100001027506", "0212345002650"):
            with says("CODE_UNREADABLE"):
                await scanner.line(f"]C1010{code}{ais}")
    with says("CODE_UNREADABLE"):
        await scanner.line("]C10202123450026503702")
    assert (await scanner.line("]C1010210000102750615271231")).quantity == 2_750


async def test_a_weight_label_of_an_article_with_a_deposit_says_what_is_wrong(scanner: Scanner) -> None:
    cola, bottle = bottled("COLA", "BOTTLE")
    cola.gtins.append(EAN)
    await scanner.sells(cola, bottle)
    with says("CODE_UNREADABLE"):
        await scanner.line(f"]C101{GTIN}3922265{FNC1}3103000500")
    assert (await scanner.line(f"]C101{GTIN}3922265")).amount_minor == 265


async def test_a_scan_adds_the_deposit_as_well(scanner: Scanner) -> None:
    cola, bottle = bottled("COLA", "BOTTLE")
    cola.gtins.append(EAN)
    await scanner.sells(cola, bottle)
    answer = await scanner.scan(await scanner.basket(), EAN, quantity=2)
    assert [(line.item.sku, line.item.quantity, line.deposit_of) for line in answer.checkout.lines] == [
        ("COLA", 2, 0),
        ("BOTTLE", 2, 1),
    ]


async def test_the_same_article_adds_to_its_line_where_the_store_wants_that(scanner: Scanner) -> None:
    cola, bottle = bottled("COLA", "BOTTLE")
    cola.gtins.extend([EAN, "96385074"])
    await scanner.sells(cola, bottle, item("PIE", 300, gtins=[OTHER_EAN]))
    basket = (await scanner.scan(await scanner.basket(), EAN)).checkout
    assert skus((await scanner.scan(basket, EAN)).checkout) == [(1, "COLA"), (2, "BOTTLE"), (3, "COLA"), (4, "BOTTLE")]
    await scanner.rules(add_to_line=True)
    basket = (await scanner.scan(await scanner.basket(), EAN)).checkout
    basket = (await scanner.scan(basket, OTHER_EAN)).checkout
    answer = await scanner.scan(basket, "96385074", quantity=3)
    assert answer.line_number == 1
    quantities = [(line.line_number, line.item.sku, line.item.quantity) for line in answer.checkout.lines]
    assert quantities == [(1, "COLA", 4), (2, "BOTTLE", 4), (3, "PIE", 1)]
    assert answer.checkout.amount == gbp(4 * (149 + 25) + 300)


async def test_a_line_that_is_not_the_same_is_not_added_to(scanner: Scanner) -> None:
    cola, bottle = bottled("COLA", "BOTTLE")
    cola.gtins.append(EAN)
    pie = item("12345", 300, gtins=[OTHER_EAN])
    await scanner.sells(cola, bottle, pie)
    await scanner.rules(PRICE_RULE, add_to_line=True)
    basket = (await scanner.scan(await scanner.basket(), OTHER_EAN)).checkout
    for code in ("0212345002650", "0212345002650"):  # labels: each has its own amount
        basket = (await scanner.scan(basket, code)).checkout
    assert [line.item.amount_minor for line in basket.lines] == [300, 265, 265]
    pie.unit_price.minor_units = 310
    await scanner.sells(pie)
    answer = await scanner.scan(basket, OTHER_EAN)
    assert (answer.line_number, answer.checkout.lines[-1].item.amount_minor) == (4, 310)
    adjusted = await scanner.adjust(answer.checkout, 4, -10)
    answer = await scanner.scan(adjusted, OTHER_EAN)
    assert answer.line_number == 5
    basket = (await scanner.scan(answer.checkout, EAN)).checkout
    without_deposit = await scanner.remove(basket, 7)
    answer = await scanner.scan(without_deposit, EAN)
    assert answer.line_number == 8
    assert skus(answer.checkout)[-3:] == [(6, "COLA"), (8, "COLA"), (9, "BOTTLE")]


async def test_a_deposit_that_is_scanned_by_itself_never_adds_to_the_deposit_of_an_article(scanner: Scanner) -> None:
    cola, bottle = bottled("COLA", "BOTTLE")
    cola.gtins.append(EAN)
    bottle.gtins.append(OTHER_EAN)
    await scanner.sells(cola, bottle)
    await scanner.rules(add_to_line=True)
    basket = (await scanner.scan(await scanner.basket(), EAN)).checkout
    alone = await scanner.scan(basket, OTHER_EAN)
    again = await scanner.scan(alone.checkout, OTHER_EAN)
    assert (alone.line_number, again.line_number) == (3, 3)
    lines = [(line.item.sku, line.item.quantity, line.deposit_of) for line in again.checkout.lines]
    assert lines == [("COLA", 1, 0), ("BOTTLE", 1, 1), ("BOTTLE", 2, 0)]


async def test_each_weighed_package_costs_what_its_label_says(scanner: Scanner) -> None:
    """3 g at 1.50 a kilogram are 0.0045, so 0.00; two of them would be 0.01."""
    await scanner.sells(item("HERB", 150, unit=WIRE.UNIT_GRAM, gtins=[EAN]))
    await scanner.rules(add_to_line=True)
    basket = (await scanner.scan(await scanner.basket(), f"]C101{GTIN}3103000003")).checkout
    basket = (await scanner.scan(basket, f"]C101{GTIN}3103000003")).checkout
    assert [(line.item.quantity, line.item.amount_minor) for line in basket.lines] == [(3, 0), (3, 0)]
    assert basket.amount == gbp(0)
