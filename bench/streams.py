"""Measures what streams cost those who call beside them, and how soon a reader hears."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grpc import aio

from bench import calls
from bench.calls import CREATE_ORDER, EMPTY, make_calls
from bench.load import TIMEOUT_S, Sample, closed_loop, connect, timed
from bench.machine import Processes, rss_mb
from bench.report import Cell, Findings, Ratio, Section, middle
from bench.run import Run
from bench.servers import FLOOR, ORDERS, Stack, Target
from bench.shoppers import shopper
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.auth.callers import Role

PART = "streams"
AT_A_TIME = 8
IDLE = 1_000
STREAMS_A_CONNECTION = 200
WATCH = "/tillmesh.api.order.v1.OrderService/WatchOrders"
NONE, ALL, OTHERS = "none", "1 of all orders", f"{IDLE:,} of other stores"
STREAMS: Mapping[str, Sequence[api.WatchOrdersRequest]] = {
    NONE: (),
    ALL: [api.WatchOrdersRequest()],
    OTHERS: [api.WatchOrdersRequest(store_id=f"other-{number}") for number in range(IDLE)],
}


@dataclass(frozen=True)
class Beside:
    """Calls beside some streams."""

    calls: Sample
    floor: Sample
    delays_s: Sequence[float]
    """From the answer of a call until its event was heard, of each."""
    kb_a_stream: float

    @property
    def cost(self) -> float:
        """CPU of the server for a call, as a multiple of the floor's."""
        return self.calls.cpu_ms(ORDERS) / self.floor.cpu_ms(FLOOR)


def measure(run: Run) -> Findings:
    """Each number of streams in turn, the floor before each."""
    run.expect("streams", 2 * run.scale.repeat * len(STREAMS))
    found: dict[str, list[Beside]] = {what: [] for what in STREAMS}
    with run.warm_stack(PART) as stack:
        for repeat in range(run.scale.repeat):
            for what in STREAMS if repeat % 2 == 0 else reversed(list(STREAMS)):
                found[what].append(_beside(run, stack, repeat, what))
    return Findings([_section(found)])


def _beside(run: Run, stack: Stack, repeat: int, what: str) -> Beside:
    count, processes = run.scale.calls, run.processes(stack)
    floor = run.measure(
        f"{PART}: {what}, floor", repeat, make_calls, stack.floor(), EMPTY, calls.empty(count), AT_A_TIME, processes
    )
    orders = stack.target(ORDERS, Role.PLATFORM, "bench")
    requests = calls.create_orders(map(shopper, range(count)))
    streams = [request.SerializeToString() for request in STREAMS[what]]
    sample, delays_s, kb = run.generator.run(_create_beside, orders, requests, streams, processes)
    run.keep(f"{PART}: {what}", repeat, sample)
    return Beside(sample, floor, delays_s, kb)


async def _create_beside(
    target: Target, requests: Sequence[bytes], streams: Sequence[bytes], processes: Processes
) -> tuple[Sample, Sequence[float], float]:
    """Creates orders while streams are open; the delays are those of the events that any of them heard."""
    heard_s: dict[str, float] = {}
    answered: list[tuple[bytes, float]] = []
    before_mb = rss_mb(processes[ORDERS])
    connections = [await connect(target) for _ in range(0, len(streams), STREAMS_A_CONNECTION)]
    opened: list[Any] = []
    for number, request in enumerate(streams):
        watch: Any = connections[number // STREAMS_A_CONNECTION].unary_stream(WATCH)
        opened.append(watch(request))
    await asyncio.gather(*(stream.read() for stream in opened))
    kb_a_stream = (rss_mb(processes[ORDERS]) - before_mb) * 1024 / len(streams) if streams else 0.0
    readers = [asyncio.create_task(_hear(stream, heard_s, len(requests))) for stream in opened]
    calling = await connect(target)
    create: aio.UnaryUnaryMultiCallable[bytes, bytes] = calling.unary_unary(CREATE_ORDER.path)

    async def call(number: int) -> None:
        answer = await create(requests[number], timeout=TIMEOUT_S)
        answered.append((answer, time.perf_counter()))

    sample = await timed(processes, lambda: closed_loop(call, range(len(requests)), AT_A_TIME))
    if 0 < len(readers) < IDLE:
        await asyncio.wait(readers, timeout=TIMEOUT_S)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    for channel in (*connections, calling):
        await channel.close()
    ids = [(order_pb2.Order.FromString(answer).order_id, at_s) for answer, at_s in answered]
    return sample, sorted(heard_s[key] - at_s for key, at_s in ids if key in heard_s), kb_a_stream


async def _hear(stream: Any, heard_s: dict[str, float], count: int) -> None:
    """Reads until so many orders were heard of."""
    while len(heard_s) < count and (answer := await stream.read()) is not aio.EOF:
        now_s = time.perf_counter()
        for update in api.WatchOrdersResponse.FromString(answer).updates:
            heard_s.setdefault(update.event.order_id, now_s)


def _section(found: Mapping[str, Sequence[Beside]]) -> Section:
    rows: list[list[Cell]] = []
    for what, repeats in found.items():
        cost = Ratio.of([one.cost for one in repeats])
        delays = [middle(one.delays_s) * 1000 for one in repeats if one.delays_s]
        idle = what == OTHERS
        rows.append(
            [
                what,
                middle(one.calls.per_s for one in repeats),
                middle(one.calls.latency_ms(50) for one in repeats),
                cost.median,
                cost.spread(),
                middle(delays) if delays else "",
                max(one.kb_a_stream for one in repeats) if idle else "",
            ]
        )
    return Section(
        f"CreateOrder beside streams, {AT_A_TIME} at a time",
        ["streams", "per s", "p50 ms", "× floor CPU", "repeats", "heard after ms", "KB a stream"],
        rows,
        (
            "Heard after: from the answer of a call until a reader has its event, the median. KB a stream: resident "
            "memory of the server, the most of all repeats, as later ones use memory again; gRPC alone takes about 23 "
            "for a stream that does nothing.",
        ),
    )
