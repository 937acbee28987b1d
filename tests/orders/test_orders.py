"""Creating, changing, listing: what a till sees of orders."""

import pytest
from google.protobuf.message import Message

from tests.orders.shop import COFFEE, LEASE_MS, PAYER, REFERENCE, TEA, Shop, event_name, line, refused_fields, state
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.telemetry import trace_id

Order = order_pb2.Order
UUID = REFERENCE.reference


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
    lines = [line("B", 1, 5), line("A", 1, 5), line("B", 1, 5), line("b", 1, 5)]
    order = await shop.create(lines=lines)
    assert list(order.lines) == lines
    assert order.amount.minor_units == 20


LABELS = {"invoice": "2026-11/7", "note": "with a bow", "table": ""}


async def test_what_an_integrator_attaches_is_kept_through_every_change(shop: Shop) -> None:
    order = await shop.create(labels=LABELS, terminal_id="terminal-1", lane="lane-3", cashier_id="Ada Lovelace")
    await shop.replace_lines(version=1)
    await shop.lock("p", version=2, minor=400)
    paid = (await shop.complete("p", 1), await shop.order())[1]
    for seen in (order, paid, (await shop.service.ListOrders(api.ListOrdersRequest())).orders[0]):
        assert dict(seen.labels) == LABELS
        assert (seen.terminal_id, seen.lane, seen.cashier_id) == ("terminal-1", "lane-3", "Ada Lovelace")


@pytest.mark.parametrize(
    ("labels", "fields"),
    [
        ({f"label-{number}": "" for number in range(17)}, ["labels"]),
        ({"": "x"}, ["labels key"]),
        ({"x" * 65: "x"}, ["labels key"]),
        ({"a b": "x"}, ["labels key"]),
        ({"note": "x" * 257}, ["labels['note']"]),
        ({"note": "a\nb"}, ["labels['note']"]),
    ],
    ids=str,
)
async def test_labels_beyond_what_is_kept_are_refused(shop: Shop, labels: dict[str, str], fields: list[str]) -> None:
    assert await refused_fields(shop.create(labels=labels)) == fields


async def test_as_many_labels_as_there_may_be_are_kept(shop: Shop) -> None:
    labels = {f"{number:064}": "é" * 256 for number in range(16)}
    assert dict((await shop.create(labels=labels)).labels) == labels


async def test_an_order_that_is_not_there_is_named(shop: Shop) -> None:
    for call in (
        shop.order("o-9"),
        shop.version(1, "o-9"),
        shop.replace_lines(1, order_id="o-9"),
        shop.cancel(1, "o-9"),
        shop.complete_free(1, "o-9"),
        shop.history("o-9"),
    ):
        with pytest.raises(Refusal, match="ORDER_NOT_FOUND: There is no order o-9"):
            await call


async def test_lines_are_changed_in_place(shop: Shop) -> None:
    before = await shop.create()
    shop.clock.advance(5)
    after = await shop.replace_lines(version=1, lines=COFFEE)
    assert (after.order_id, after.version, after.amount.minor_units) == ("o-1", 2, 400)
    assert list(after.lines) == list(COFFEE)
    assert after.create_time == before.create_time
    assert after.update_time.ToMilliseconds() == before.update_time.ToMilliseconds() + 5


# Fields.


async def test_everything_that_is_wrong_with_a_request_is_told_at_once(shop: Shop) -> None:
    bad_lines = [LineItem(), line("MUG", 1, 1, "x" * 257)]
    payer = Payer(identity_id="é")
    fields = await refused_fields(
        shop.create("o 1", bad_lines, store_id="", payer=payer, currency="GBp", lane="a b", cashier_id="x" * 65)
    )
    assert fields == [
        "order_id",
        "store_id",
        "payer.identity_id",
        "currency_code",
        "lines[0].sku",
        "lines[0].quantity",
        "lines[1].title",
        "lane",
        "cashier_id",
    ]


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (api.CreateOrderRequest(), ["request_id", "store_id", "payer", "currency_code", "lines"]),
        (api.ReplaceOrderLinesRequest(version=0), ["request_id", "version", "lines"]),
        (api.CancelOrderRequest(version=-1), ["request_id", "version"]),
        (api.CompleteFreeOrderRequest(version=-(2**63)), ["request_id", "version"]),
        (
            api.LockOrderRequest(),
            [
                "payment_id",
                "order_id",
                "payer",
                "order_version",
                "amount.currency_code",
                "lease",
            ],
        ),
        (api.CompleteOrderPaymentRequest(epoch=-(2**63)), ["payment_id", "order_id", "epoch"]),
        (api.CancelOrderPaymentRequest(payment_id="x" * 65), ["payment_id", "order_id"]),
        (api.ListOrdersRequest(page_size=-1), ["page_size"]),
        (api.ListOrdersRequest(payer=Payer()), ["payer"]),
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
    x, y = Payer(identity_id="x"), Payer(identity_id="y")
    for number, (store, payer) in enumerate([("a", x), ("a", y), ("b", x), ("b", y)]):
        shop.clock.advance(1)
        await shop.create(f"o-{number}", store_id=store, payer=payer)
    await shop.lock("p", order_id="o-2", payer=x)
    await shop.cancel(1, "o-3")
    assert await listed(shop) == ["o-3", "o-2", "o-1", "o-0"]
    assert await listed(shop, store_id="a") == ["o-1", "o-0"]
    assert await listed(shop, payer=x) == ["o-2", "o-0"]
    assert await listed(shop, payer=x, store_id="b") == ["o-2"]
    assert await listed(shop, states=[Order.STATE_OPEN, Order.STATE_LOCKED]) == ["o-2", "o-1", "o-0"]
    assert await listed(shop, states=[Order.STATE_CANCELED]) == ["o-3"]
    assert await listed(shop, payer=Payer(identity_id="nobody")) == []


