import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import MetaData

from tillmesh.api.order.v1 import order_pb2, order_service_pb2
from tillmesh.runtime.database import Database, open_database
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.requests import Request, RequestLog
from tillmesh.runtime.statements import Connection

METADATA = MetaData()
LOG = RequestLog(METADATA)


class Counter:
    """An effect that shows how often it happened."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> order_pb2.Order:
        self.count += 1
        return order_pb2.Order(order_id="o-1", version=self.count)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url, METADATA)
    yield database
    await database.close()


async def once(database: Database, request: Request, effect: Counter) -> order_pb2.Order:
    return await database.run(lambda connection: LOG.once(connection, request, order_pb2.Order, effect))


def request(order_id: str = "o-1") -> order_service_pb2.CancelOrderRequest:
    return order_service_pb2.CancelOrderRequest(request_id="r-1", order_id=order_id, version=1)


async def test_the_same_request_gets_the_first_answer_and_has_one_effect(database: Database) -> None:
    effect = Counter()
    answers = [await once(database, request(), effect) for _ in range(3)]
    assert [answer.version for answer in answers] == [1, 1, 1]
    assert effect.count == 1


async def test_the_first_answer_outlives_the_process(database: Database, database_url: str) -> None:
    await once(database, request(), Counter())
    await database.close()
    reopened = open_database(database_url, METADATA)
    later = Counter()
    assert (await once(reopened, request(), later)).version == 1
    assert later.count == 0
    await reopened.close()


async def test_other_content_under_the_same_id_is_refused(database: Database) -> None:
    effect = Counter()
    await once(database, request(), effect)
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED: The request id r-1 was already used"):
        await once(database, request("o-2"), effect)
    assert effect.count == 1


async def test_another_call_with_the_same_fields_is_other_content(database: Database) -> None:
    await once(database, request(), Counter())
    update = order_service_pb2.UpdateOrderRequest(request_id="r-1", order_id="o-1", version=1)
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await once(database, update, Counter())


async def test_a_refusal_is_an_answer_too_and_a_late_copy_finds_it(database: Database) -> None:
    refused = True
    effect = Counter()

    def decide() -> order_pb2.Order:
        if refused:
            raise CommonReason.INVALID_FIELD(problems="it is too early")
        return effect()

    async def send() -> order_pb2.Order:
        return await LOG.run(
            database, request(), lambda connection: LOG.once(connection, request(), order_pb2.Order, decide)
        )

    with pytest.raises(Refusal) as first:
        await send()
    refused = False
    with pytest.raises(Refusal) as late:
        await send()
    assert str(late.value) == str(first.value)
    assert (late.value.code, late.value.metadata) == (first.value.code, first.value.metadata)
    assert effect.count == 0


async def test_of_two_copies_at_once_one_decides_for_both(database: Database) -> None:
    decisions = iter([CommonReason.INVALID_FIELD(problems="first"), None])
    effect = Counter()

    def decide() -> order_pb2.Order:
        refusal = next(decisions)
        if refusal:
            raise refusal
        return effect()

    async def send() -> order_pb2.Order:
        return await LOG.run(
            database, request(), lambda connection: LOG.once(connection, request(), order_pb2.Order, decide)
        )

    answers = await asyncio.gather(send(), send())
    assert answers[0] == answers[1]
    assert effect.count == 1


async def test_what_was_not_decided_is_not_remembered(database: Database) -> None:
    outcomes = iter([CommonReason.STORAGE_UNAVAILABLE(), None])

    def decide() -> order_pb2.Order:
        undecided = next(outcomes)
        if undecided:
            raise undecided
        return order_pb2.Order(order_id="o-1")

    async def send() -> order_pb2.Order:
        return await LOG.run(
            database, request(), lambda connection: LOG.once(connection, request(), order_pb2.Order, decide)
        )

    with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
        await send()
    assert (await send()).order_id == "o-1"


async def test_a_request_that_failed_had_no_effect_and_may_be_sent_again(database: Database) -> None:
    def fail() -> order_pb2.Order:
        raise ZeroDivisionError

    def failing(connection: Connection) -> order_pb2.Order:
        return LOG.once(connection, request(), order_pb2.Order, fail)

    with pytest.raises(ZeroDivisionError):
        await database.run(failing)
    effect = Counter()
    await once(database, request(), effect)
    assert effect.count == 1


async def test_a_request_whose_answer_is_how_things_stand_now_has_its_effect_once(database: Database) -> None:
    async def first(order_id: str) -> bool:
        return await database.run(lambda connection: LOG.first(connection, request(order_id)))

    assert [await first("o-1") for _ in range(3)] == [True, False, False]
    with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
        await first("o-2")
