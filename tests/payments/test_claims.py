"""The shop's QR code: who sees an order by it, for how long, and what ends that."""

import pytest

from tests.payments.claims import (
    CLAIM_MS,
    MINUTE_MS,
    PRESENTED_MS,
    cancel,
    claim,
    claimed,
    claimed_order,
    falsify,
    has_none,
    new_code,
    present,
    presenting,
    release,
    rows,
    shown,
    shows_nothing,
    signed_in,
)
from tests.payments.phones import order_under_reference, scan
from tests.payments.side import STORE, Side, refused, state_and_reason
from thirdparty_server.errors import Reason
from tillmesh import claim_code
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import claim_service_pb2 as api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.rpc.messages import from_duration
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import new_request_id

# Claiming


async def test_whoever_scans_the_code_sees_the_order_without_what_is_the_store_s_own(side: Side) -> None:
    phone = await signed_in(side)
    priced = LineItem(sku="TEA", title="Tea", quantity=2, unit_price_minor=150)
    priced.price_source = LineItem.PRICE_SOURCE_OVERRIDE
    priced.price_override.reason = "damaged"
    order = await side.orders.CreateOrder(
        orders_api.CreateOrderRequest(
            request_id=new_request_id(),
            store_id=STORE,
            payer=Payer(reference=new_request_id()),
            currency_code="GBP",
            lines=[priced],
            labels={"table": "7"},
            terminal_id="till-1",
            lane="lane-1",
            cashier_id="Zoe",
        )
    )
    seen = await claim(phone, await shown(side, order))
    assert from_duration(seen.remaining) == CLAIM_MS
    told = seen.order
    assert (told.order_id, told.store_id, told.version, told.amount) == (order.order_id, STORE, 1, order.amount)
    assert [(item.title, item.quantity) for item in told.lines] == [("Tea", 2)]
    assert not told.lines[0].HasField("price_override")
    assert (told.HasField("payer"), dict(told.labels), told.terminal_id, told.lane, told.cashier_id) == (
        False, {}, "", "", "",
    )  # fmt: skip
    assert await claimed(phone, order) == seen


