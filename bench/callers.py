"""Measures what one stored call takes and costs by how many callers there are, beside an empty call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import calls
from bench.calls import CREATE_ORDER, EMPTY, make_calls
from bench.load import Sample
from bench.report import Cell, Findings, Ratio, Section, middle
from bench.run import Run
from bench.servers import FLOOR, ORDERS, POSTGRES, Stack
from bench.shoppers import shopper
from tillmesh.auth.callers import Role

PART = "callers"
AT_A_TIME = (1, 8, 32)


@dataclass(frozen=True)
class Measured:
    """Calls in one repeat, and the empty calls that were made right before, as many at a time."""

    sample: Sample
    floor: Sample

    @property
    def cost(self) -> float:
        """CPU of the server, as a multiple of the floor's."""
        return self.sample.cpu_ms(ORDERS) / self.floor.cpu_ms(FLOOR)

    @property
    def wait(self) -> float:
        """The p50, as a multiple of the floor's."""
        return self.sample.latency_ms(50) / self.floor.latency_ms(50)


def measure(run: Run) -> Findings:
    """Each number of callers, floor and call in turn; every other repeat the other way round."""
    run.expect("callers", 2 * run.scale.repeat * len(AT_A_TIME))
    found: dict[int, list[Measured]] = {at_a_time: [] for at_a_time in AT_A_TIME}
    with run.warm_stack(PART) as stack:
        for repeat in range(run.scale.repeat):
            for at_a_time in AT_A_TIME if repeat % 2 == 0 else reversed(AT_A_TIME):
                found[at_a_time].append(_measured(run, stack, repeat, at_a_time))
    return Findings([_section(found)])


def _measured(run: Run, stack: Stack, repeat: int, at_a_time: int) -> Measured:
    count = run.scale.calls if at_a_time > 1 else run.scale.calls // 4
    what, processes = f"{PART}: at {at_a_time}", run.processes(stack)
    floor = run.measure(
        f"{what}, floor", repeat, make_calls, stack.floor(), EMPTY, calls.empty(count), at_a_time, processes
    )
    orders, requests = stack.target(ORDERS, Role.PLATFORM, "bench"), calls.create_orders(map(shopper, range(count)))
    return Measured(run.measure(what, repeat, make_calls, orders, CREATE_ORDER, requests, at_a_time, processes), floor)


def _section(found: Mapping[int, Sequence[Measured]]) -> Section:
    rows: list[list[Cell]] = []
    for at_a_time, repeats in found.items():
        samples = [one.sample for one in repeats]
        wait, cost = Ratio.of([one.wait for one in repeats]), Ratio.of([one.cost for one in repeats])
        row: list[Cell] = [
            str(at_a_time),
            middle(sample.per_s for sample in samples),
            middle(sample.latency_ms(50) for sample in samples),
            wait.median,
            wait.spread(),
            middle(sample.cpu_ms(ORDERS) for sample in samples),
            cost.median,
            cost.spread(),
        ]
        if POSTGRES in samples[0].cpu_s:
            row.append(middle(sample.cpu_ms(POSTGRES) for sample in samples))
        rows.append(row)
    some = next(iter(found.values()))[0].sample
    database = ["PostgreSQL CPU ms"] if POSTGRES in some.cpu_s else []
    return Section(
        "CreateOrder by how many callers there are",
        ["callers", "per s", "p50 ms", "× floor", "repeats", "CPU ms", "× floor CPU", "repeats", *database],
        rows,
        (
            "Each call is a transaction. × floor: as a multiple of an empty call with as many callers. Where few call, "
            "none should wait for another; where many do, they share commits.",
        ),
    )
