"""Two order services on one PostgreSQL database, asked at the same time: they are as one."""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from order_service.audit import version_findings
from order_service.tables import METADATA
from tests.clocks import ManualClock
from tests.orders.shop import COFFEE, GIFT, LEASE_MS, TEA_MINOR, Shop, state
from tests.orders.test_watch import looking, watch
from tests.postgres import Cluster
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.storage.chains import HistoryTable, read_chains
from tillmesh.storage.database import open_engine, parse_url

ROUNDS = 20
LOOKS_MAX = 5
"""Until all older transactions have ended, on a busy cluster."""
HISTORY = HistoryTable("order_history", "orders", "order_id")
ORDERS = [f"o-{number}" for number in range(ROUNDS)]


@pytest.fixture
async def shops(postgres: Cluster, clock: ManualClock) -> AsyncIterator[tuple[Shop, Shop]]:
    with postgres.database(METADATA) as url:
        first, second = Shop(url, clock), Shop(url, clock)
        yield first, second
        await asyncio.gather(first.database.close(), second.database.close())
        with open_engine(parse_url(url)).connect() as connection:
            assert [chain for chain in read_chains(connection, HISTORY) if chain.findings] == []
            assert list(version_findings(connection)) == []
        assert postgres.deadlocks(url) == 0


async def locked(shops: tuple[Shop, Shop]) -> None:
    """As many orders as there are rounds, each locked by a payment of its number."""
    await asyncio.gather(*(shops[0].create(order_id) for order_id in ORDERS))
    await asyncio.gather(*(shops[1].lock(f"p-{order_id}", order_id=order_id) for order_id in ORDERS))


