"""Lines of real goods: what a till takes from its catalogue, what it sets itself, and what they come to."""

from collections.abc import Callable

import pytest
from grpc import StatusCode

from store_terminal.checkouts.messages import origin
from store_terminal.checkouts.pricing import came_back
from tests.processes import DEADLINE_S
from tests.terminal.test_baskets import article, import_items
from tests.terminal.till import COFFEE, TEA, TEA_MINOR, Behind, Till, gbp, payer, refused, said
from tillmesh.api.terminal.v1 import catalogue_item_pb2, checkout_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.auth.callers import Caller, Role, caller
from tillmesh.lines import Adjustment, LineItem, PriceSource
from tillmesh.rpc.fields import Fields
from tillmesh.runtime.ids import new_request_id

WIRE = line_item_pb2.LineItem
GTIN = "04006381333931"
HAM = catalogue_item_pb2.CatalogueItem(
    sku="HAM",
    gtins=[GTIN],
    title="Ham",
    kind=WIRE.KIND_GOODS,
    unit=WIRE.UNIT_GRAM,
    unit_price=gbp(1290),
    price_quantity=1000,
    tax_code="A",
    tax_rate_ppm=200_000,
)


def new(sku: str, quantity: int = 1, **more: object) -> api.NewLine:
    return api.NewLine(sku=sku, quantity=quantity, **more)  # type: ignore[arg-type]


def item_of(till: Till, line: api.NewLine) -> line_item_pb2.LineItem:
    """What becomes of one line in a new basket."""
    return till.create(lines=[line]).lines[0].item


def test_a_weighed_article_has_all_that_it_lacks_from_the_catalogue(till: Till) -> None:
    import_items(till, HAM)
    read = till.catalogue.GetCatalogueItem(catalogue_api.GetCatalogueItemRequest(sku="HAM"), timeout=DEADLINE_S)
    assert read == HAM
    basket = till.create(lines=[new("HAM", 432)])
    item = basket.lines[0].item
    assert (item.title, item.gtin, item.unit, item.unit_price_minor, item.price_quantity) == (
        *("Ham", GTIN, WIRE.UNIT_GRAM, 1290, 1000),
    )
    assert (item.kind, item.price_source, item.amount_minor) == (WIRE.KIND_GOODS, WIRE.PRICE_SOURCE_CATALOGUE, 557)
    assert basket.amount == gbp(557)
    assert [(tax.tax_code, tax.net_minor, tax.tax_minor, tax.gross_minor) for tax in basket.taxes] == [
        ("A", 464, 93, 557)
    ]


def test_an_article_of_the_catalogue_is_counted_in_pieces_unless_it_says_otherwise(till: Till) -> None:
    import_items(
        till,
        article("PLAIN", 5),
        catalogue_item_pb2.CatalogueItem(sku="OIL", unit=WIRE.UNIT_MILLILITER, unit_price=gbp(800)),
    )
    read = till.catalogue.GetCatalogueItem(catalogue_api.GetCatalogueItemRequest(sku="PLAIN"), timeout=DEADLINE_S)
    assert (read.kind, read.unit, read.price_quantity) == (WIRE.KIND_GOODS, WIRE.UNIT_PIECE, 1)
    assert item_of(till, new("OIL", 250)).amount_minor == 200


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"gtins": ["04006381333930"]}, "items[0].gtins[0]"),
        ({"unit_price": gbp(-1)}, "items[0].unit_price.minor_units"),
        ({"price_quantity": -1}, "items[0].price_quantity"),
        ({"tax_rate_ppm": 1_000_001}, "items[0].tax_rate_ppm"),
        ({"kind": 9}, "items[0].kind"),
        ({"unit": 9}, "items[0].unit"),
    ],
)
def test_an_article_that_makes_no_sense_is_named(till: Till, wrong: dict[str, object], field: str) -> None:
    item = catalogue_item_pb2.CatalogueItem(**({"sku": "ODD", "unit_price": gbp(1)} | wrong))  # type: ignore[arg-type]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        import_items(till, item)
    assert [violation.field for violation in refusals[0].violations] == [field]


