"""Request ids: each acts once, for ever; a repeat gets the order as it is now, or the first refusal."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from sqlalchemy import select

from order_service.tables import METADATA
from tests.orders.shop import COFFEE, GIFT, LEASE_MS, Shop, line, state
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.statements import Transaction

KEPT_BYTES_MAX = 400
Call = Callable[[Shop], Coroutine[Any, Any, order_pb2.Order]]


async def test_a_creation_that_is_repeated_gets_the_order_as_it_is_now(shop: Shop) -> None:
    await shop.create(request_id="r-1")
    replaced = await shop.replace_lines(version=1)
    assert await shop.create(request_id="r-1") == replaced
    canceled = await shop.cancel(version=2)
    assert await shop.create(request_id="r-1") == canceled
    assert (canceled.version, state(canceled)) == (2, "CANCELED")
    assert await shop.events() == ["CREATED", "LINES_REPLACED", "CANCELED"]


async def test_a_creation_without_a_number_creates_one_order_however_often_it_is_sent(shop: Shop) -> None:
    first = await shop.create("", request_id="r-1")
    assert await shop.create("", request_id="r-1") == first
    assert len((await shop.service.ListOrders(api.ListOrdersRequest())).orders) == 1


async def test_a_change_that_is_repeated_gets_the_order_as_it_is_now_and_changes_nothing_more(shop: Shop) -> None:
    await shop.create()
    await shop.replace_lines(version=1, request_id="r-1")
    await shop.lock("p", version=2, minor=400)
    shop.clock.advance(1_000)
    again = await shop.replace_lines(version=1, request_id="r-1")
    assert (state(again), again.payment_id, again.version) == ("LOCKED", "p", 2)
    assert again.lease_remaining.ToMilliseconds() == LEASE_MS - 1_000
    assert await shop.events() == ["CREATED", "LINES_REPLACED", "LOCKED"]


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (lambda shop: shop.create(request_id="r-1"), lambda shop: shop.create(lines=COFFEE, request_id="r-1")),
        (lambda shop: shop.create(request_id="r-1"), lambda shop: shop.create(labels={"a": "b"}, request_id="r-1")),
        (lambda shop: shop.create(request_id="r-1"), lambda shop: shop.cancel(1, request_id="r-1")),
        (lambda shop: shop.create(request_id="r-1"), lambda shop: shop.complete_free(1, request_id="r-1")),
    ],
)
async def test_a_request_id_with_other_content_is_refused_and_changes_nothing(
    shop: Shop, first: Call, other: Call
) -> None:
    created = await first(shop)
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await other(shop)
    assert await shop.order() == created


CHANGES: dict[str, Callable[[Shop, str], Coroutine[Any, Any, order_pb2.Order]]] = {
    "ReplaceOrderLines": lambda shop, request_id: shop.replace_lines(1, request_id=request_id),
    "CancelOrder": lambda shop, request_id: shop.cancel(1, request_id=request_id),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_what_a_lock_refused_stays_refused_and_is_done_under_a_new_id(
    shop: Shop, change: Callable[[Shop, str], Coroutine[Any, Any, order_pb2.Order]]
) -> None:
    """RetryInfo would tell clients to send the same request again, which is refused for ever."""
    await shop.create()
    await shop.lock("p")
    shop.clock.advance(1_500)
    refusals = []
    for _ in range(2):
        with pytest.raises(Refusal, match="ORDER_LOCKED") as raised:
            await change(shop, "r-1")
        refusals.append(raised.value.to_status("order.tillmesh"))
        await shop.cancel_payment("p")
    first, again = refusals
    assert first == again
    assert [detail.TypeName() for detail in first.details] == ["google.rpc.ErrorInfo"]
    refusal = Refusal.from_status(first)
    assert refusal is not None
    assert refusal.metadata == {"order_id": "o-1", "payment_id": "p", "seconds_left": "59"}
    assert await shop.events() == ["CREATED", "LOCKED", "PAYMENT_CANCELED"]
    assert (await change(shop, "r-2")).update_time == (await shop.order()).update_time
    assert len(await shop.events()) == 4


async def kept_bytes(shop: Shop) -> dict[str, int]:
    """How much is kept of each request id."""

    def read(transaction: Transaction) -> dict[str, int]:
        rows = transaction.execute(select(METADATA.tables["requests"]))
        return {row["request_id"]: sum(map(_size, row.values())) for row in rows}

    return await shop.database.run(read)


def _size(cell: object) -> int:
    return len(cell if isinstance(cell, bytes) else str(cell).encode())


async def test_what_is_kept_of_a_request_id_is_small_however_large_the_order_is(shop: Shop) -> None:
    lines = [line(f"{number:064}", 1, 10**12, "x" * 256) for number in range(200)]
    await shop.create("o-1", lines, request_id="create")
    await shop.replace_lines(1, lines, request_id="replace")
    await shop.create("o-2", GIFT)
    await shop.complete_free(1, "o-2", request_id="complete")
    with pytest.raises(Refusal, match="ORDER_ALREADY_PAID"):
        await shop.cancel(1, "o-2", request_id="refused")
    kept = await kept_bytes(shop)
    assert {"create", "replace", "complete", "refused"} <= set(kept)
    assert max(kept.values()) < KEPT_BYTES_MAX
