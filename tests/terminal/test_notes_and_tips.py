"""What is written on a line, and what a shopper gives on top."""

import pytest
from grpc import StatusCode

from tests.processes import DEADLINE_S
from tests.terminal.test_pricing import new
from tests.terminal.till import Behind, Till, gbp, refused, said
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.ids import new_request_id

WIRE = line_item_pb2.LineItem
SOUP = api.NewLine(sku="SOUP", quantity=2, unit_price_minor=500, note="no onions", tax_code="A", tax_rate_ppm=200_000)
TIP = api.NewLine(sku="TIP", kind=WIRE.KIND_TIP, quantity=1, unit_price_minor=150)


def write(
    till: Till, checkout: checkout_pb2.Checkout, note: str, number: int = 1, quantity: int | None = None
) -> checkout_pb2.Checkout:
    """Writes a note on a line."""
    request = api.UpdateLineRequest(
        request_id=new_request_id(),
        checkout_id=checkout.checkout_id,
        basket_version=checkout.basket_version,
        line_number=number,
        note=note,
        quantity=quantity,
    )
    return till.service.UpdateLine(request, timeout=DEADLINE_S)


def notes(lines: object) -> list[str]:
    return [line.note for line in lines]  # type: ignore[attr-defined]


def test_a_note_is_kept_from_the_basket_to_the_order_and_back(till: Till, behind: Behind) -> None:
    basket = till.create(behind.shopper(), [SOUP, new("TEA", unit_price_minor=125)])
    assert notes(line.item for line in basket.lines) == ["no onions", ""]
    submitted = till.submit(write(till, basket, "no garlic"))
    assert notes(behind.order(submitted).lines) == ["no garlic", ""]
    changed = write(till, submitted, "x" * 128)
    assert (changed.order_version, changed.lines[0].item.quantity, changed.amount) == (2, 2, submitted.amount)
    assert notes(behind.order(changed).lines) == ["x" * 128, ""]
    assert said(till.pay(changed)) == "PAID HAND_OVER_GOODS"


def test_another_till_and_another_change_keep_the_note(till: Till, behind: Behind) -> None:
    order = behind.raise_order("ada")
    line = WIRE(sku="SOUP", quantity=1, unit_price_minor=500, note="no onions")
    taken = till.resume(order.order_id)
    behind.change_order(taken, line)
    seen = till.resume(order.order_id)
    assert notes(line.item for line in seen.lines) == ["no onions"]
    number = seen.lines[0].line_number
    assert notes(line.item for line in till.update(seen, number, quantity=3).lines) == ["no onions"]
    assert notes(line.item for line in write(till, till.get(seen), "", number).lines) == [""]


def test_a_note_of_a_labelled_line_is_written_alone(till: Till) -> None:
    basket = till.create(lines=[new("EEL", label_amount_minor=389)])
    assert write(till, basket, "smoked").lines[0].item.note == "smoked"
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        write(till, till.get(basket), "fresh", quantity=2)


@pytest.mark.parametrize("note", ["x" * 129, "a\nb"])
def test_a_note_that_no_receipt_could_show_is_refused(till: Till, note: str) -> None:
    basket = till.create(lines=[SOUP])
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.add(basket, new("TEA", unit_price_minor=125, note=note))
    assert [violation.field for violation in refusals[0].violations] == ["lines[0].note"]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        write(till, basket, note)
    assert [violation.field for violation in refusals[0].violations] == ["note"]
    assert till.get(basket) == basket


def test_a_tip_needs_no_article_bears_no_tax_and_takes_no_part_in_a_discount(till: Till, behind: Behind) -> None:
    basket = till.add(till.create(behind.shopper(), [SOUP]), TIP)
    tip = basket.lines[1].item
    assert (tip.amount_minor, tip.tax_code, tip.tax_rate_ppm) == (150, "", 0)
    discounted = till.adjust(basket, -100)
    assert [line.item.amount_minor for line in discounted.lines] == [900, 150]
    more = till.update(discounted, 2, price=300)
    assert more.amount == gbp(1200)
    assert [(tax.tax_code, tax.gross_minor) for tax in more.taxes] == [("A", 900)]
    order = behind.order(till.pay(till.submit(more)))
    assert [(line.kind, line.amount_minor) for line in order.lines] == [(WIRE.KIND_GOODS, 900), (WIRE.KIND_TIP, 300)]
    assert order.amount == gbp(1200)


def test_a_tip_comes_on_top_of_prices_without_tax_as_it_is(till: Till) -> None:
    basket = till.create(lines=[SOUP, TIP], prices_include_tax=False)
    assert basket.amount == gbp(1000 + 200 + 150)


def test_a_tip_can_be_given_to_an_order_and_taken_off_again(till: Till, behind: Behind) -> None:
    submitted = till.submitted(behind.shopper(), [SOUP])
    tipped = till.add(submitted, TIP)
    assert (tipped.order_version, behind.order(tipped).amount) == (2, gbp(1150))
    assert till.remove(tipped, 2).amount == gbp(1000)
