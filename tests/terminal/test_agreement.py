"""A scanned basket says the same everywhere: at the till, in the order, on the phone, on paper and as it comes back.

What it should say is reckoned here once more, with fractions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.processes import DEADLINE_S
from tests.terminal.till import Behind, Till, gbp, said
from tillmesh.api.terminal.v1 import catalogue_item_pb2, checkout_pb2, receipt_pb2, scan_rules_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import scan_service_pb2 as scans_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.ids import new_request_id

Line = line_item_pb2.LineItem
TEA, WATER, BREAD = "20000011", "20000004", "20000028"
TWENTY, FIVE = 200_000, 50_000
PRICES = {TEA: 125, WATER: 99, BREAD: 289}
RATES = {TEA: TWENTY, WATER: TWENTY, BREAD: FIVE, "cheese": FIVE, "fish": FIVE}
DEPOSIT_MINOR, CHEESE_A_KILO = 25, 399


@dataclass(frozen=True)
class Basket:
    """What is scanned, and what is changed by hand."""

    scans: Sequence[tuple[str, int]]
    """Of an article its pieces, of cheese its grams, of fish the amount on the label."""
    discount_percent: int
    tip_minor: int
    prices_include_tax: bool


BASKETS = st.builds(
    Basket,
    scans=st.lists(
        st.tuples(st.sampled_from([TEA, WATER, BREAD]), st.integers(1, 9))
        | st.tuples(st.sampled_from(["cheese", "fish"]), st.integers(1, 9_999)),
        min_size=1,
        max_size=5,
    ),
    discount_percent=st.sampled_from([0, 0, 7, 50]),
    tip_minor=st.sampled_from([0, 0, 1, 350]),
    prices_include_tax=st.booleans(),
)


@pytest.fixture(scope="module")
def shop(till: Till) -> Till:
    """The till with articles and rules; by weight under 21, by amount under 28."""
    tea = article("AG-TEA", TEA, PRICES[TEA], TWENTY)
    bread = article("AG-BREAD", BREAD, PRICES[BREAD], FIVE)
    water = article("AG-WATER", WATER, PRICES[WATER], TWENTY, deposit_sku="AG-BOTTLE")
    bottle = article("AG-BOTTLE", "", DEPOSIT_MINOR, 0, kind=Line.KIND_DEPOSIT)
    cheese = article("00001", "", CHEESE_A_KILO, FIVE, unit=Line.UNIT_GRAM)
    fish = article("00002", "", 1_000, FIVE)
    request = catalogue_api.ImportCatalogueItemsRequest(
        request_id=new_request_id(), items=[tea, bread, water, bottle, cheese, fish]
    )
    till.catalogue.ImportCatalogueItems(request, timeout=DEADLINE_S)
    before = till.scans.GetScanRules(scans_api.GetScanRulesRequest(), timeout=DEADLINE_S)
    rule = scan_rules_pb2.InStoreCodeRule
    read = {"article_start": 3, "article_digits": 5, "value_start": 8, "value_digits": 5}
    rules = [
        rule(prefix="21", value=rule.VALUE_QUANTITY, **read),
        rule(prefix="28", value=rule.VALUE_AMOUNT, **read),
    ]
    replace = scans_api.ReplaceScanRulesRequest(
        request_id=new_request_id(), rules=scan_rules_pb2.ScanRules(rules=rules, version=before.version)
    )
    till.scans.ReplaceScanRules(replace, timeout=DEADLINE_S)
    return till


def article(sku: str, gtin: str, minor: int, rate: int, **more: Any) -> catalogue_item_pb2.CatalogueItem:
    code = {TWENTY: "A", FIVE: "B", 0: ""}[rate]
    item = catalogue_item_pb2.CatalogueItem(sku=sku, unit_price=gbp(minor), tax_code=code, tax_rate_ppm=rate, **more)
    item.gtins.extend([gtin] if gtin else [])
    return item


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(basket=BASKETS, returns=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 5)), max_size=4))
def test_all_say_the_same_of_a_basket(
    shop: Till, behind: Behind, basket: Basket, returns: list[tuple[int, int]]
) -> None:
    shopper = behind.shopper(funds=10_000_000, threshold=0)
    checkout = scanned(shop, shop.create(shopper, [], prices_include_tax=basket.prices_include_tax), basket)
    assert sum(line.item.amount_minor for line in checkout.lines) == lines_minor(basket)
    taxes = {(tax.tax_code, tax.tax_rate_ppm): tax.tax_minor for tax in checkout.taxes}
    assert taxes == expected_taxes(checkout)
    expected = lines_minor(basket) + (0 if basket.prices_include_tax else sum(taxes.values()))
    assert checkout.amount == gbp(expected)

    waiting = shop.pay(shop.submit(checkout))
    order = behind.order(checkout)
    assert [line.item for line in waiting.lines] == list(order.lines)
    assert (order.amount, list(order.taxes)) == (checkout.amount, list(checkout.taxes))
    if expected:
        asked = behind.payment(waiting.payment_id)
        assert (asked.amount, asked.order_id) == (checkout.amount, checkout.checkout_id)
        behind.confirm(asked.payment_id, asked.amount)
    paid = until_paid(shop, waiting)
    assert behind.wallet(shopper) == (10_000_000 - expected, 0)

    receipt = shop.receipt(paid)
    assert [line.item for line in receipt.lines] == [line.item for line in paid.lines]
    assert (receipt.amount, list(receipt.taxes)) == (checkout.amount, list(checkout.taxes))
    assert f"{expected // 100}.{expected % 100:02}" in receipt.text.replace(",", "")
    if expected:
        given_back(shop, paid, returns)
        assert behind.wallet(shopper) == (10_000_000, 0)
        assert_all_came_back(paid, shop.receipt(paid))


def scanned(shop: Till, checkout: checkout_pb2.Checkout, basket: Basket) -> checkout_pb2.Checkout:
    for what, count in basket.scans:
        code, quantity = code_of(what, count)
        request = scans_api.ScanItemRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            scanned=code,
            quantity=quantity,
        )
        answer = shop.scans.ScanItem(request, timeout=DEADLINE_S)
        assert answer.outcome == scans_api.ScanItemResponse.OUTCOME_ADDED
        checkout = answer.checkout
    if discount := discount_minor(basket):
        checkout = shop.adjust(checkout, -discount)
    if basket.tip_minor:
        tip = api.NewLine(sku="TIP", kind=Line.KIND_TIP, quantity=1, unit_price_minor=basket.tip_minor)
        checkout = shop.add(checkout, tip)
    return checkout


def code_of(what: str, count: int) -> tuple[str, int]:
    """What the scanner sends, and the quantity that is keyed in beside it."""
    if what in PRICES:
        return what, count
    digits = f"{'2100001' if what == 'cheese' else '2800002'}{count:05}"
    weighed = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(digits))
    return f"{digits}{-weighed % 10}", 0


def rounded(value: Fraction) -> int:
    """Half away from zero; nothing here is below it."""
    return int(value + Fraction(1, 2))


def goods_minor(basket: Basket) -> int:
    total = 0
    for what, count in basket.scans:
        if what == "cheese":
            total += rounded(Fraction(count * CHEESE_A_KILO, 1_000))
        else:
            total += count * PRICES.get(what, 1)
    return total


def discount_minor(basket: Basket) -> int:
    return goods_minor(basket) * basket.discount_percent // 100


def lines_minor(basket: Basket) -> int:
    """What the lines come to, before taxes that come on top."""
    bottles = sum(count for what, count in basket.scans if what == WATER)
    return goods_minor(basket) - discount_minor(basket) + bottles * DEPOSIT_MINOR + basket.tip_minor


def expected_taxes(checkout: checkout_pb2.Checkout) -> Mapping[tuple[str, int], int]:
    taxed: dict[tuple[str, int], int] = {}
    for line in checkout.lines:
        if line.item.tax_rate_ppm:
            tax = line.item.tax_code, line.item.tax_rate_ppm
            taxed[tax] = taxed.get(tax, 0) + line.item.amount_minor
    included = checkout.prices_include_tax
    return {
        tax: rounded(Fraction(amount * tax[1], 1_000_000 + (tax[1] if included else 0)))
        for tax, amount in taxed.items()
    }


def until_paid(shop: Till, checkout: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
    for _ in range(100):  # each waits for the order's word
        if said(checkout) == "PAID HAND_OVER_GOODS":
            return checkout
        checkout = shop.get(checkout)
    raise AssertionError(f"still {said(checkout)}")


def given_back(shop: Till, paid: checkout_pb2.Checkout, returns: Sequence[tuple[int, int]]) -> None:
    """Some of it line by line, then the rest: together exactly what was paid."""
    left = {line.line_number: line.item.quantity for line in paid.lines}
    total = 0
    for which, quantity in returns:
        line = paid.lines[which % len(paid.lines)]
        number, by_weight = line.line_number, line.item.unit == Line.UNIT_GRAM
        back = left[number] if by_weight else min(quantity, left[number])  # a gram alone may be worth nothing
        if back and line.item.amount_minor >= (1 if by_weight else line.item.quantity):
            left[number] -= back
            total += shop.refund(paid, lines={number: back}).amount.minor_units
    if total < paid.amount.minor_units:
        total += shop.refund(paid).amount.minor_units
    assert total == paid.amount.minor_units
    assert shop.get(paid).refunded == paid.amount


def assert_all_came_back(paid: checkout_pb2.Checkout, receipt: receipt_pb2.Receipt) -> None:
    """The refunds on the receipt are what was paid, with all its taxes; each says so, and its lines add up."""
    assert sum(refund.amount.minor_units for refund in receipt.refunds) == paid.amount.minor_units
    back: dict[tuple[str, int], int] = {}
    for refund in receipt.refunds:
        amount = refund.amount.minor_units
        assert f"-{amount // 100}.{amount % 100:02}\n" in receipt.text.replace(",", "")
        on_top = 0 if paid.prices_include_tax else sum(tax.tax_minor for tax in refund.taxes)
        assert sum(line.amount_minor for line in refund.lines) + on_top == amount
        for tax in refund.taxes:
            back[tax.tax_code, tax.tax_rate_ppm] = back.get((tax.tax_code, tax.tax_rate_ppm), 0) + tax.tax_minor
    assert {tax: minor for tax, minor in back.items() if minor} == {
        (tax.tax_code, tax.tax_rate_ppm): tax.tax_minor for tax in paid.taxes if tax.tax_minor
    }
