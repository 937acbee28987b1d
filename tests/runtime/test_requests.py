import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from google.protobuf.message import Message
from grpc import StatusCode
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from tillmesh.api.order.v1 import order_service_pb2
from tillmesh.auth.callers import Caller, caller, parse_uri
from tillmesh.runtime.errors import CommonReason, ErrorReason, FieldViolation, Refusal, invalid
from tillmesh.storage.database import Database, open_database
from tillmesh.storage.requests import IdempotencyKey, answer_once, content_hash, requests_table
from tillmesh.storage.schema import versioned
from tillmesh.storage.statements import Transaction

METADATA = versioned("0001")
ROWS = requests_table(METADATA)
NOW_MS = 1_800_000_000_000
Effect = Callable[[], "Record"]


class Reason(ErrorReason):
    """Two ways to say no, and one not to say anything."""

    TOO_EARLY = (StatusCode.FAILED_PRECONDITION, "It is {seconds} seconds too early; try again under a new request id.")
    BUDGET_SPENT = (StatusCode.RESOURCE_EXHAUSTED, "This caller has guessed too often; try again later.")
    NOT_YOURS = (StatusCode.PERMISSION_DENIED, "This is another's.")
    AWAY = (StatusCode.UNAVAILABLE, "Nobody knows yet.")


@dataclass
class Record:
    """What requests make and change."""

    record_id: str
    version: int = 1


class Records:
    """All records; each is made under the id that its number gives it."""

    def __init__(self) -> None:
        self.by_id: dict[str, Record] = {}

    def next_id(self) -> str:
        """The id of the next one."""
        return f"record-{len(self.by_id) + 1}"

    def read(self, _transaction: Transaction, record_id: str) -> Record:
        """One of them."""
        return self.by_id[record_id]

    def make(self) -> Record:
        """One more."""
        record = Record(self.next_id())
        self.by_id[record.record_id] = record
        return record


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = open_database(database_url, METADATA)
    yield database
    await database.close()


@pytest.fixture
def records() -> Records:
    return Records()


def request(order_id: str = "o-1") -> order_service_pb2.CancelOrderRequest:
    return order_service_pb2.CancelOrderRequest(request_id="r-1", order_id=order_id, version=1)


def key_of(message: Message) -> IdempotencyKey:
    return IdempotencyKey.of(message, "r-1", NOW_MS)


async def send(
    database: Database, records: Records, effect: Effect | None = None, message: Message | None = None
) -> Record:
    """Sends a request, which makes a record or does what the test says; a refusal is remembered."""
    key, act = key_of(message or request()), effect or records.make
    return await answer_once(database, key, records.next_id(), records.read, lambda _transaction: act())


async def refusal(
    database: Database, records: Records, effect: Effect | None = None, message: Message | None = None
) -> Refusal:
    with pytest.raises(Refusal) as raised:
        await send(database, records, effect, message)
    return raised.value


def refuse(reason: ErrorReason, *, retry_after_ms: int | None = None, **facts: object) -> Effect:
    def effect() -> Record:
        raise reason(retry_after_ms=retry_after_ms, **facts)

    return effect


async def kept(database: Database) -> list[dict[str, object]]:
    return [dict(row) for row in await database.run(lambda transaction: transaction.execute(select(ROWS)).all())]


async def test_the_same_request_has_one_effect_and_gets_its_record_as_it_is_now(
    database: Database, records: Records
) -> None:
    first = await send(database, records)
    assert (await send(database, records)) == first == Record("record-1", version=1)
    records.by_id["record-1"].version = 7
    assert await send(database, records) == Record("record-1", version=7)
    assert list(records.by_id) == ["record-1"]


async def test_what_came_of_a_request_outlives_the_process(
    database: Database, database_url: str, records: Records
) -> None:
    await send(database, records)
    await database.close()
    reopened = open_database(database_url, METADATA)
    assert (await send(reopened, records)).record_id == "record-1"
    assert len(records.by_id) == 1
    await reopened.close()


