"""Baskets and the catalogue: what a till does by itself."""

from collections.abc import Callable

import pytest
from grpc import StatusCode

from tests.processes import DEADLINE_S
from tests.terminal.till import (
    COFFEE,
    TEA,
    TEA_MINOR,
    Till,
    gbp,
    goods,
    payer,
    refused,
    said,
    skus,
)
from tillmesh.api.terminal.v1 import catalogue_item_pb2, checkout_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refunds_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import MINOR_UNITS_MAX


def article(sku: str, minor: int, currency: str = "GBP", title: str = "") -> catalogue_item_pb2.CatalogueItem:
    price = Money(currency_code=currency, minor_units=minor)
    return catalogue_item_pb2.CatalogueItem(sku=sku, title=title or f"The {sku}", unit_price=price)


def import_items(till: Till, *items: catalogue_item_pb2.CatalogueItem, request_id: str = "") -> int:
    request = catalogue_api.ImportCatalogueItemsRequest(request_id=request_id or new_request_id(), items=items)
    return till.catalogue.ImportCatalogueItems(request, timeout=DEADLINE_S).item_count


def off(minor: int) -> line_item_pb2.Adjustment:
    return line_item_pb2.Adjustment(reason_code="STAFF", amount_minor=minor)


def test_lines_are_added_changed_and_removed_and_no_line_number_comes_twice(till: Till) -> None:
    basket = till.create(lines=[TEA, TEA])
    assert skus(basket) == [(1, "TEA"), (2, "TEA")]
    basket = till.remove(basket, 2)
    basket = till.add(basket, COFFEE, TEA)
    assert skus(basket) == [(1, "TEA"), (3, "COFFEE"), (4, "TEA")]
    basket = till.update(basket, 3, quantity=2, price=150)
    assert basket.lines[1].item.quantity == 2
    assert basket.amount == gbp(TEA_MINOR + 300 + TEA_MINOR)
    basket = till.remove(till.remove(till.remove(basket, 1), 3), 4)
    assert (skus(basket), basket.amount) == ([], gbp(0))
    assert skus(till.add(basket, TEA)) == [(5, "TEA")]
    assert till.events(basket) == ["OPENED", *["CHANGED"] * 7]


def test_an_unknown_line_is_neither_changed_nor_removed(till: Till) -> None:
    basket = till.create()
    with refused("LINE_NOT_FOUND", StatusCode.NOT_FOUND):
        till.update(basket, 2, quantity=1)
    with refused("LINE_NOT_FOUND", StatusCode.NOT_FOUND):
        till.remove(basket, 0)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (api.NewLine(sku="", quantity=1, unit_price_minor=1), "lines[0].sku"),
        (api.NewLine(sku="x" * 65, quantity=1, unit_price_minor=1), "lines[0].sku"),
        (api.NewLine(sku="A", quantity=1, unit_price_minor=1, title="x" * 257), "lines[0].title"),
        (api.NewLine(sku="A", quantity=0, unit_price_minor=1), "lines[0].quantity"),
        (api.NewLine(sku="A", quantity=-1, unit_price_minor=1), "lines[0].quantity"),
        (api.NewLine(sku="A", quantity=2**63 - 1, unit_price_minor=1), "lines[0].quantity"),
        (api.NewLine(sku="A", quantity=1, unit_price_minor=-1), "lines[0].unit_price_minor"),
        (api.NewLine(sku="A", quantity=1, unit_price_minor=-(2**63)), "lines[0].unit_price_minor"),
        (api.NewLine(sku="A", quantity=MINOR_UNITS_MAX, unit_price_minor=2), "lines[0]"),
        (api.NewLine(sku="A", quantity=1, unit_price_minor=1, price_quantity=-1), "lines[0].price_quantity"),
        (api.NewLine(sku="A", quantity=1, unit_price_minor=1, gtin="4006381333930"), "lines[0].gtin"),
        (api.NewLine(sku="A", quantity=1, unit_price_minor=1, tax_rate_ppm=-1), "lines[0].tax_rate_ppm"),
        (api.NewLine(sku="A", quantity=1, unit_price_minor=1, override_reason="x" * 129), "lines[0].override_reason"),
        (api.NewLine(sku="A", quantity=1, label_amount_minor=-1), "lines[0].label_amount_minor"),
        (api.NewLine(sku="A", quantity=1, unit_price_minor=9, adjustments=[off(-10)]), "lines[0]"),
        (
            api.NewLine(sku="A", quantity=1, unit_price_minor=9, adjustments=[off(0)]),
            "lines[0].adjustments[0].amount_minor",
        ),
    ],
)
def test_a_line_that_makes_no_sense_is_named(till: Till, line: api.NewLine, field: str) -> None:
    basket = till.create()
    calls: list[Callable[[], object]] = [lambda: till.create(lines=[line]), lambda: till.add(basket, line)]
    for add in calls:
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            add()
        assert [violation.field for violation in refusals[0].violations] == [field]
    assert till.get(basket).amount == gbp(TEA_MINOR)


