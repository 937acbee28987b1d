"""Creating, changing, listing: what a till sees of orders."""

import pytest
from google.protobuf.message import Message

from order_service.model import LINES_MAX
from tests.orders.shop import COFFEE, LEASE_MS, TEA, Shop, state
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.money import MINOR_UNITS_MAX
from tillmesh.runtime.telemetry import trace_id

Order = order_pb2.Order


def line(quantity: int = 1, minor: int = 1, sku: str = "TEA", title: str = "") -> LineItem:
    return LineItem(sku=sku, title=title, quantity=quantity, unit_price_minor=minor)


async def refused_fields(call: object) -> list[str]:
    with pytest.raises(Refusal) as raised:
        await call  # type: ignore[misc]
    assert raised.value.reason == "INVALID_FIELD"
    return [violation.field for violation in raised.value.violations]


async def test_an_order_starts_open_at_version_one_and_has_no_epoch(shop: Shop) -> None:
    order = await shop.create(currency="JPY")
    assert (state(order), order.version, order.epoch, order.payment_id) == ("OPEN", 1, 0, "")
    assert (order.amount.currency_code, order.amount.minor_units) == ("JPY", 250)
    assert list(order.lines) == list(TEA)
    assert await shop.order() == order


async def test_a_number_is_chosen_for_an_order_that_brings_none(shop: Shop) -> None:
    first, second = await shop.create(""), await shop.create("")
    assert first.order_id != second.order_id
    assert await shop.order(first.order_id) == first


async def test_a_number_that_is_taken_is_refused(shop: Shop) -> None:
    await shop.create()
    with pytest.raises(Refusal, match="ORDER_EXISTS: There is an order o-1 already"):
        await shop.create()


async def test_equal_lines_stay_separate_and_in_their_order(shop: Shop) -> None:
    lines = [line(1, 5, "B"), line(1, 5, "A"), line(1, 5, "B"), line(-1, 2, "b"), line(2, -3, "OFF")]
    order = await shop.create(lines=lines)
    assert list(order.lines) == lines
    assert order.amount.minor_units == 5 + 5 + 5 - 2 - 6


async def test_an_order_that_is_not_there_is_named(shop: Shop) -> None:
    for call in (shop.order("o-9"), shop.update(1, order_id="o-9"), shop.cancel(1, "o-9"), shop.history("o-9")):
        with pytest.raises(Refusal, match="ORDER_NOT_FOUND: There is no order o-9"):
            await call


async def test_lines_are_changed_in_place(shop: Shop) -> None:
    before = await shop.create()
    shop.clock.advance(5)
    after = await shop.update(version=1, lines=COFFEE)
    assert (after.order_id, after.version, after.amount.minor_units) == ("o-1", 2, 400)
    assert list(after.lines) == list(COFFEE)
    assert after.create_time == before.create_time
    assert after.update_time.ToMilliseconds() == before.update_time.ToMilliseconds() + 5


# Invariant 6: the first answer, for ever.


async def test_a_creation_that_is_repeated_gets_the_first_answer_whatever_happened_since(shop: Shop) -> None:
    first = await shop.create(request_id="r-1")
    await shop.update(version=1)
    assert await shop.create(request_id="r-1") == first
    await shop.cancel(version=2)
    assert await shop.create(request_id="r-1") == first
    assert await shop.events() == ["CREATED", "UPDATED", "CANCELED"]


async def test_a_creation_without_a_number_creates_one_order_however_often_it_is_sent(shop: Shop) -> None:
    first = await shop.create("", request_id="r-1")
    assert await shop.create("", request_id="r-1") == first
    assert len((await shop.service.ListOrders(api.ListOrdersRequest())).orders) == 1


async def test_a_change_that_is_repeated_gets_the_first_answer_and_changes_nothing_more(shop: Shop) -> None:
    await shop.create()
    first = await shop.update(version=1, request_id="r-1")
    await shop.lock("p", version=2, minor=400)
    assert await shop.update(version=1, request_id="r-1") == first
    canceled_request = shop.cancel(version=2, request_id="r-1")
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await canceled_request
    assert await shop.events() == ["CREATED", "UPDATED", "LOCKED"]