async def test_other_content_under_the_same_id_is_refused(database: Database, records: Records) -> None:
    await send(database, records)
    refused = await refusal(database, records, message=request("o-2"))
    assert (refused.code, refused.reason) == (StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert "The request id r-1 was already used" in refused.text
    assert len(records.by_id) == 1
    assert (await send(database, records)).record_id == "record-1", "the first one still counts"


async def test_another_call_with_the_same_fields_is_other_content(database: Database, records: Records) -> None:
    await send(database, records)
    free = order_service_pb2.CompleteFreeOrderRequest(request_id="r-1", order_id="o-1", version=1)
    assert free.SerializeToString() == request().SerializeToString()
    assert (await refusal(database, records, message=free)).reason == "REQUEST_ID_REUSED"


async def test_a_late_copy_of_a_refused_request_gets_the_first_refusal(database: Database, records: Records) -> None:
    first = await refusal(database, records, refuse(Reason.TOO_EARLY, seconds=17))
    late = await refusal(database, records)
    assert (late.code, late.reason, late.text) == (StatusCode.FAILED_PRECONDITION, "TOO_EARLY", first.text)
    assert late.metadata == first.metadata == {"seconds": "17"}
    assert records.by_id == {}


async def test_a_remembered_refusal_tells_nobody_to_send_the_same_request_again(
    database: Database, records: Records
) -> None:
    """RetryInfo makes client libraries do that, and the answer would be the same for ever."""
    early = refuse(Reason.TOO_EARLY, retry_after_ms=17_000, seconds=17)
    for refused in [await refusal(database, records, early), await refusal(database, records)]:
        assert refused.retry_after_ms is None
        assert not any("RetryInfo" in detail.type_url for detail in refused.to_status("x").details)


@pytest.mark.parametrize(
    "reason",
    [
        Reason.BUDGET_SPENT,
        Reason.NOT_YOURS,
        Reason.AWAY,
        CommonReason.STORAGE_UNAVAILABLE,
        CommonReason.CONCURRENT_CHANGE,
    ],
)
async def test_a_refusal_that_decided_nothing_is_not_remembered(
    database: Database, records: Records, reason: ErrorReason
) -> None:
    refused = await refusal(database, records, refuse(reason, retry_after_ms=1_000))
    assert (refused.reason, refused.retry_after_ms) == (reason.name, 1_000)
    assert await kept(database) == []
    assert (await send(database, records)).record_id == "record-1"


async def test_of_two_copies_at_once_one_decides_for_both(database: Database, records: Records) -> None:
    decisions = iter([refuse(Reason.TOO_EARLY, seconds=1), records.make])

    def decide() -> Record:
        return next(decisions)()

    outcomes = await asyncio.gather(*(send(database, records, decide) for _ in range(2)), return_exceptions=True)
    assert str(outcomes[0]) == str(outcomes[1])
    assert len(await kept(database)) == 1


async def test_a_request_that_failed_had_no_effect_and_may_be_sent_again(database: Database, records: Records) -> None:
    def fail() -> Record:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await send(database, records, fail)
    assert await kept(database) == []
    assert (await send(database, records)).record_id == "record-1"


# What is kept


async def test_what_is_kept_of_an_id_is_small_and_names_who_did_what(database: Database, records: Records) -> None:
    till = parse_uri("spiffe://tillmesh/terminal/store-1/till-1", "tillmesh")
    caller.set(till)
    await send(database, records, message=request("o" * 5_000))
    (row,) = await kept(database)
    assert row == {
        "request_id": "r-1",
        "actor": till.uri,
        "method": "CancelOrder",
        "content_hash": row["content_hash"],
        "resource": "record-1",
        "refusal": None,
        "at_ms": NOW_MS,
    }
    assert sum(len(str(value)) if not isinstance(value, bytes) else len(value) for value in row.values()) < 200


async def test_a_refusal_that_is_kept_is_small_as_well(database: Database, records: Records) -> None:
    await refusal(database, records, refuse(Reason.TOO_EARLY, seconds="9" * 100_000))
    (row,) = await kept(database)
    assert isinstance(row["refusal"], bytes)
    assert len(row["refusal"]) < 500


async def test_of_many_violations_the_first_is_kept(database: Database, records: Records) -> None:
    wrong = [FieldViolation(f"lines[{index}].title", "must have 0 to 256 characters, had 300") for index in range(10)]

    def effect() -> Record:
        raise invalid(wrong)

    first = await refusal(database, records, effect)
    assert [violation.field for violation in first.violations] == ["lines[0].title"]
    (row,) = await kept(database)
    assert isinstance(row["refusal"], bytes)
    assert len(row["refusal"]) < 500


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM requests", "UPDATE requests SET request_id = 'r-2'", "UPDATE requests SET refusal = NULL"],
)
async def test_no_id_is_ever_freed(database: Database, records: Records, statement: str) -> None:
    await refusal(database, records, refuse(Reason.TOO_EARLY, seconds=1))
    with pytest.raises(IntegrityError, match="requests is append-only"):
        await database.run(lambda transaction: transaction.exec_driver_sql(statement))
    assert (await refusal(database, records)).reason == "TOO_EARLY"


# What makes two requests the same


@pytest.mark.parametrize(
    ("uri", "other", "same"),
    [
        ("terminal/s-1/till-1", "terminal/s-1/till-2", True),  # a store's terminal with its journal may get a new name
        ("terminal/s-1/till-1", "terminal/s-2/till-1", False),
        ("device/s-1/lane-1", "device/s-1/lane-2", False),
        ("platform/shop", "platform/other", False),
        ("terminal/platform/shop", "platform/shop", False),
    ],
)
def test_a_request_id_belongs_to_its_caller(uri: str, other: str, same: bool) -> None:
    hashes = []
    for each in (uri, other):
        caller.set(parse_uri(f"spiffe://tillmesh/{each}", "tillmesh"))
        hashes.append(content_hash(request()))
    assert (hashes[0] == hashes[1]) is same


def test_a_payer_s_request_id_is_theirs_on_each_of_their_phones() -> None:
    def by(phone: str, identity_id: str) -> bytes:
        known = parse_uri(f"spiffe://tillmesh/phone/{phone}", "tillmesh")
        caller.set(Caller(known.uri, known.role, None, identity_id))
        return content_hash(request())

    assert by("phone-1", "ada") == by("phone-2", "ada") != by("phone-1", "bob")


def test_labels_in_another_order_are_the_same_content() -> None:
    one = order_service_pb2.CreateOrderRequest(labels={"a": "1", "b": "2"})
    other = order_service_pb2.CreateOrderRequest()
    for name, value in (("b", "2"), ("a", "1")):
        other.labels[name] = value
    assert content_hash(one) == content_hash(other)
    other.labels["b"] = "3"
    assert content_hash(one) != content_hash(other)