async def test_of_completion_and_cancellation_one_wins_and_both_say_which(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    await locked(shops)
    ends: Counter[str] = Counter()
    for number, order_id in enumerate(ORDERS):
        calls = [first.complete(f"p-{order_id}", 1, order_id), second.cancel_payment(f"p-{order_id}", order_id)]
        answers = await asyncio.gather(*(calls if number % 2 else calls[::-1]))
        (verdict,) = {state(answer) for answer in answers}
        assert state(await first.order(order_id)) == {"PAID": "PAID", "RELEASED": "OPEN"}[verdict]
        ends[verdict] += 1
    assert sum(ends.values()) == ROUNDS


async def test_of_completion_and_the_end_of_the_lease_one_wins(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    await locked(shops)
    first.clock.advance(LEASE_MS)
    completing = asyncio.gather(*(first.complete(f"p-{order_id}", 1, order_id) for order_id in ORDERS))
    await asyncio.gather(completing, second.sweep())
    answers = await completing
    await second.sweep()
    for order_id, answer in zip(ORDERS, answers, strict=True):
        assert state(await second.order(order_id)) == {"PAID": "PAID", "RELEASED": "OPEN"}[state(answer)]


async def test_sweepers_share_the_work_and_end_each_lock_once(shops: tuple[Shop, Shop]) -> None:
    await locked(shops)
    shops[0].clock.advance(LEASE_MS)
    swept = await asyncio.gather(*(shop.sweep() for shop in shops))
    while released := sum(await asyncio.gather(*(shop.sweep() for shop in shops))):
        swept.append(released)
    assert sum(swept) == ROUNDS
    for order_id in ORDERS:
        assert await shops[1].events(order_id) == ["CREATED", "LOCKED", "LEASE_EXPIRED"]


async def test_of_two_payments_one_gets_the_lock(shops: tuple[Shop, Shop]) -> None:
    await asyncio.gather(*(shops[0].create(order_id) for order_id in ORDERS))
    for order_id in ORDERS:
        answers = await asyncio.gather(
            *(shop.lock(f"{order_id}-{number}", order_id=order_id) for number, shop in enumerate(shops))
        )
        assert sorted(map(state, answers)) == ["GRANTED", "REFUSED"]
        assert (await shops[0].order(order_id)).epoch == 1


async def test_a_lock_request_that_comes_to_both_is_one(shops: tuple[Shop, Shop]) -> None:
    await asyncio.gather(*(shops[0].create(order_id) for order_id in ORDERS))
    for order_id in ORDERS:
        first, second = await asyncio.gather(*(shop.lock("p-" + order_id, order_id=order_id) for shop in shops))
        assert (state(first), first.epoch) == (state(second), second.epoch) == ("GRANTED", 1)
        assert await shops[0].events(order_id) == ["CREATED", "LOCKED"]


async def test_a_cancellation_that_overtakes_its_lock_request_ends_it(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    await asyncio.gather(*(first.create(order_id) for order_id in ORDERS))
    for number, order_id in enumerate(ORDERS):
        calls = [
            first.lock(f"p-{order_id}", order_id=order_id),
            second.cancel_payment(f"p-{order_id}", order_id),
        ]
        await asyncio.gather(*(calls if number % 2 else calls[::-1]))
        assert state(await first.lock(f"p-{order_id}", order_id=order_id)) == "RELEASED"
        assert state(await second.order(order_id)) == "OPEN"


async def test_an_order_is_locked_as_it_was_consented_to_or_changed_but_not_both(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    await asyncio.gather(*(first.create(order_id) for order_id in ORDERS))
    for order_id in ORDERS:
        lock, replaced = await asyncio.gather(
            first.lock(f"p-{order_id}", order_id=order_id),
            second.replace_lines(1, order_id=order_id),
            return_exceptions=True,
        )
        assert isinstance(lock, order_payment_pb2.OrderPayment)
        order = await first.order(order_id)
        if isinstance(replaced, Refusal):
            assert (replaced.reason, state(lock)) == ("ORDER_LOCKED", "GRANTED")
            assert (order.version, order.amount.minor_units) == (1, TEA_MINOR)
        else:
            assert (state(lock), lock.reason) == ("REFUSED", "VERSION_MISMATCH")
            assert (order.version, list(order.lines)) == (2, list(COFFEE))


async def test_a_free_order_is_completed_as_it_was_shown_or_changed_but_not_both(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    await asyncio.gather(*(first.create(order_id, GIFT) for order_id in ORDERS))
    for order_id in ORDERS:
        completed, replaced = await asyncio.gather(
            first.complete_free(1, order_id),
            second.replace_lines(1, order_id=order_id),
            return_exceptions=True,
        )
        order = await first.order(order_id)
        if isinstance(completed, Refusal):
            assert (completed.reason, state(order), order.version) == ("VERSION_MISMATCH", "OPEN", 2)
        else:
            assert isinstance(replaced, Refusal)
            assert (replaced.reason, state(order), order.amount.minor_units) == ("ORDER_ALREADY_PAID", "PAID", 0)


async def test_a_request_that_comes_to_both_has_one_effect_and_one_answer(shops: tuple[Shop, Shop]) -> None:
    for order_id in ORDERS:
        created = await asyncio.gather(*(shop.create(order_id, request_id=f"create-{order_id}") for shop in shops))
        assert created[0] == created[1]
        replaced = await asyncio.gather(
            *(shop.replace_lines(1, order_id=order_id, request_id=f"replace-{order_id}") for shop in shops)
        )
        assert [order.version for order in replaced] == [2, 2]
        assert await shops[0].events(order_id) == ["CREATED", "LINES_REPLACED"]


async def test_a_request_id_with_two_contents_has_one_effect(shops: tuple[Shop, Shop]) -> None:
    for order_id in ORDERS:
        outcomes = await asyncio.gather(
            *(
                shop.create(order_id, request_id=f"create-{order_id}", payer=Payer(identity_id=f"payer-{number}"))
                for number, shop in enumerate(shops)
            ),
            return_exceptions=True,
        )
        (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        assert refusal.reason == CommonReason.REQUEST_ID_REUSED.name
        (order,) = [outcome for outcome in outcomes if isinstance(outcome, order_pb2.Order)]
        assert await shops[0].order(order_id) == order


async def test_a_reader_hears_at_once_of_what_another_replica_writes(
    shops: tuple[Shop, Shop], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = shops
    monkeypatch.setattr(second.streams, "_anyway_s", math.inf)  # so it must be told
    async with looking(first), looking(second), watch(second) as reader:
        for number in range(20):
            looks = second.streams.looks
            await first.create(f"o-{number}")
            await reader.read(number + 1)
            assert second.streams.looks - looks <= LOOKS_MAX
