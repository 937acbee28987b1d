"""Measures how many payments are still made in time while twice as many are asked for as a server can make."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode, aio
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY

from bench import calls
from bench.calls import CREATE_PAYMENT, make_calls
from bench.load import Sample, connect, open_loop, timed
from bench.machine import Processes
from bench.report import Cell, Findings, Ratio, Section, middle
from bench.run import Run
from bench.servers import PAYMENTS, Stack, Target
from tillmesh.auth.callers import Role
from tillmesh.client.failures import Failure

PART = "capacity"
AT_A_TIME = 32
SHOPS = 8
"""Who asks: as many certificates and connections, as one connection has a limit of its own."""
DEADLINE_S = 2.0
TIMES = 2.0
"""So many times what the server can do is asked of it."""
IN_TIME, REFUSED, LATE = "in time", "refused", "late"


@dataclass(frozen=True)
class Overload:
    """More calls than the server can answer: what became of them."""

    sample: Sample
    outcomes: Counter[str]

    @property
    def goodput(self) -> float:
        """Payments a second that were made in time."""
        return self.outcomes[IN_TIME] / self.sample.elapsed_s


def measure(run: Run) -> Findings:
    """Measures the capacity of the server, then asks it for twice as much, one right after the other."""
    run.expect("capacity", 2 * run.scale.repeat)
    with run.warm_stack(PART) as stack:
        found = [_measured(run, stack, repeat) for repeat in range(run.scale.repeat)]
    return Findings([_section(found)])


def _measured(run: Run, stack: Stack, repeat: int) -> tuple[Sample, Overload]:
    processes = run.processes(stack)
    shops = [stack.target(PAYMENTS, Role.PLATFORM, f"shop-{number}") for number in range(SHOPS)]
    payable = run.raised(stack, run.scale.calls)
    can = run.measure(
        f"{PART}: as many as it can",
        repeat,
        make_calls,
        shops[0],
        CREATE_PAYMENT,
        calls.ask_payments(payable),
        AT_A_TIME,
        processes,
    )
    per_s = TIMES * can.per_s
    requests = calls.ask_payments(run.raised(stack, round(per_s * run.scale.overload_s)))
    overload = run.generator.run(ask_too_much, shops, requests, per_s, processes, repeat)
    run.keep(f"{PART}: {TIMES:g} times as many", repeat, overload.sample)
    if others := overload.outcomes.keys() - {IN_TIME, REFUSED, LATE}:
        counts = ", ".join(f"{overload.outcomes[other]} {other}" for other in sorted(others))
        raise Failure(f"Of {len(requests)} payments these were neither made nor refused properly: {counts}.")
    return can, overload


async def ask_too_much(
    shops: Sequence[Target], requests: Sequence[bytes], per_s: float, processes: Processes, seed: int
) -> Overload:
    """Payments that arrive at random, so many a second, whether or not earlier ones are answered."""
    outcomes: Counter[str] = Counter()
    async with AsyncExitStack() as stack:
        methods: list[aio.UnaryUnaryMultiCallable[bytes, bytes]] = []
        for shop in shops:
            channel = await connect(shop)
            stack.push_async_callback(channel.close)
            methods.append(channel.unary_unary(CREATE_PAYMENT.path))

        async def ask(number: int) -> None:
            try:
                answer = await methods[number % len(methods)](requests[number], timeout=DEADLINE_S)
            except aio.AioRpcError as error:
                outcomes[_failed(error)] += 1
            else:
                outcomes[IN_TIME if CREATE_PAYMENT.is_good(answer) else LATE] += 1

        load = range(len(requests))
        sample = await timed(processes, lambda: open_loop(ask, load, per_s, random.Random(seed)))
        await asyncio.sleep(DEADLINE_S)  # what was begun for callers who have left ends by itself
    return Overload(sample, outcomes)


def _failed(error: aio.AioRpcError) -> str:
    if error.code() is StatusCode.DEADLINE_EXCEEDED:
        return LATE
    if error.code() is StatusCode.RESOURCE_EXHAUSTED and _says_when(error):
        return REFUSED
    return f"{error.code().name} ({error.details()})"


def _says_when(error: aio.AioRpcError) -> bool:
    """True with a RetryInfo: the caller is told when to come back."""
    for key, value in error.trailing_metadata() or ():
        if key == GRPC_DETAILS_METADATA_KEY and isinstance(value, bytes):
            try:
                details = status_pb2.Status.FromString(value).details
            except DecodeError:
                return False
            return any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in details)
    return False


def _section(found: Sequence[tuple[Sample, Overload]]) -> Section:
    shares = Ratio.of([overload.goodput / can.per_s for can, overload in found])
    row: list[Cell] = [
        "CreatePayment",
        middle(can.per_s for can, _ in found),
        middle(overload.sample.calls / overload.sample.elapsed_s for _, overload in found),
        middle(overload.goodput for _, overload in found),
        shares.median,
        shares.spread(),
        middle(overload.outcomes[REFUSED] for _, overload in found),
        middle(overload.outcomes[LATE] for _, overload in found),
        middle(overload.sample.latency_ms(50) for _, overload in found),
        middle(overload.sample.latency_ms(99) for _, overload in found),
        middle(overload.sample.busy(PAYMENTS) for _, overload in found),
    ]
    return Section(
        f"{TIMES:g} times as many payments as the payment server can make",
        ["", "can", "asked", "in time", "of capacity", "repeats", "refused", "late", "p50 ms", "p99 ms", "cores"],
        [row],
        (
            f"can: a second, {AT_A_TIME} at a time. asked: a second, at random times. in time: made within "
            f"{DEADLINE_S:g} s of their arrival. of capacity: in time as a share of can. refused: at once with "
            "RESOURCE_EXHAUSTED and the time after which to come back. p50 and p99 are of all answers.",
        ),
    )
