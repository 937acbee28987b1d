import asyncio

import pytest
from grpc import StatusCode

from tests.runtime.scripted import Context, aborts, answers, refuses, scripted
from tillmesh.api.order.v1 import order_pb2, order_service_pb2
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.auth.callers import Role
from tillmesh.rpc.peers import ATTEMPTS_MAX, BUDGET_MAX, BUDGET_PER_CALL, Peer, open_channel
from tillmesh.runtime.deadlines import set_deadline
from tillmesh.runtime.errors import CommonReason, Failed, Refusal, Unanswered
from tillmesh.runtime.telemetry import TRACEPARENT, trace_id

REQUEST = order_service_pb2.GetOrderRequest(order_id="o-1")
FAILURES = [
    StatusCode.DEADLINE_EXCEEDED,
    StatusCode.CANCELLED,
    StatusCode.INTERNAL,
    StatusCode.UNKNOWN,
    StatusCode.RESOURCE_EXHAUSTED,
    StatusCode.ABORTED,
    StatusCode.NOT_FOUND,
    StatusCode.FAILED_PRECONDITION,
    StatusCode.UNIMPLEMENTED,
    StatusCode.PERMISSION_DENIED,
]


async def test_a_server_that_was_away_for_a_moment_is_asked_again() -> None:
    away = aborts(StatusCode.UNAVAILABLE)
    async with scripted(away, away, answers) as (server, get_order):
        order = await Peer().call(get_order, REQUEST)
    assert order.order_id == "o-1"
    assert len(server.calls) == 3


@pytest.mark.parametrize("code", FAILURES, ids=lambda code: code.name)
async def test_nothing_but_unavailable_is_retried_and_no_bare_status_counts_as_a_no(code: StatusCode) -> None:
    async with scripted(aborts(code), answers) as (server, get_order):
        with pytest.raises(Unanswered, match=code.name) as raised:
            await Peer().call(get_order, REQUEST)
    assert len(server.calls) == 1
    assert isinstance(raised.value, Failed) is (code in (StatusCode.INTERNAL, StatusCode.UNKNOWN))


async def test_a_refusal_arrives_as_it_was_raised_and_is_not_retried() -> None:
    sent = Refusal(
        StatusCode.NOT_FOUND, "ORDER_NOT_FOUND", "There is no order.", metadata={"order_id": "o-1"}, retry_after_ms=1500
    )
    async with scripted(refuses(sent), answers) as (server, get_order):
        with pytest.raises(Refusal) as raised:
            await Peer().call(get_order, REQUEST)
    got = raised.value
    assert (got.code, got.reason, got.text) == (sent.code, sent.reason, sent.text)
    assert (got.metadata, got.domain, got.retry_after_ms) == ({"order_id": "o-1"}, "order.tillmesh", 1500)
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        CommonReason.STORAGE_UNAVAILABLE(),
        CommonReason.PEER_UNAVAILABLE(),
        CommonReason.INTERNAL(trace_id="t"),
        CommonReason.RATE_LIMITED(calls_per_s=500, retry_after_ms=10),
        CommonReason.OVERLOADED(of_all=512, of_holder=128, retry_after_ms=1_000),
        CommonReason.DEADLINE_CAPPED(seconds=60),
    ],
    ids=lambda refusal: refusal.reason,
)
async def test_a_server_that_could_not_decide_has_not_answered(refusal: Refusal) -> None:
    async with scripted(refuses(refusal)) as (_server, get_order):
        with pytest.raises(Unanswered):
            await Peer().call(get_order, REQUEST)


async def test_attempts_are_bounded() -> None:
    async with scripted(aborts(StatusCode.UNAVAILABLE)) as (server, get_order):
        with pytest.raises(Unanswered, match="UNAVAILABLE"):
            await Peer().call(get_order, REQUEST)
    assert len(server.calls) == ATTEMPTS_MAX


async def test_a_call_never_outlives_the_deadline_of_the_request_it_is_made_for() -> None:
    granted_s: list[float] = []

    async def hang(context: Context) -> order_pb2.Order:
        remaining = context.time_remaining()
        assert remaining is not None
        granted_s.append(remaining)
        await asyncio.Event().wait()
        return order_pb2.Order()

    async with scripted(hang) as (_server, get_order):
        set_deadline(0.4)
        with pytest.raises(Unanswered):
            await Peer().call(get_order, REQUEST, timeout_s=3600)
    assert len(granted_s) == 1
    assert granted_s[0] < 0.5  # gRPC rounds it up


async def test_without_time_left_nothing_is_retried() -> None:
    async with scripted(aborts(StatusCode.UNAVAILABLE)) as (server, get_order):
        set_deadline(0)
        with pytest.raises(Unanswered):
            await Peer().call(get_order, REQUEST)
    assert len(server.calls) <= 1


async def test_retries_never_feed_an_overload() -> None:
    calls = 40
    async with scripted(aborts(StatusCode.UNAVAILABLE)) as (server, get_order):
        peer = Peer()
        outcomes = await asyncio.gather(*(peer.call(get_order, REQUEST) for _ in range(calls)), return_exceptions=True)
    assert all(isinstance(outcome, Unanswered) for outcome in outcomes)
    retries = len(server.calls) - calls
    assert 0 < retries <= BUDGET_MAX + calls * BUDGET_PER_CALL


async def test_a_server_that_is_not_there_has_not_answered() -> None:
    async with open_channel("127.0.0.1:1", Role.ORDERS, None) as channel:
        with pytest.raises(Unanswered, match="UNAVAILABLE"):
            await Peer().call(OrderServiceStub(channel).GetOrder, REQUEST)


async def test_the_trace_goes_on_in_the_other_server() -> None:
    trace_id.set("0123456789abcdef0123456789abcdef")
    async with scripted(answers) as (server, get_order):
        await Peer().call(get_order, REQUEST)
    assert str(server.metadata[0][TRACEPARENT]).split("-")[1] == "0123456789abcdef0123456789abcdef"