def test_every_wrong_field_of_a_request_is_told_at_once(till: Till) -> None:
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        till.create(
            "no such payer!", currency="XAU", request_id="?", labels={"a b": "x"}, lane="?", cashier_id="x" * 65
        )
    assert [violation.field for violation in refusals[0].violations] == [
        *("request_id", "identity_id", "currency_code", "labels key", "lane", "cashier_id")
    ]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):  # a UUID is a reference, and no identity
        till.create(new_request_id())
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.add(till.create())
    for quantity in (None, 0):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            till.update(till.create(), 1, quantity=quantity)
        assert [violation.field for violation in refusals[0].violations] == ["quantity"]


def test_a_basket_holds_two_thousand_lines_and_no_more(till: Till) -> None:
    basket = till.create(lines=[TEA] * 2000)
    assert basket.amount == gbp(2000 * TEA_MINOR)
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.add(basket, TEA)
    assert said(till.submit(basket)) == "SUBMITTED NOT_TRIED"


def test_a_repeated_request_changes_nothing_and_gets_the_checkout_as_it_is_now(till: Till) -> None:
    create_id, add_id = new_request_id(), new_request_id()
    first = till.create(request_id=create_id)
    more = till.add(first, COFFEE, request_id=add_id)
    now = till.add(more, COFFEE)
    assert till.create(request_id=create_id) == now
    assert till.add(first, COFFEE, request_id=add_id) == now
    assert len(till.get(first).lines) == 3


def test_a_refusal_is_the_answer_to_its_request_id_for_ever(till: Till) -> None:
    empty, request_id = till.create(lines=[]), new_request_id()
    for _ in range(2):
        with refused("CHECKOUT_EMPTY", StatusCode.FAILED_PRECONDITION) as refusals:
            till.submit(empty, request_id)
        assert refusals[0].retry_after_ms is None
        till.add(till.get(empty), TEA)


def test_a_request_id_is_used_for_one_thing_only(till: Till) -> None:
    local, asked = new_request_id(), new_request_id()
    basket = till.create(request_id=local)
    till.submit(basket, asked)
    uses: list[Callable[[str], object]] = [
        lambda request_id: till.create("bob", request_id=request_id),
        lambda request_id: till.add(basket, COFFEE, request_id=request_id),
        lambda request_id: till.submit(till.create(), request_id),
        lambda request_id: till.pay(till.get(basket), request_id),
        lambda request_id: till.refund(basket, refund_id=request_id),
        lambda request_id: import_items(till, article("A", 1), request_id=request_id),
        lambda request_id: till.resume(basket.checkout_id, request_id),
        lambda request_id: till.cancel_payment(basket, request_id),
    ]
    for use in uses:
        for request_id in (local, asked):
            with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
                use(request_id)


def test_a_canceled_basket_is_gone_for_good(till: Till) -> None:
    gone = till.cancel(till.create())
    assert gone.verdict_age.ToMilliseconds() == 0
    assert said(gone) == "CANCELED CLOSED"
    for change in (till.add_tea, till.submit, till.cancel):
        with refused("CHECKOUT_CANCELED", StatusCode.FAILED_PRECONDITION):
            change(gone)


def test_an_unknown_checkout_is_not_found(till: Till) -> None:
    nothing = checkout_pb2.Checkout(checkout_id="0000-0000-0000", basket_version=1, order_version=1, amount=gbp(1))
    calls: list[Callable[[checkout_pb2.Checkout], object]] = [
        *(till.get, till.add_tea, till.submit, till.pay, till.cancel, till.cancel_payment),
        *(till.receipt, till.history),
    ]
    for call in calls:
        with refused("CHECKOUT_NOT_FOUND", StatusCode.NOT_FOUND):
            call(nothing)


