"""Who may make how many calls, at a time and a second."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from grpc import StatusCode
from structlog.testing import capture_logs

from tillmesh.auth.callers import Caller, parse_uri
from tillmesh.rpc.limits import OWN, Limits, Rate
from tillmesh.runtime.errors import CommonReason, Refusal

SECOND_NS = 1_000_000_000
GUESTS = [
    parse_uri(uri, "tillmesh")
    for uri in (
        "spiffe://tillmesh/terminal/s-1/t-1",
        "spiffe://tillmesh/terminal/s-1/t-2",
        "spiffe://tillmesh/device/s-1/d-1",
    )
]
TILL, OTHER_TILL, DEVICE = GUESTS
PHONE = parse_uri("spiffe://tillmesh/phone/phone-1", "tillmesh")
OURS = [parse_uri(f"spiffe://tillmesh/{role}/all", "tillmesh") for role in sorted(OWN)]


class Nanoseconds:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 77 * SECOND_NS

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND_NS)


def refused(act: Callable[[], object]) -> Refusal | None:
    try:
        act()
    except Refusal as refusal:
        return refusal
    return None


def passes(rate: Rate, caller: str, calls: int) -> int:
    """How many of so many calls at once may be made."""
    return sum(rate.wait_ns(caller) == 0 for _ in range(calls))


def test_two_seconds_worth_of_calls_may_come_at_once_and_then_so_many_a_second() -> None:
    clock = Nanoseconds()
    rate = Rate(500, clock)
    assert passes(rate, "a", 1_200) == 1_000
    clock.advance(0.1)
    assert passes(rate, "a", 100) == 50
    clock.advance(3600)
    assert passes(rate, "a", 1_200) == 1_000


def test_the_wait_that_is_said_is_the_wait_there_is() -> None:
    clock = Nanoseconds()
    rate = Rate(4, clock)
    assert passes(rate, "a", 9) == 8
    wait_ns = rate.wait_ns("a")
    assert wait_ns == SECOND_NS // 4
    clock.now += wait_ns - 1
    assert rate.wait_ns("a") == 1
    clock.now += 1
    assert rate.wait_ns("a") == 0


def test_one_caller_s_calls_are_not_counted_against_another() -> None:
    rate = Rate(10, Nanoseconds())
    passes(rate, "a", 1_000)
    assert passes(rate, "b", 30) == 20


def test_callers_who_came_and_went_are_forgotten_and_those_who_wait_are_not() -> None:
    clock = Nanoseconds()
    rate = Rate(10, clock)
    for number in range(100_000):
        rate.wait_ns(f"caller {number}")
        clock.advance(0.0001)
    assert len(rate) < 5_000
    passes(rate, "busy", 30)
    for number in range(5_000):
        rate.wait_ns(f"another {number}")
    assert rate.wait_ns("busy") > 0


async def in_progress(limits: Limits, who: Caller | None, calls: int) -> tuple[int, Callable[[], Awaitable[None]]]:
    """How many calls of somebody are let in, and how to end them."""
    end = asyncio.Event()

    async def call() -> None:
        limits.enter(who)
        await end.wait()

    tasks = [asyncio.create_task(call()) for _ in range(calls)]
    await asyncio.sleep(0)
    for task in tasks:
        if task.done():
            error = task.exception()
            assert isinstance(error, Refusal)
            assert (error.code, error.reason) == (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
            assert error.retry_after_ms

    async def finish() -> None:
        end.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    return sum(not task.done() for task in tasks), finish


async def test_a_guest_has_a_quarter_of_the_places_and_one_quarter_is_not_for_guests() -> None:
    limits = Limits(calls_max=16)
    for guest in GUESTS:
        assert (await in_progress(limits, guest, 6))[0] == 4
    last = parse_uri("spiffe://tillmesh/device/s-1/d-2", "tillmesh")
    assert (await in_progress(limits, last, 6))[0] == 0
    assert (await in_progress(limits, OURS[0], 6))[0] == 4


async def test_a_payer_s_phone_has_a_tenth_of_what_a_till_has() -> None:
    limits = Limits(calls_max=400, calls_per_s=500, clock_ns=Nanoseconds())
    entered, finish = await in_progress(limits, PHONE, 50)
    assert entered == 10
    await finish()
    await asyncio.sleep(0)

    async def call() -> Refusal | None:
        return refused(lambda: limits.enter(PHONE))

    refusals = [await asyncio.create_task(call()) for _ in range(51)]
    assert refusals[:50] == [None] * 50
    assert refusals[50] is not None
    assert (refusals[50].reason, refusals[50].retry_after_ms) == ("RATE_LIMITED", 20)


@pytest.mark.parametrize("who", [*OURS, None], ids=lambda who: who and who.role)
async def test_our_own_may_use_every_place_and_all_get_them_back(who: Caller | None) -> None:
    limits = Limits(calls_max=16)
    for _ in range(3):
        entered, finish = await in_progress(limits, who, 20)
        assert entered == 16
        assert (await in_progress(limits, TILL, 1))[0] == 0
        await finish()
        await asyncio.sleep(0)
    entered, finish = await in_progress(limits, TILL, 6)
    assert entered == 4


async def test_only_guests_are_held_to_a_number_of_calls_a_second() -> None:
    limits = Limits(calls_max=10_000, calls_per_s=5, clock_ns=Nanoseconds())

    async def call(who: Caller | None) -> Refusal | None:
        return refused(lambda: limits.enter(who))

    for who in (*OURS, None):
        assert [await call(who) for _ in range(50)] == [None] * 50
    for who in GUESTS:
        refusals = [await call(who) for _ in range(11)]
        assert refusals[:10] == [None] * 10
        last = refusals[10]
        assert last is not None
        assert (last.code, last.reason, last.retry_after_ms) == (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", 200)


def test_a_call_without_a_deadline_is_refused_and_a_long_one_is_cut() -> None:
    limits = Limits(call_s_max=60)
    refusal = refused(lambda: limits.time_left_s(None))
    assert refusal is not None
    assert (refusal.code, refusal.reason) == (StatusCode.INVALID_ARGUMENT, "DEADLINE_REQUIRED")
    assert limits.time_left_s(3600) == 60
    assert limits.time_left_s(1.5) == 1.5


async def test_work_that_takes_too_long_is_given_up_and_other_time_outs_are_what_they_are() -> None:
    limits = Limits(call_s_max=0.01)

    with pytest.raises(Refusal) as raised:
        async with limits.cap():
            await asyncio.Event().wait()
    assert (raised.value.code, raised.value.reason) == (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_CAPPED")
    with pytest.raises(TimeoutError, match="another one"):
        async with limits.cap():
            raise TimeoutError("another one")


def test_a_flood_of_refusals_is_one_line_a_second() -> None:
    clock = Nanoseconds()
    limits = Limits(clock_ns=clock)
    refusal = CommonReason.RATE_LIMITED(calls_per_s=500)
    with capture_logs() as lines:
        for _ in range(1_000):
            limits.report(refusal, TILL)
        clock.advance(1)
        limits.report(refusal, OTHER_TILL)
    assert [(line["caller"], line["calls"]) for line in lines] == [(TILL.uri, 1), (OTHER_TILL.uri, 1_000)]
