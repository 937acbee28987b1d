"""Whatever is sold, till, order, payment and receipt show the same figures, and refunds give back what was paid."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.processes import Server, refusal_of, running
from tests.terminal.till import COFFEE, TEA, Behind, Till, gbp, refund_state, said, terminal_flags
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.type.v1 import line_item_pb2

WIRE = line_item_pb2.LineItem
FUNDS = 10**12
SPENT = ("REFUND_EXCEEDS_LINE", "PAYMENT_ALREADY_REFUNDED")
"""What one of two terminals is told that want the same piece."""


@dataclass(frozen=True)
class Basket:
    """What a shopper buys and brings back."""

    lines: list[api.NewLine]
    discount_percent: int
    prices_include_tax: bool
    back: list[tuple[int, int]]
    """Line, counted on from the last, and how much of it in thousandths."""


def new_line(number: int, kind: int, unit: int, quantity: int, price: int, rate_ppm: int, off: int) -> api.NewLine:
    line = api.NewLine(
        sku=f"SKU-{number}",
        kind=kind,  # type: ignore[arg-type]
        unit=unit,  # type: ignore[arg-type]
        quantity=quantity,
        unit_price_minor=price,
        tax_rate_ppm=rate_ppm,
        tax_code="T" if rate_ppm else "",
    )
    if off:
        line.adjustments.add(reason_code="OFF", amount_minor=off)
    return line


LINES = st.builds(
    new_line,
    st.integers(1, 9),
    st.sampled_from([WIRE.KIND_GOODS, WIRE.KIND_GOODS, WIRE.KIND_DEPOSIT, WIRE.KIND_SERVICE]),
    st.sampled_from([WIRE.UNIT_PIECE, WIRE.UNIT_GRAM]),
    st.integers(1, 999),
    st.integers(1, 2_000),
    st.sampled_from([0, 50_000, 88_750, 200_000]),
    st.integers(0, 50),
)
BASKETS = st.builds(
    Basket,
    st.lists(LINES, min_size=1, max_size=4),
    st.integers(0, 60),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 700)), min_size=2, max_size=6),
)


@pytest.fixture(scope="module")
def other_till(
    tmp_path_factory: pytest.TempPathFactory, order_service: Server, payment_server: Server
) -> Iterator[Till]:
    flags = terminal_flags(order_service.address, payment_server.address, "--terminal-id", "till-2")
    with (
        running("tests.terminal.deaf", tmp_path_factory.mktemp("other"), *flags) as server,
        server.channel() as channel,
    ):
        yield Till(channel)


def sold(till: Till, behind: Behind, shopper: str, basket: Basket) -> checkout_pb2.Checkout:
    """The basket, submitted, and paid if there is something to pay."""
    checkout = till.create(shopper, basket.lines, prices_include_tax=basket.prices_include_tax)
    goods = sum(line.item.amount_minor for line in checkout.lines if line.item.kind == WIRE.KIND_GOODS)
    if discount := goods * basket.discount_percent // 100:
        checkout = till.adjust(checkout, -discount)
        lines = [line.item for line in checkout.lines]
        assert sum(line.amount_minor for line in lines if line.kind == WIRE.KIND_GOODS) == goods - discount
    return till.pay(till.submit(checkout))


def shows_the_same_figures(till: Till, behind: Behind, paid: checkout_pb2.Checkout) -> None:
    order = behind.order(paid)
    assert (order.amount, list(order.taxes)) == (paid.amount, list(paid.taxes))
    assert list(order.lines) == [line.item for line in paid.lines]
    net = sum(line.item.amount_minor for line in paid.lines)
    on_top = 0 if paid.prices_include_tax else sum(tax.tax_minor for tax in paid.taxes)
    assert paid.amount.minor_units == net + on_top
    if paid.paid_by_payment_id:
        assert behind.payment(paid.paid_by_payment_id).amount == paid.amount
    receipt = till.receipt(paid)
    assert (receipt.amount, list(receipt.taxes), list(receipt.lines)) == (
        paid.amount,
        list(paid.taxes),
        list(paid.lines),
    )
    printed = re.findall(r"^TOTAL GBP +([0-9.,]+)$|tax .*?([0-9.,]+)$", receipt.text, re.MULTILINE)
    figures = sorted((total or tax).replace(",", "") for total, tax in printed)
    minor = [paid.amount.minor_units, *(tax.tax_minor for tax in paid.taxes)]
    assert figures == sorted(f"{each / 100:.2f}" for each in minor)


def brought_back(tills: tuple[Till, Till], paid: checkout_pb2.Checkout, basket: Basket) -> int:
    """Brings goods back at both tills at once, and then all that is left; returns what that came to."""

    def bring(number: int) -> int:
        index, thousandths = basket.back[number]
        line = paid.lines[index % len(paid.lines)]
        quantity = max(1, line.item.quantity * thousandths // 1000)
        return given_back(tills[number % 2], {line.line_number: quantity})

    def given_back(till: Till, lines: dict[int, int]) -> int:
        try:
            refund = till.refund(paid, lines=lines)
        except grpc.RpcError as error:
            if refusal_of(error).reason not in SPENT:
                raise
            return 0
        assert refund_state(refund) == "DONE"
        return refund.amount.minor_units

    with ThreadPoolExecutor(4) as callers:
        amounts = list(callers.map(bring, range(len(basket.back))))
    return sum(amounts) + given_back(tills[1], {})


@settings(max_examples=15)
@given(basket=BASKETS)
def test_refunds_of_lines_at_two_tills_at_once_give_back_exactly_what_was_paid(
    till: Till, other_till: Till, behind: Behind, basket: Basket
) -> None:
    shopper = behind.shopper(funds=FUNDS)
    paid = sold(till, behind, shopper, basket)
    assert said(paid) == "PAID HAND_OVER_GOODS"
    shows_the_same_figures(till, behind, paid)
    assert behind.wallet(shopper) == (FUNDS - paid.amount.minor_units, 0)
    if not paid.paid_by_payment_id:
        return
    there = other_till.resume(paid.checkout_id)
    shows_the_same_figures(other_till, behind, there)
    assert brought_back((till, other_till), paid, basket) == paid.amount.minor_units
    assert behind.wallet(shopper) == (FUNDS, 0)
    refunded = [each.get(paid).refunded.minor_units for each in (till, other_till)]
    assert gbp(sum(refunded)) == paid.amount


def test_goods_that_come_back_after_an_amount_was_given_for_them_are_worth_what_is_left(
    till: Till, behind: Behind
) -> None:
    shopper = behind.shopper()
    paid = till.pay(till.submitted(shopper, [TEA, COFFEE]))
    till.refund(paid, gbp(100))
    tea = till.refund(paid, lines={1: 2})
    assert [line.amount_minor for line in tea.lines] == [tea.amount.minor_units] == [250]
    coffee = till.refund(paid, lines={2: 1})
    assert [line.amount_minor for line in coffee.lines] == [coffee.amount.minor_units] == [300]
    assert (
        "  1 × 4.00                            4.00\n  PRORATED                           -1.00\n"
        in till.receipt(paid).text
    )
    assert behind.wallet(shopper) == (100_000, 0)