async def test_orders_of_a_reference_are_found_by_it_and_by_no_identity(shop: Shop) -> None:
    await shop.create("o-1", payer=REFERENCE)
    await shop.create("o-2", payer=PAYER)
    assert (await shop.order("o-1")).payer == REFERENCE
    assert await listed(shop, payer=REFERENCE) == ["o-1"]
    assert await listed(shop, payer=PAYER) == ["o-2"]
    assert await listed(shop) == ["o-2", "o-1"]


@pytest.mark.parametrize(
    ("payer", "field"),
    [
        (Payer(identity_id=UUID), "payer.identity_id"),
        (Payer(identity_id=UUID.upper()), "payer.identity_id"),
        (Payer(reference="payer-1"), "payer.reference"),
        (Payer(reference=UUID.upper()), "payer.reference"),
        (Payer(), "payer"),
    ],
    ids=str,
)
async def test_no_identity_is_named_as_a_reference_and_none_has_the_form_of_one(
    shop: Shop, payer: Payer, field: str
) -> None:
    assert await refused_fields(shop.create(payer=payer)) == [field]
    assert await refused_fields(shop.lock("p", payer=payer)) == [field]
    assert await refused_fields(shop.service.ListOrders(api.ListOrdersRequest(payer=payer))) == [field]


async def test_a_list_shows_a_locked_order_with_the_time_that_remains(shop: Shop) -> None:
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(1_000)
    (order,) = (await shop.service.ListOrders(api.ListOrdersRequest(payer=PAYER))).orders
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


async def test_large_orders_make_shorter_pages_that_show_each_of_them(shop: Shop) -> None:
    lines = [line(f"{number:064}", 1, 1, "x" * 256) for number in range(600)]
    for number in range(20):
        await shop.create(f"o-{number}", lines)
        shop.clock.advance(1)
    answer = await shop.service.ListOrders(api.ListOrdersRequest())
    assert answer.ByteSize() < 4 * 1024 * 1024
    seen = [order.order_id for order in answer.orders]
    assert len(seen) < 20
    while answer.next_page_token:
        answer = await shop.service.ListOrders(api.ListOrdersRequest(page_token=answer.next_page_token))
        seen += [order.order_id for order in answer.orders]
    assert seen == [f"o-{number}" for number in reversed(range(20))]


async def test_a_page_token_is_good_for_its_own_filters_only(shop: Shop) -> None:
    for number in range(3):
        await shop.create(f"o-{number}")
    token = (await shop.service.ListOrders(api.ListOrdersRequest(page_size=1))).next_page_token
    others: list[api.ListOrdersRequest] = [
        api.ListOrdersRequest(page_token=token, store_id="store-1"),
        api.ListOrdersRequest(page_token=token, payer=PAYER),
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
    await shop.replace_lines(version=1)
    await shop.lock("p", version=2, minor=400)
    history = await shop.history()
    assert [(entry.number, event_name(entry), entry.version, entry.amount.minor_units) for entry in history] == [
        (1, "CREATED", 1, 250),
        (2, "LINES_REPLACED", 2, 400),
        (3, "LOCKED", 2, 400),
    ]
    assert history[0].from_state == Order.STATE_UNSPECIFIED
    assert {entry.trace_id for entry in history} == {"0123456789abcdef0123456789abcdef"}
    assert [entry.payment_id for entry in history] == ["", "", "p"]


async def test_a_long_history_is_read_in_pages(shop: Shop) -> None:
    await shop.create()
    for version in range(1, 7):
        await shop.replace_lines(version=version)
    numbers, token = [], ""
    while True:
        request = api.ListOrderEventsRequest(order_id="o-1", page_size=3, page_token=token)
        answer = await shop.service.ListOrderEvents(request)
        numbers.append([entry.number for entry in answer.events])
        token = answer.next_page_token
        if not token:
            break
    assert numbers == [[1, 2, 3], [4, 5, 6], [7]]
