"""The shop's QR code: who sees an order by it, for how long, and what ends that."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.payments.claims import (
    CLAIM_MS,
    MINUTE_MS,
    PRESENTED_MS,
    claim,
    claimed,
    claimed_order,
    falsify,
    new_code,
    present,
    presenting,
    release,
    rows,
    shown,
    signed_in,
)
from tests.payments.phones import OTHER_TILL, Phone, order_under_reference, payer, scan
from tests.payments.side import STORE, Side, line, refused, state_and_reason
from thirdparty_server.errors import Reason
from tillmesh import claim_code
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import claim_service_pb2 as api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Caller, Role
from tillmesh.rpc.messages import from_duration
from tillmesh.runtime.errors import CommonReason, Unanswered
from tillmesh.runtime.ids import new_request_id

NEW_TILL = Caller(f"spiffe://tillmesh/terminal/{STORE}/till-9", Role.TERMINAL, STORE)


async def cancel(side: Side, order: order_pb2.Order) -> None:
    await side.orders.CancelOrder(
        orders_api.CancelOrderRequest(request_id=new_request_id(), order_id=order.order_id, version=1)
    )


async def has_none(phone: Phone, order: order_pb2.Order) -> None:
    with refused(Reason.CLAIM_NOT_FOUND):
        await claimed(phone, order)


async def shows_nothing(phone: Phone, code: str) -> None:
    with refused(Reason.CLAIM_CODE_NOT_FOUND):
        await claim(phone, code)


# Presenting


async def test_a_presented_order_can_be_claimed_for_as_long_as_the_shop_says_and_no_longer_than_may_be(
    side: Side,
) -> None:
    order = await order_under_reference(side)
    for wanted_ms, given_ms in ((MINUTE_MS, MINUTE_MS), (10**12, PRESENTED_MS)):
        presented = await present(side, presenting(order, new_code(), lifetime_ms=wanted_ms))
        assert (presented.order_id, presented.claimed) == (order.order_id, False)
        assert from_duration(presented.remaining) == given_ms


async def test_another_store_s_order_cannot_be_presented(side: Side) -> None:
    order = await order_under_reference(side)
    request = presenting(order, code := new_code())
    with refused(Reason.ORDER_NOT_FOUND):
        await present(side, request, OTHER_TILL)
    request.order_id, request.request_id = "no-such-order", new_request_id()
    with refused(Reason.ORDER_NOT_FOUND):
        await present(side, request)
    await shows_nothing(await signed_in(side), code)


async def test_an_order_that_names_its_payer_is_not_presented(side: Side) -> None:
    order = await side.order(await side.shopper())
    with refused(Reason.PAYER_NAMED):
        await present(side, presenting(order, new_code()))


async def test_what_is_paid_or_canceled_is_not_presented(side: Side) -> None:
    paid, canceled = await order_under_reference(side), await order_under_reference(side)
    await scan(side, paid, (await payer(side)).code())
    await cancel(side, canceled)
    for order, state in ((paid, "PAID"), (canceled, "CANCELED")):
        with refused(Reason.ORDER_NOT_PENDING) as seen:
            await present(side, presenting(order, new_code()))
        assert seen[0].metadata["state"] == state


async def test_a_refused_presentation_stays_refused_under_its_id(side: Side) -> None:
    order = await order_under_reference(side)
    request = presenting(order, new_code())
    request.order_id = "comes-later"
    with refused(Reason.ORDER_NOT_FOUND):
        await present(side, request)
    request.order_id = order.order_id
    with refused(CommonReason.REQUEST_ID_REUSED):
        await present(side, request)


@pytest.mark.parametrize(
    "wrong",
    [
        {"request_id": ""},
        {"order_id": ""},
        {"code_hash": b""},
        {"code_hash": bytes(31)},
        {"sticker_hash": bytes(33)},
        {"sticker_hash": bytes(32)},
        {"lifetime": Duration()},
        {"lifetime": Duration(seconds=-1)},
    ],
)
async def test_an_unusable_presentation_is_told_what_is_wrong(side: Side, wrong: dict[str, Any]) -> None:
    good: dict[str, Any] = {
        "request_id": "request-1",
        "order_id": "order-1",
        "code_hash": bytes(32),
        "lifetime": Duration(seconds=1),
    }
    request = api.PresentOrderRequest(**good | wrong)
    with refused(CommonReason.INVALID_FIELD) as seen:
        await present(side, request)
    assert [violation.field for violation in seen[0].violations] == list(wrong)


async def test_a_repeat_presents_nothing_anew(side: Side) -> None:
    """A copy that comes late finds another code shown by now, and leaves it."""
    phone = await signed_in(side)
    order = await order_under_reference(side)
    first = presenting(order, old := new_code())
    await present(side, first)
    code = await shown(side, order)
    side.clock.advance(MINUTE_MS)
    assert from_duration((await present(side, first, NEW_TILL)).remaining) == PRESENTED_MS - MINUTE_MS
    await shows_nothing(phone, old)
    await claim(phone, code)
    assert (await present(side, first)).claimed
    await claimed(phone, order)


async def test_a_repeat_about_an_order_that_was_paid_since_is_answered_all_the_same(side: Side) -> None:
    order = await order_under_reference(side)
    await present(side, request := presenting(order, new_code()))
    await scan(side, order, (await payer(side)).code())
    repeated = await present(side, request)
    assert (repeated.order_id, repeated.claimed, from_duration(repeated.remaining)) == (order.order_id, False, 0)


async def test_an_order_service_that_is_away_decides_nothing(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = await signed_in(side)
    order = await order_under_reference(side)
    request, request_id = presenting(order, code := new_code()), new_request_id()

    async def away(_order_id: str) -> None:
        raise Unanswered("away")

    with monkeypatch.context() as broken:
        broken.setattr(type(side.claims.pending_orders), "find", lambda _self, order_id: away(order_id))
        with pytest.raises(Unanswered):
            await present(side, request)
    await present(side, request)
    with monkeypatch.context() as broken:
        broken.setattr(type(side.claims.pending_orders), "find", lambda _self, order_id: away(order_id))
        with pytest.raises(Unanswered):
            await claim(phone, code, request_id)
    await claim(phone, code, request_id)


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


# Stickers


async def test_the_sticker_of_a_lane_is_for_what_the_lane_presents(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    first, second = await order_under_reference(side), await order_under_reference(side)
    sticker = new_code()
    await shows_nothing(phone, sticker)
    old = await shown(side, first, sticker)
    assert (await claim(phone, sticker)).order.order_id == first.order_id
    with refused(Reason.ORDER_CLAIMED):
        await claim(other, old)
    await shown(side, second, sticker)
    await has_none(phone, first)  # the lane shows something else by now
    await shows_nothing(phone, old)
    assert (await claim(other, sticker)).order.order_id == second.order_id


async def test_lanes_do_not_end_what_other_lanes_present(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    stickers = new_code(), new_code()
    orders = [await order_under_reference(side) for _ in stickers]
    for order, sticker in zip(orders, stickers, strict=True):
        await shown(side, order, sticker)
    await claim(phone, stickers[0])
    await claim(other, stickers[1])
    await shown(side, await order_under_reference(side))  # of a lane without a sticker
    await claimed(phone, orders[0])
    await claimed(other, orders[1])


async def test_a_shop_that_copies_another_s_codes_ends_nothing_there_and_shows_nothing_of_its_own(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    order, sticker = await order_under_reference(side), new_code()
    code = await shown(side, order, sticker)
    await claim(phone, code)
    elsewhere = await side.orders.CreateOrder(
        orders_api.CreateOrderRequest(
            request_id=new_request_id(),
            store_id="store-2",
            payer=Payer(reference=new_request_id()),
            currency_code="GBP",
            lines=[line(1)],
        )
    )
    await present(side, presenting(elsewhere, code, sticker), OTHER_TILL)
    await claimed(phone, order)
    for copied in (code, sticker):
        await shows_nothing(other, copied)


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