def test_a_price_that_is_not_the_catalogues_is_an_override_with_its_reason(till: Till) -> None:
    import_items(till, article("VASE", 850))
    same = item_of(till, new("VASE", unit_price_minor=850))
    assert (same.price_source, same.HasField("price_override")) == (WIRE.PRICE_SOURCE_CATALOGUE, False)
    other = item_of(till, new("VASE", unit_price_minor=700, override_reason="chipped"))
    assert (other.price_source, other.unit_price_minor) == (WIRE.PRICE_SOURCE_OVERRIDE, 700)
    assert (other.price_override.reason, other.price_override.catalogue_price_minor) == ("chipped", 850)
    dozen = item_of(till, new("VASE", 12, unit_price_minor=850, price_quantity=12))
    assert (dozen.price_source, dozen.amount_minor) == (WIRE.PRICE_SOURCE_OVERRIDE, 850)
    unknown = item_of(till, new("NEW-VASE", unit_price_minor=700))
    assert (unknown.price_source, unknown.HasField("price_override")) == (WIRE.PRICE_SOURCE_CATALOGUE, False)


def test_a_reason_makes_a_price_an_override_also_where_the_catalogue_has_none(till: Till, behind: Behind) -> None:
    import_items(till, catalogue_item_pb2.CatalogueItem(sku="IMPORT", unit_price=Money(currency_code="EUR")))
    odd = [new(sku, unit_price_minor=700, override_reason="no label") for sku in ("NEVER-SEEN", "IMPORT")]
    pending = till.submitted(lines=odd)
    for item in behind.order(pending).lines:
        assert (item.price_source, item.price_override.reason) == (WIRE.PRICE_SOURCE_OVERRIDE, "no label")
        assert not item.price_override.HasField("catalogue_price_minor")


def test_another_price_for_a_line_is_an_override(till: Till) -> None:
    import_items(till, article("BOWL", 300))
    basket = till.create(lines=[new("BOWL", 2), TEA, new("CHEESE", label_amount_minor=412)])
    basket = till.update(basket, 1, price=250, reason="last one")
    basket = till.update(basket, 2, quantity=3, price=125)
    basket = till.update(basket, 3, quantity=2, price=100)
    bowl, tea, cheese = (line.item for line in basket.lines)
    assert (bowl.price_source, bowl.amount_minor) == (WIRE.PRICE_SOURCE_OVERRIDE, 500)
    assert (bowl.price_override.reason, bowl.price_override.catalogue_price_minor) == ("last one", 300)
    assert (tea.price_source, tea.amount_minor) == (WIRE.PRICE_SOURCE_OVERRIDE, 375)
    assert not tea.price_override.HasField("catalogue_price_minor")
    assert (cheese.price_source, cheese.label_amount_minor, cheese.amount_minor) == (WIRE.PRICE_SOURCE_OVERRIDE, 0, 200)


def test_a_label_says_what_a_line_comes_to(till: Till) -> None:
    import_items(till, HAM)
    piece = item_of(till, new("BRIE", title="Brie", label_amount_minor=387))
    assert (piece.price_source, piece.quantity, piece.amount_minor) == (WIRE.PRICE_SOURCE_LABEL, 1, 387)
    weighed = item_of(till, new("HAM", 215, label_amount_minor=280))
    assert (weighed.unit, weighed.unit_price_minor, weighed.amount_minor) == (WIRE.UNIT_GRAM, 1290, 280)
    assert weighed.tax_code == "A"
    basket = till.create(lines=[new("BRIE", label_amount_minor=387)])
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.update(basket, 1, quantity=2)
    assert [violation.field for violation in refusals[0].violations] == ["quantity"]