def test_checkouts_are_listed_newest_first_page_by_page(till: Till) -> None:
    who = f"who-{new_request_id()}"
    ids = [till.create(who).checkout_id for _ in range(5)]
    till.cancel(till.get(checkout_pb2.Checkout(checkout_id=ids[2])))
    seen: list[str] = []
    token = ""
    while True:
        request = api.ListCheckoutsRequest(
            payer=payer(who), states=[checkout_pb2.Checkout.STATE_BASKET], page_size=2, page_token=token
        )
        answer = till.service.ListCheckouts(request, timeout=DEADLINE_S)
        seen += [checkout.checkout_id for checkout in answer.checkouts]
        token = answer.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted([*ids[:2], *ids[3:]])
    created = [till.get(checkout_pb2.Checkout(checkout_id=seen_id)).create_time.ToMilliseconds() for seen_id in seen]
    assert created == sorted(created, reverse=True)


@pytest.mark.parametrize(("token", "size"), [("nonsense", 0), ("", -1)])
def test_pages_are_asked_for_with_tokens_that_were_given(till: Till, token: str, size: int) -> None:
    events = api.ListCheckoutEventsRequest(checkout_id=till.create().checkout_id, page_token=token, page_size=size)
    calls: list[Callable[[], object]] = [
        lambda: till.service.ListCheckouts(api.ListCheckoutsRequest(page_token=token, page_size=size)),
        lambda: till.service.ListCheckoutEvents(events),
        lambda: till.refunds.ListTillRefunds(refunds_api.ListTillRefundsRequest(page_token=token, page_size=size)),
        lambda: till.catalogue.ListCatalogueItems(
            catalogue_api.ListCatalogueItemsRequest(page_token=token, page_size=size)
        ),
    ]
    for call in calls:
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
            call()


def test_states_that_are_none_can_not_be_listed(till: Till) -> None:
    for state in (0, 99):
        request = api.ListCheckoutsRequest(states=[state])  # type: ignore[list-item]
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
            till.service.ListCheckouts(request, timeout=DEADLINE_S)


def test_nothing_is_listed_of_a_payer_who_can_be_nobody(till: Till) -> None:
    calls: list[Callable[[], object]] = [
        lambda: till.service.ListCheckouts(api.ListCheckoutsRequest(payer=payer("no spaces"))),
        lambda: till.refunds.ListTillRefunds(refunds_api.ListTillRefundsRequest(payer=payer("no spaces"))),
        lambda: till.service.ListPendingOrders(api.ListPendingOrdersRequest(payer=payer("no spaces"))),
    ]
    for call in calls:
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            call()
        assert [violation.field for violation in refusals[0].violations] == ["payer.identity_id"]


def test_the_catalogue_gives_title_and_price_to_lines_that_lack_them(till: Till) -> None:
    import_items(till, article("MUG", 850, title="Mug"), article("GIFT", 0))
    basket = till.create(
        lines=[
            api.NewLine(sku="MUG", quantity=2),
            api.NewLine(sku="MUG", quantity=1, unit_price_minor=800),
            api.NewLine(sku="MUG", quantity=1, title="Mug, chipped"),
            api.NewLine(sku="GIFT", quantity=1),
            api.NewLine(sku="FREE", quantity=1, unit_price_minor=0),
        ]
    )
    assert [(line.item.title, line.item.unit_price_minor) for line in basket.lines] == [
        ("Mug", 850),
        ("Mug", 800),
        ("Mug, chipped", 850),
        ("The GIFT", 0),
        ("", 0),
    ]
    import_items(till, article("MUG", 900))
    assert till.get(basket) == basket
    assert till.add(basket, api.NewLine(sku="MUG", quantity=1)).lines[-1].item.unit_price_minor == 900


def test_what_the_catalogue_can_not_price_is_refused(till: Till) -> None:
    import_items(till, article("YEN", 100, "JPY"))
    with refused("ITEM_NOT_FOUND", StatusCode.NOT_FOUND):
        till.create(lines=[api.NewLine(sku="mug", quantity=1)])
    with refused("CURRENCY_MISMATCH", StatusCode.INVALID_ARGUMENT):
        till.create(lines=[api.NewLine(sku="YEN", quantity=1)])
    assert till.create(lines=[api.NewLine(sku="YEN", quantity=3)], currency="JPY").amount.minor_units == 300


