"""The shop's QR code: which orders a store presents, and what its displays and stickers show."""

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from tests.payments.claims import (
    MINUTE_MS,
    PRESENTED_MS,
    cancel,
    claim,
    claimed,
    has_none,
    new_code,
    present,
    presenting,
    shown,
    shows_nothing,
    signed_in,
)
from tests.payments.phones import OTHER_TILL, order_under_reference, payer, scan
from tests.payments.side import STORE, Side, line, refused
from thirdparty_server.errors import Reason
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import claim_service_pb2 as api
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Caller, Role
from tillmesh.rpc.messages import from_duration
from tillmesh.runtime.errors import CommonReason, Unanswered
from tillmesh.runtime.ids import new_request_id

NEW_TILL = Caller(f"spiffe://tillmesh/terminal/{STORE}/till-9", Role.TERMINAL, STORE)


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
    phone = await signed_in(side)
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
        assert (await claim(phone, copied)).order.order_id == order.order_id