async def test_a_copy_of_a_refused_change_that_comes_late_changes_nothing(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    with pytest.raises(Refusal, match="ORDER_LOCKED"):
        await shop.update(version=1, request_id="r-1")
    await shop.cancel_payment("p")
    with pytest.raises(Refusal, match="ORDER_LOCKED"):
        await shop.update(version=1, request_id="r-1")
    assert (await shop.order()).version == 1
    assert (await shop.update(version=1, request_id="r-2")).version == 2


# Fields.


async def test_everything_that_is_wrong_with_a_request_is_told_at_once(shop: Shop) -> None:
    fields = await refused_fields(
        shop.create("o 1", [line(0, 1, ""), line(1, 1, title="x" * 257)], store_id="", payer_id="é", currency="GBp")
    )
    assert fields == [
        "order_id",
        "store_id",
        "payer_id",
        "currency_code",
        "lines[0].sku",
        "lines[0].quantity",
        "lines[1].title",
    ]


@pytest.mark.parametrize(
    ("lines", "field"),
    [
        ([], "lines"),
        ([line()] * (LINES_MAX + 1), "lines"),
        ([line(1, -1)], "lines"),
        ([line(1, MINOR_UNITS_MAX), line(1, 1)], "lines"),
        ([line(1, MINOR_UNITS_MAX + 1)], "lines[0].unit_price_minor"),
        ([line(2**63 - 1, 2**63 - 1)], "lines[0].quantity"),
        ([line(-(2**63), 1)], "lines[0].quantity"),
        ([line(sku="x" * 65)], "lines[0].sku"),
    ],
)
async def test_lines_that_make_no_order_are_refused(shop: Shop, lines: list[LineItem], field: str) -> None:
    await shop.create()
    assert field in await refused_fields(shop.create("o-2", lines))
    assert field in await refused_fields(shop.update(1, lines))
    assert await shop.events() == ["CREATED"]


async def test_the_largest_order_there_may_be_is_an_order(shop: Shop) -> None:
    lines = [line(1, MINOR_UNITS_MAX), *[line(10**6, 1), line(-(10**6), 1)] * ((LINES_MAX - 2) // 2), line(1, 0)]
    assert len(lines) == LINES_MAX
    order = await shop.create(lines=lines)
    assert order.amount.minor_units == MINOR_UNITS_MAX
    assert await shop.order() == order


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (api.CreateOrderRequest(), ["request_id", "store_id", "payer_id", "currency_code", "lines"]),
        (api.UpdateOrderRequest(version=0), ["request_id", "version", "lines"]),
        (api.CancelOrderRequest(version=-1), ["request_id", "version"]),
        (
            api.LockOrderRequest(),
            [
                "payment_id",
                "order_id",
                "payer_id",
                "order_version",
                "amount.currency_code",
                "amount.minor_units",
                "lease",
            ],
        ),
        (api.CompleteOrderPaymentRequest(epoch=-(2**63)), ["payment_id", "order_id", "epoch"]),
        (api.CancelOrderPaymentRequest(payment_id="x" * 65), ["payment_id", "order_id"]),
        (api.ListOrdersRequest(page_size=-1), ["page_size"]),
        (api.ListOrderEventsRequest(order_id="o-1", page_size=-1), ["page_size"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else "",
)
async def test_an_empty_request_names_every_field_it_needs(shop: Shop, request_: Message, fields: list[str]) -> None:
    method = getattr(shop.service, type(request_).__name__.removesuffix("Request"))
    assert await refused_fields(method(request_)) == fields


# Lists.


async def listed(shop: Shop, **filters: object) -> list[str]:
    answer = await shop.service.ListOrders(api.ListOrdersRequest(**filters))  # type: ignore[arg-type]
    assert answer.next_page_token == ""
    return [order.order_id for order in answer.orders]


async def test_orders_are_found_by_store_payer_and_state_newest_first(shop: Shop) -> None:
    for number, (store, payer) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]):
        shop.clock.advance(1)
        await shop.create(f"o-{number}", store_id=store, payer_id=payer)
    await shop.lock("p", order_id="o-2", payer_id="x")
    await shop.cancel(1, "o-3")
    assert await listed(shop) == ["o-3", "o-2", "o-1", "o-0"]
    assert await listed(shop, store_id="a") == ["o-1", "o-0"]
    assert await listed(shop, payer_id="x") == ["o-2", "o-0"]
    assert await listed(shop, payer_id="x", store_id="b") == ["o-2"]
    assert await listed(shop, states=[Order.STATE_OPEN, Order.STATE_LOCKED]) == ["o-2", "o-1", "o-0"]
    assert await listed(shop, states=[Order.STATE_CANCELED]) == ["o-3"]
    assert await listed(shop, payer_id="nobody") == []


async def test_a_list_shows_a_locked_order_with_the_time_that_remains(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(1_000)
    (order,) = (await shop.service.ListOrders(api.ListOrdersRequest(payer_id="payer-1"))).orders
    assert (state(order), order.payment_id) == ("LOCKED", "p")
    assert order.lease_remaining.ToMilliseconds() == LEASE_MS - 1_000


async def test_pages_show_every_order_once_although_orders_arrive_meanwhile(shop: Shop) -> None:
    for number in range(7):
        await shop.create(f"o-{number}")  # all in one millisecond: the number decides
    seen, token = [], ""
    while True:
        answer = await shop.service.ListOrders(api.ListOrdersRequest(page_size=3, page_token=token))
        seen += [order.order_id for order in answer.orders]
        shop.clock.advance(1)
        await shop.create("")
        token = answer.next_page_token
        if not token:
            break
    assert seen == [f"o-{number}" for number in reversed(range(7))]


async def test_a_page_token_is_good_for_its_own_filters_only(shop: Shop) -> None:
    for number in range(3):
        await shop.create(f"o-{number}")
    token = (await shop.service.ListOrders(api.ListOrdersRequest(page_size=1))).next_page_token
    others: list[api.ListOrdersRequest] = [
        api.ListOrdersRequest(page_token=token, store_id="store-1"),
        api.ListOrdersRequest(page_token=token, payer_id="payer-1"),
        api.ListOrdersRequest(page_token=token, states=[Order.STATE_OPEN]),
        api.ListOrdersRequest(page_token="forged"),
    ]
    for request in others:
        assert await refused_fields(shop.service.ListOrders(request)) == ["page_token"]
    assert await refused_fields(
        shop.service.ListOrderEvents(api.ListOrderEventsRequest(order_id="o-1", page_token=token))
    ) == ["page_token"]


@pytest.mark.parametrize("unknown", [Order.STATE_UNSPECIFIED, 99])
async def test_a_filter_by_a_state_that_is_none_is_refused(shop: Shop, unknown: int) -> None:
    request = api.ListOrdersRequest(states=[unknown])  # type: ignore[list-item]
    (field,) = await refused_fields(shop.service.ListOrders(request))
    assert field.startswith("states")


async def test_a_filter_with_more_states_than_there_are_is_refused(shop: Shop) -> None:
    many = api.ListOrdersRequest(states=[Order.STATE_OPEN] * 200_000)
    assert await refused_fields(shop.service.ListOrders(many)) == ["states"]


# History.


async def test_every_change_is_told_with_number_versions_and_trace(shop: Shop) -> None:
    trace_id.set("0123456789abcdef0123456789abcdef")
    await shop.create()
    await shop.update(version=1)
    await shop.lock("p", version=2, minor=400)
    history = await shop.history()
    assert [(entry.number, entry.event, entry.version, entry.amount.minor_units) for entry in history] == [
        (1, "CREATED", 1, 250),
        (2, "UPDATED", 2, 400),
        (3, "LOCKED", 2, 400),
    ]
    assert history[0].from_state == Order.STATE_UNSPECIFIED
    assert {entry.trace_id for entry in history} == {"0123456789abcdef0123456789abcdef"}
    assert [entry.payment_id for entry in history] == ["", "", "p"]


async def test_a_long_history_is_read_in_pages(shop: Shop) -> None:
    await shop.create()
    for version in range(1, 7):
        await shop.update(version=version)
    numbers, token = [], ""
    while True:
        request = api.ListOrderEventsRequest(order_id="o-1", page_size=3, page_token=token)
        answer = await shop.service.ListOrderEvents(request)
        numbers.append([entry.number for entry in answer.events])
        token = answer.next_page_token
        if not token:
            break
    assert numbers == [[1, 2, 3], [4, 5, 6], [7]]