@pytest.mark.parametrize(
    "line", [new("HAM", unit=WIRE.UNIT_PIECE), new("HAM", 500, price_quantity=100)], ids=["unit", "price_quantity"]
)
def test_the_catalogues_price_is_not_taken_for_other_units_than_its_own(till: Till, line: api.NewLine) -> None:
    import_items(till, HAM)
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.create(lines=[TEA, line])
    assert [violation.field for violation in refusals[0].violations] == ["lines[1].unit_price_minor"]


def test_a_basket_discount_is_spread_over_the_goods_and_a_line_discount_is_not(till: Till) -> None:
    bottle = new("DEPOSIT", unit_price_minor=25, kind=WIRE.KIND_DEPOSIT)
    basket = till.create(lines=[TEA, COFFEE, bottle])
    basket = till.adjust(basket, -65, code="COUPON", text="10 %")
    assert [[each.amount_minor for each in line.item.adjustments] for line in basket.lines] == [[-25], [-40], []]
    assert basket.amount == gbp(TEA_MINOR + 400 + 25 - 65)
    basket = till.adjust(basket, 5, line_number=3)
    assert [line.item.amount_minor for line in basket.lines] == [225, 360, 30]
    assert basket.lines[0].item.adjustments[0].text == "10 %"
    assert basket.basket_version == 3


def test_no_adjustment_makes_a_line_negative(till: Till) -> None:
    basket = till.create(lines=[TEA])
    for number, minor in ((0, -TEA_MINOR - 1), (1, -TEA_MINOR - 1)):
        with refused("ADJUSTMENT_TOO_LARGE", StatusCode.FAILED_PRECONDITION):
            till.adjust(basket, minor, line_number=number)
    with refused("ADJUSTMENT_TOO_LARGE", StatusCode.FAILED_PRECONDITION):  # nothing to spread it over
        till.adjust(till.create(lines=[new("TIP", unit_price_minor=5, kind=WIRE.KIND_TIP)]), -1)
    with refused("LINE_NOT_FOUND", StatusCode.NOT_FOUND):
        till.adjust(basket, -1, line_number=2)
    for minor, code in ((0, "STAFF"), (-1, "not a code")):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
            till.adjust(basket, minor, code=code)
    for _ in range(16):
        basket = till.adjust(basket, -1)
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.adjust(basket, -1)
    assert said(till.submit(basket)) == "SUBMITTED NOT_TRIED"


def test_a_line_with_a_discount_cannot_become_negative_by_a_smaller_quantity(till: Till) -> None:
    basket = till.adjust(till.create(lines=[TEA]), -200, line_number=1)
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.update(basket, 1, quantity=1)


def test_taxes_come_on_top_where_the_till_or_the_checkout_says_so(till: Till, behind: Behind) -> None:
    bolts = [
        new("BOLT", 4, unit_price_minor=148, tax_code="S", tax_rate_ppm=210_000),
        *(new("BIT", unit_price_minor=minor, tax_code="S", tax_rate_ppm=210_000) for minor in (152, 154, 39)),
    ]
    shopper = behind.shopper()
    pending = till.submit(till.create(shopper, bolts, prices_include_tax=False))
    assert (pending.amount, pending.prices_include_tax) == (gbp(1134), False)
    order = behind.order(pending)
    assert (order.amount, order.prices_include_tax, list(order.taxes)) == (gbp(1134), False, list(pending.taxes))
    changed = till.adjust(pending, -100)
    assert changed.amount == behind.order(pending).amount == gbp(1013)
    assert said(till.pay(changed)) == "PAID HAND_OVER_GOODS"
    assert behind.wallet(shopper) == (100_000 - 1013, 0)


def test_labels_and_where_it_was_sold_go_with_the_order_and_its_payment(till: Till, behind: Behind) -> None:
    basket = till.create(behind.shopper(), labels={"erp": "4711"}, lane="lane-3", cashier_id="c-17")
    assert (basket.terminal_id, basket.lane, basket.cashier_id) == ("till-1", "lane-3", "c-17")
    pending = till.submit(basket)
    order = behind.order(pending)
    assert dict(order.labels) == dict(pending.labels) == {"erp": "4711"}
    assert (order.terminal_id, order.lane, order.cashier_id) == ("till-1", "lane-3", "c-17")
    paid = till.pay(pending, cashier_id="c-18")
    payment = behind.payment(paid.payment_id)
    assert (payment.terminal_id, payment.lane, payment.cashier_id) == ("till-1", "lane-3", "c-18")
    assert paid.cashier_id == "c-17"


