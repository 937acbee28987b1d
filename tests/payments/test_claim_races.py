"""Phones and tills at once: whatever wins, one phone has the order, and one code shows it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clocks import ManualClock
from tests.payments.claims import (
    CLAIM_MS,
    PRESENTED_MS,
    claim,
    claimed,
    new_code,
    pay_claimed,
    present,
    presenting,
    release,
    rows,
    shown,
    signed_in,
)
from tests.payments.phones import Phone, order_under_reference, scan
from tests.payments.side import Side, payment_side, state_and_reason
from tests.postgres import Cluster
from tests.processes import Server
from tillmesh.api.payment.v1 import order_claim_pb2
from tillmesh.runtime.errors import Refusal

MANY, ROUNDS = 12, 6


@pytest.fixture
async def sides(
    side: Side, database_url: str, tmp_path: Path, order_service: Server, clock: ManualClock
) -> AsyncIterator[tuple[Side, Side]]:
    """Two servers on one PostgreSQL database; on SQLite, which has one writer, the same one twice."""
    async with AsyncExitStack() as stack:
        other = side
        if database_url.startswith("postgresql"):
            other = await stack.enter_async_context(payment_side(database_url, tmp_path, order_service.address, clock))
        yield side, other


@pytest.fixture(autouse=True)
def no_deadlocks(request: pytest.FixtureRequest, database_url: str) -> Any:
    yield
    if database_url.startswith("postgresql"):
        postgres: Cluster = request.getfixturevalue("postgres")
        assert postgres.deadlocks(database_url) == 0


async def outcomes(calls: Sequence[Awaitable[object]]) -> Counter[str]:
    """What became of calls that were made at once: "done", or the reason of a refusal."""
    ended = await asyncio.gather(*calls, return_exceptions=True)
    unexpected = [each for each in ended if isinstance(each, BaseException) and not isinstance(each, Refusal)]
    assert unexpected == []
    return Counter(each.reason if isinstance(each, Refusal) else "done" for each in ended)


async def phones(side: Side, count: int) -> list[Phone]:
    return [await signed_in(side) for _ in range(count)]


async def test_of_many_phones_that_scan_at_once_one_has_the_order(sides: tuple[Side, Side]) -> None:
    scanning = await phones(sides[0], MANY)
    for _ in range(ROUNDS):
        order = await order_under_reference(sides[0])
        code = await shown(sides[0], order)
        calls = [claim(phone, code, side=sides[number % 2]) for number, phone in enumerate(scanning)]
        assert await outcomes(calls) == {"done": 1, "ORDER_CLAIMED": MANY - 1}
        assert (await outcomes([claimed(phone, order) for phone in scanning]))["done"] == 1
        (row,) = [row for row in await rows(sides[0]) if row["order_id"] == order.order_id]
        (winner,) = [phone for phone in scanning if phone.identity_id == row["claimed_by"]]
        await release(winner, order)


async def test_when_a_claim_is_over_one_phone_is_the_next(sides: tuple[Side, Side]) -> None:
    first, *others = await phones(sides[0], MANY)
    order = await order_under_reference(sides[0])
    code = await shown(sides[0], order)
    await claim(first, code)
    sides[0].clock.advance(CLAIM_MS)
    calls = [claim(phone, code, side=sides[number % 2]) for number, phone in enumerate(others)]
    assert await outcomes(calls) == {"done": 1, "ORDER_CLAIMED": MANY - 2}


async def test_one_payer_has_no_more_claims_however_many_are_made_at_once(sides: tuple[Side, Side]) -> None:
    phone = await signed_in(sides[0])
    for _ in range(2):
        codes = [await shown(sides[0], await order_under_reference(sides[0])) for _ in range(MANY)]
        calls = [claim(phone, code, side=sides[number % 2]) for number, code in enumerate(codes)]
        ended = await outcomes(calls)
        assert set(ended) <= {"done", "CLAIMS_EXHAUSTED", "CONCURRENT_CHANGE"}
        assert ended["done"] <= 8
        await outcomes([claim(phone, code) for code in codes])
        live = [row for row in await rows(sides[0]) if row["claimed_until_ms"] > sides[0].clock.now_ms()]
        assert sorted(row["claim_place"] for row in live) == list(range(1, 9))
        sides[0].clock.advance(CLAIM_MS)


async def test_a_lane_that_presents_many_orders_at_once_shows_one_of_them(sides: tuple[Side, Side]) -> None:
    phone = await signed_in(sides[0])
    sticker = new_code()
    for _ in range(ROUNDS):
        orders = [await order_under_reference(sides[0]) for _ in range(4)]
        calls = [
            present(sides[number % 2], presenting(order, new_code(), sticker)) for number, order in enumerate(orders)
        ]
        assert await outcomes(calls) == {"done": 4}
        (row,) = await rows(sides[0])
        seen = await claim(phone, sticker)
        assert seen.order.order_id == row["order_id"]
        await release(phone, seen.order)


async def test_lanes_that_swap_their_orders_at_once_end_with_one_code_each(sides: tuple[Side, Side]) -> None:
    stickers = [new_code(), new_code()]
    orders = [await order_under_reference(sides[0]) for _ in stickers]
    for number in range(ROUNDS):
        calls = [
            present(side, presenting(order, new_code(), stickers[(number + lane) % 2]))
            for lane, (side, order) in enumerate(zip(sides, orders, strict=True))
        ]
        assert await outcomes(calls) == {"done": 2}
        kept = await rows(sides[0])
        assert 1 <= len(kept) <= 2
        assert len({bytes(row["sticker_hash"]) for row in kept}) == len(kept)


async def test_presented_anew_and_claimed_at_once_leaves_no_claim_of_the_old_code(sides: tuple[Side, Side]) -> None:
    phone = await signed_in(sides[0])
    for _ in range(ROUNDS):
        order = await order_under_reference(sides[0])
        old = await shown(sides[0], order)
        ended = await outcomes([claim(phone, old), present(sides[1], presenting(order, new_code()))])
        assert ended["done"] >= 1
        assert set(ended) <= {"done", "CLAIM_CODE_NOT_FOUND"}
        assert await outcomes([claimed(phone, order)]) == {"CLAIM_NOT_FOUND": 1}


async def test_many_that_remove_what_is_over_at_once_all_present(sides: tuple[Side, Side]) -> None:
    for _ in range(2 * MANY):
        await shown(sides[0], await order_under_reference(sides[0]))
    sides[0].clock.advance(PRESENTED_MS)
    orders = [await order_under_reference(sides[0]) for _ in range(MANY)]
    calls = [present(sides[number % 2], presenting(order, new_code())) for number, order in enumerate(orders)]
    assert await outcomes(calls) == {"done": MANY}
    assert sorted(row["order_id"] for row in await rows(sides[0])) == sorted(order.order_id for order in orders)


async def test_claims_and_payments_at_once_charge_each_order_once(sides: tuple[Side, Side]) -> None:
    """Two phones scan, a third shopper shows a pay code, and the till presents anew: the order is paid once."""
    scanning = await phones(sides[0], 2)
    third = await signed_in(sides[0])

    async def claim_and_pay(phone: Phone, code: str, side: Side) -> order_claim_pb2.OrderClaim:
        seen = await claim(phone, code, side=side)
        await pay_claimed(phone, seen.order)
        return seen

    for number in range(1, ROUNDS + 1):
        order = await order_under_reference(sides[0], 100)
        code = await shown(sides[0], order)
        await outcomes(
            [
                *(claim_and_pay(phone, code, side) for phone, side in zip(scanning, sides, strict=True)),
                scan(sides[1], order, third.code()),
                present(sides[0], presenting(order, new_code())),
            ]
        )
        if not (await sides[0].order_now(order)).payment_id:
            sides[0].clock.advance(30_000)
            assert state_and_reason(await scan(sides[0], order, third.code())) == ("CAPTURED", "")
        wallets = [await sides[0].wallet(phone.identity_id) for phone in (*scanning, third)]
        assert sum(posted for posted, _ in wallets) == 15_000 - 100 * number
        assert [held for _, held in wallets] == [0, 0, 0]
        sides[0].clock.advance(30_000)
    await sides[0].books()