async def test_the_first_phone_has_it_and_its_payer_may_scan_again(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order, code = await claimed_order(side, phone)
    with refused(Reason.ORDER_CLAIMED):
        await claim(other, code)
    await has_none(other, order)
    side.clock.advance(MINUTE_MS)
    assert from_duration((await claim(phone, code)).remaining) == CLAIM_MS


async def test_whoever_has_no_claim_is_refused_as_if_there_were_no_such_order(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order, _ = await claimed_order(side, phone)
    unknown = order_pb2.Order(order_id="unknown")
    for ask in (claimed, release):
        heard = []
        for about in (order, unknown):
            with refused(Reason.CLAIM_NOT_FOUND) as seen:
                await ask(other, about)
            heard.append(seen[0].text.replace(about.order_id, ""))
        assert heard[0] == heard[1]


async def test_a_claim_ends_with_its_time_and_then_another_phone_has_it(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order, code = await claimed_order(side, phone)
    side.clock.advance(CLAIM_MS - 1)
    assert from_duration((await claimed(phone, order)).remaining) == 1
    with refused(Reason.ORDER_CLAIMED):
        await claim(other, code)
    side.clock.advance(1)
    await has_none(phone, order)
    await claim(other, code)
    with refused(Reason.ORDER_CLAIMED):
        await claim(phone, code)


async def test_a_phone_that_comes_too_late_finds_nothing(side: Side) -> None:
    phone = await signed_in(side)
    order = await order_under_reference(side)
    await present(side, presenting(order, code := new_code(), lifetime_ms=MINUTE_MS))
    side.clock.advance(MINUTE_MS)
    await shows_nothing(phone, code)


async def test_a_claim_outlasts_what_it_was_claimed_by(side: Side) -> None:
    phone = await signed_in(side)
    order = await order_under_reference(side)
    await present(side, presenting(order, code := new_code(), lifetime_ms=MINUTE_MS))
    side.clock.advance(MINUTE_MS - 1)
    await claim(phone, code)
    side.clock.advance(1)
    await shown(side, await order_under_reference(side))  # it removes what is over
    await claimed(phone, order)


async def test_a_repeat_of_a_claim_is_the_same_claim_until_it_ends(side: Side) -> None:
    phone = await signed_in(side)
    order = await order_under_reference(side)
    code, request_id = await shown(side, order), new_request_id()
    await claim(phone, code, request_id)
    side.clock.advance(MINUTE_MS)
    assert from_duration((await claim(phone, code, request_id)).remaining) == CLAIM_MS - MINUTE_MS
    await release(phone, order)
    with refused(Reason.CLAIM_NOT_FOUND):
        await claim(phone, code, request_id)
    await has_none(phone, order)


async def test_a_code_that_showed_nothing_shows_nothing_later_under_the_same_id(side: Side) -> None:
    phone = await signed_in(side)
    code, request_id = new_code(), new_request_id()
    with refused(Reason.CLAIM_CODE_NOT_FOUND):
        await claim(phone, code, request_id)
    order = await order_under_reference(side)
    await present(side, presenting(order, code))
    with refused(Reason.CLAIM_CODE_NOT_FOUND):
        await claim(phone, code, request_id)
    await claim(phone, code)


@pytest.mark.parametrize("text", ["", "27123456789465650089", "TILLMESH-CLAIM1/a", "\x1d"])
async def test_a_text_that_is_no_code_is_refused_and_not_repeated(side: Side, text: str) -> None:
    with refused(CommonReason.INVALID_FIELD) as seen:
        await claim(await signed_in(side), text)
    assert seen[0].text == "The request has an invalid field: code must be the text of a shop's QR code."


async def test_only_a_phone_claims(side: Side) -> None:
    for call in (
        side.claims.ClaimOrder(api.ClaimOrderRequest(request_id=new_request_id(), code=new_code())),
        side.claims.GetOrderClaim(api.GetOrderClaimRequest(order_id="order")),
        side.claims.ReleaseOrderClaim(api.ReleaseOrderClaimRequest(request_id=new_request_id(), order_id="order")),
    ):
        with refused(CommonReason.UNAUTHENTICATED):
            await call


# What ends a claim


async def test_a_released_claim_is_somebody_else_s_to_have(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order, code = await claimed_order(side, phone)
    with refused(Reason.CLAIM_NOT_FOUND):
        await release(other, order)
    await release(phone, order, request_id := new_request_id())
    await has_none(phone, order)
    await claim(other, code)
    await release(phone, order, request_id)  # a copy that comes late
    await claimed(other, order)
    with refused(Reason.CLAIM_NOT_FOUND):
        await release(phone, order)


async def test_an_order_that_is_presented_anew_is_free_again_under_the_new_code_alone(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order, old = await claimed_order(side, phone)
    code = await shown(side, order)
    await has_none(phone, order)
    await shows_nothing(phone, old)
    await claim(other, code)


@pytest.mark.parametrize("end", ["paid", "canceled"])
async def test_a_final_order_ends_its_claim(side: Side, end: str) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order, code = await claimed_order(side, phone)
    if end == "paid":
        assert state_and_reason(await scan(side, order, other.code())) == ("CAPTURED", "")
    else:
        await cancel(side, order)
    await has_none(phone, order)
    await shows_nothing(other, code)


async def test_a_code_of_an_order_that_was_canceled_meanwhile_is_told_so_once(side: Side) -> None:
    phone = await signed_in(side)
    order = await order_under_reference(side)
    code, request_id = await shown(side, order), new_request_id()
    await cancel(side, order)
    for _ in range(2):
        with refused(Reason.ORDER_NOT_PENDING):
            await claim(phone, code, request_id)
    assert await rows(side) == []
    await shows_nothing(phone, code)


async def test_an_order_service_that_was_set_back_ends_what_it_no_longer_knows(side: Side) -> None:
    """It may have lost an order, or have another one of that number."""
    phone = await signed_in(side)
    lost, (order, _) = await order_under_reference(side), await claimed_order(side, phone)
    code = await shown(side, lost)
    await falsify(side, lost, order_id="lost")
    await shows_nothing(phone, code)
    await falsify(side, order, reference="another")
    await has_none(phone, order)
    assert await rows(side) == []


# What is bounded


async def test_a_payer_has_a_few_claims_at_a_time(side: Side) -> None:
    phone = await signed_in(side)
    orders = [(await claimed_order(side, phone))[0] for _ in range(8)]
    another = await order_under_reference(side)
    code, request_id = await shown(side, another), new_request_id()
    with refused(Reason.CLAIMS_EXHAUSTED):
        await claim(phone, code, request_id)
    await release(phone, orders[3])
    await claim(phone, code, request_id)  # nothing was decided before
    side.clock.advance(CLAIM_MS)
    for _ in range(8):
        await claimed_order(side, phone)


async def test_what_is_over_is_removed_as_others_are_presented(side: Side) -> None:
    phone = await signed_in(side)
    for _ in range(8):
        await claimed_order(side, phone)
    for _ in range(12):
        await shown(side, await order_under_reference(side))
    side.clock.advance(PRESENTED_MS)
    for left in (20 - 16 + 1, 2, 3):
        await shown(side, await order_under_reference(side))
        assert len(await rows(side)) == left


@pytest.mark.parametrize("back_ms", [MINUTE_MS, 10**9])
async def test_a_clock_that_stepped_back_makes_nothing_last_longer_than_if_it_were_new(
    side: Side, back_ms: int
) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order, code = await claimed_order(side, phone)
    side.clock.advance(-back_ms)
    assert from_duration((await claimed(phone, order)).remaining) == CLAIM_MS
    side.clock.advance(CLAIM_MS)
    await claim(other, code)
    side.clock.advance(-back_ms)
    with refused(Reason.ORDER_CLAIMED):
        await claim(phone, code)
    side.clock.advance(CLAIM_MS)
    await claim(phone, code)


async def test_no_code_is_kept(side: Side) -> None:
    phone = await signed_in(side)
    order = await order_under_reference(side)
    code = await shown(side, order, sticker := new_code())
    await claim(phone, code)
    (row,) = await rows(side)
    assert (row["code_hash"], row["sticker_hash"]) == (claim_code.digest(code), claim_code.digest(sticker))
    assert not [value for value in row.values() if isinstance(value, str) and "TILLMESH" in value]