def test_checkouts_are_listed_by_lane_and_cashier(till: Till) -> None:
    lane, cashier = new_request_id(), new_request_id()
    both = till.create(lane=lane, cashier_id=cashier).checkout_id
    only_lane = till.create("bob", lane=lane).checkout_id
    only_cashier = till.create(cashier_id=cashier).checkout_id

    def listed(lane: str = "", cashier_id: str = "") -> set[str]:
        request = api.ListCheckoutsRequest(lane=lane, cashier_id=cashier_id)
        answer = till.service.ListCheckouts(request, timeout=DEADLINE_S)
        return {checkout.checkout_id for checkout in answer.checkouts}

    assert listed(lane=lane) == {both, only_lane}
    assert listed(cashier_id=cashier) == {both, only_cashier}
    assert listed(lane=lane, cashier_id=cashier) == {both}
    request = api.ListCheckoutsRequest(lane=lane, payer=payer("bob"))
    assert [each.checkout_id for each in till.service.ListCheckouts(request, timeout=DEADLINE_S).checkouts] == [
        only_lane
    ]


def test_a_device_that_does_not_name_its_lane_is_known_by_its_certificate() -> None:
    assert origin(Fields(), "till-1", "", "").lane == ""
    token = caller.set(Caller("spiffe://tillmesh/device/store-1/lane-3", Role.DEVICE, "store-1"))
    assert origin(Fields(), "till-1", "", "").lane == "lane-3"
    assert origin(Fields(), "till-1", "lane-9", "").lane == "lane-9"
    caller.reset(token)


def test_a_basket_changes_only_from_the_version_that_was_read(till: Till, behind: Behind) -> None:
    read = till.create(lines=[TEA, TEA])
    assert read.basket_version == 1
    assert till.add(read, COFFEE).basket_version == 2
    changes: list[Callable[[checkout_pb2.Checkout], object]] = [
        lambda basket: till.add(basket, COFFEE),
        lambda basket: till.update(basket, 1, quantity=1),
        lambda basket: till.remove(basket, 1),
        lambda basket: till.adjust(basket, -1),
        lambda basket: till.submit(basket),
    ]
    for change in changes:
        with refused("BASKET_VERSION_MISMATCH", StatusCode.ABORTED) as refusals:
            change(read)
        assert refusals[0].metadata["version"] == "2"
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            change(checkout_pb2.Checkout(checkout_id=read.checkout_id))
        assert [violation.field for violation in refusals[0].violations] == ["basket_version"]
    pending = till.submit(till.get(read))
    assert pending.basket_version == 2
    assert till.remove(pending, 1).basket_version == 3
    with refused("BASKET_VERSION_MISMATCH", StatusCode.ABORTED):
        till.remove(pending, 2)
    behind.change_order(pending, *[line.item for line in pending.lines])
    assert till.resume(pending.checkout_id).basket_version == 4


def test_part_of_a_line_is_worth_its_share_and_says_why() -> None:
    line = LineItem("TEA", "Tea", 3, 100, adjustments=(Adjustment("STAFF", "", -50),))
    assert came_back(line, 3, 250) == line
    part = came_back(line, 1, 83)
    assert (part.quantity, part.amount_minor, part.adjustments) == (1, 83, (Adjustment("PRORATED", "", -17),))
    label = LineItem("BRIE", "Brie", 400, 0, price_source=PriceSource.LABEL, label_amount_minor=387)
    assert came_back(label, 100, 97) == label._replace(quantity=100, label_amount_minor=97)
    assert came_back(LineItem("MUG", "Mug", 2, 850), 1, 850).adjustments == ()