def test_articles_are_imported_all_or_none(till: Till) -> None:
    bad = [article("GOOD", 1), article("", 1), article("TWICE", 1), article("TWICE", 2), article("ODD", 1, "GPB")]
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        import_items(till, *bad)
    assert [violation.field for violation in refusals[0].violations] == [
        "items[1].sku",
        "items[3].sku",
        "items[4].unit_price.currency_code",
    ]
    with refused("ITEM_NOT_FOUND", StatusCode.NOT_FOUND):
        till.catalogue.GetCatalogueItem(catalogue_api.GetCatalogueItemRequest(sku="GOOD"))
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        import_items(till)


def test_an_import_that_is_repeated_does_not_undo_a_later_one(till: Till) -> None:
    first = new_request_id()
    count = import_items(till, article("CUP", 1), request_id=first)
    import_items(till, article("CUP", 2), article("SAUCER", 3))
    assert import_items(till, article("CUP", 1), request_id=first) == count + 1  # as it is now
    found = till.catalogue.GetCatalogueItem(catalogue_api.GetCatalogueItemRequest(sku="CUP"))
    assert found.unit_price == gbp(2)


def test_articles_are_listed_by_code(till: Till) -> None:
    import_items(till, *(article(f"L{number}", number + 1) for number in (3, 1, 2)))
    seen: list[str] = []
    token = ""
    while True:
        request = catalogue_api.ListCatalogueItemsRequest(page_size=2, page_token=token)
        answer = till.catalogue.ListCatalogueItems(request, timeout=DEADLINE_S)
        seen += [item.sku for item in answer.items]
        token = answer.next_page_token
        if not token:
            break
    assert seen == sorted(set(seen))
    assert {"L1", "L2", "L3"} <= set(seen)


def test_an_approval_is_taken_and_one_that_is_too_long_is_refused(till: Till) -> None:
    def open_basket(approval_id: str) -> checkout_pb2.Checkout:
        request = api.CreateCheckoutRequest(request_id=new_request_id(), lines=[TEA], approval_id=approval_id)
        return till.service.CreateCheckout(request, timeout=DEADLINE_S)

    assert said(open_basket("a" * 64)) == "BASKET NOT_TRIED"
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
        open_basket("a" * 65)
    assert [violation.field for violation in refusals[0].violations] == ["approval_id"]


def test_wherever_there_is_an_approval_one_that_is_too_long_is_refused(till: Till) -> None:
    basket, approval_id = till.create(), "a" * 65
    checkout_id, basket_version = basket.checkout_id, basket.basket_version
    add = api.AddLinesRequest(
        request_id="r-1", checkout_id=checkout_id, basket_version=basket_version, lines=[TEA], approval_id=approval_id
    )
    update = api.UpdateLineRequest(
        request_id="r-1",
        checkout_id=checkout_id,
        basket_version=basket_version,
        line_number=1,
        quantity=9,
        approval_id=approval_id,
    )
    adjust = api.AdjustCheckoutRequest(
        request_id="r-1",
        checkout_id=checkout_id,
        basket_version=basket_version,
        adjustment=off(-1),
        approval_id=approval_id,
    )
    refund = refunds_api.RefundCheckoutRequest(refund_id="r-1", checkout_id=checkout_id, approval_id=approval_id)
    back = refunds_api.ReturnGoodsRequest(refund_id="r-1", identity_id="ada", lines=[goods(1)], approval_id=approval_id)
    calls: list[Callable[[], object]] = [
        lambda: till.service.AddLines(add, timeout=DEADLINE_S),
        lambda: till.service.UpdateLine(update, timeout=DEADLINE_S),
        lambda: till.service.AdjustCheckout(adjust, timeout=DEADLINE_S),
        lambda: till.refunds.RefundCheckout(refund, timeout=DEADLINE_S),
        lambda: till.refunds.ReturnGoods(back, timeout=DEADLINE_S),
    ]
    for call in calls:
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            call()
        assert [violation.field for violation in refusals[0].violations] == ["approval_id"]
    assert till.get(basket) == basket
