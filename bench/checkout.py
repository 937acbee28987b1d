"""Whole checkouts at a till: how many, how fast, and at what multiple of the empty calls that they make."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench import calls
from bench.calls import EMPTY, make_calls
from bench.checkouts import Job, buy, change_mind, keep_busy, let_arrive
from bench.counting import Calls, count_calls
from bench.load import CLIENT, Sample
from bench.report import Cell, Figure, Findings, Panel, Ratio, Section, middle
from bench.run import Run
from bench.servers import FLOOR, SERVERS, Stack
from bench.summary import cells, columns

PART = "checkout"
AT_A_TIME = (1, 8, 32)
CHANGES_AT_A_TIME = 8


@dataclass(frozen=True)
class Measured:
    """Jobs in one repeat, with the empty calls that were made right before and after, as many at a time."""

    sample: Sample
    floors: Sequence[Sample]

    @property
    def cpu_ms(self) -> float:
        """CPU of the three servers, a job."""
        return self.sample.cpu_ms(*SERVERS)

    def serving_ms(self, calls_made: Calls) -> float:
        """CPU of the floor for as many empty calls."""
        return calls_made.all * middle(floor.cpu_ms(FLOOR) for floor in self.floors)

    def floor_ms(self, calls_made: Calls) -> float:
        """The same with the client's CPU for those that the three make."""
        return self.serving_ms(calls_made) + calls_made.between * middle(floor.cpu_ms(CLIENT) for floor in self.floors)


@dataclass(frozen=True)
class Arrived:
    """Checkouts that came at random at half the peak rate, and the p50 of one that was alone."""

    sample: Sample
    alone_ms: float

    @property
    def patience(self) -> float:
        """The p99, as a multiple of what one takes that is alone."""
        return self.sample.latency_ms(99) / self.alone_ms


Repeats = Mapping[int, Sequence[Measured]]
"""By how many at a time."""


def measure(run: Run) -> Findings:
    """Each number at a time, floor and checkouts in turn; every other repeat the other way round."""
    step = run.expect("checkouts", 1 + run.scale.repeat * (3 * len(AT_A_TIME) + 4))
    made = count_calls(run, (buy, change_mind))
    step()
    bought: dict[int, list[Measured]] = defaultdict(list)
    changed: dict[int, list[Measured]] = defaultdict(list)
    arrived: list[Arrived] = []
    with run.warm_stack(PART) as stack:
        for repeat in range(run.scale.repeat):
            for at_a_time in AT_A_TIME if repeat % 2 == 0 else reversed(AT_A_TIME):
                bought[at_a_time].append(_measured(run, stack, repeat, buy, at_a_time))
            changed[CHANGES_AT_A_TIME].append(_measured(run, stack, repeat, change_mind, CHANGES_AT_A_TIME))
            peak = max(repeats[repeat].sample.per_s for repeats in bought.values())
            arriving = _arriving(run, stack, repeat, peak / 2)
            arrived.append(Arrived(arriving, bought[1][repeat].sample.latency_ms(50)))
    jobs = {"checkout": (made[buy.__name__], bought), "change": (made[change_mind.__name__], changed)}
    costs = {
        f"{name} at {at_a_time}": Ratio.of([one.cpu_ms / one.floor_ms(calls_made) for one in repeats])
        for name, (calls_made, by_number) in jobs.items()
        for at_a_time, repeats in by_number.items()
    }
    sections = [
        _section("Whole checkouts: basket of 3 lines, order, payment", *jobs["checkout"]),
        _section("The payment waits, is canceled, a line is changed, then it is paid", *jobs["change"]),
        _calls_section({name: calls_made for name, (calls_made, _) in jobs.items()}),
        _arrived_section(arrived),
    ]
    return Findings(sections, costs, [_figure(bought)])


def _measured(run: Run, stack: Stack, repeat: int, job: Job, at_a_time: int) -> Measured:
    before = _floor(run, stack, repeat, at_a_time)
    tills, processes = stack.tills(), run.processes(stack)
    what, count = f"{PART}: {job.__name__} at {at_a_time}", _fewer(run.scale.checkouts, at_a_time)
    sample = run.measure(what, repeat, keep_busy, tills, job, run.phones(stack, count), at_a_time, processes)
    return Measured(sample, (before, _floor(run, stack, repeat, at_a_time)))


def _floor(run: Run, stack: Stack, repeat: int, at_a_time: int) -> Sample:
    what, requests = f"{PART}: floor at {at_a_time}", calls.empty(_fewer(run.scale.calls, at_a_time))
    return run.measure(what, repeat, make_calls, stack.floor(), EMPTY, requests, at_a_time, run.processes(stack))


def _fewer(count: int, at_a_time: int) -> int:
    """One at a time takes long, and is less noisy."""
    return count // 4 if at_a_time == 1 else count


def _arriving(run: Run, stack: Stack, repeat: int, per_s: float) -> Sample:
    tills = stack.tills()
    phones, processes = run.phones(stack, run.scale.checkouts), run.processes(stack)
    return run.measure(f"{PART}: arriving", repeat, let_arrive, tills, buy, phones, per_s, processes, repeat)


def _section(title: str, calls_made: Calls, by_number: Repeats) -> Section:
    rows: list[list[Cell]] = []
    for at_a_time, repeats in by_number.items():
        cost = Ratio.of([one.cpu_ms / one.floor_ms(calls_made) for one in repeats])
        prices: list[Cell] = [
            middle(one.serving_ms(calls_made) for one in repeats),
            middle(one.cpu_ms / one.serving_ms(calls_made) for one in repeats),
            middle(one.floor_ms(calls_made) for one in repeats),
            cost.median,
            cost.spread(),
        ]
        rows.append([str(at_a_time), *cells([one.sample for one in repeats]), *prices])
    some = next(iter(by_number.values()))[0].sample
    return Section(
        title,
        ["at a time", *columns(some), "serving", "× serving", "floor", "× floor", "repeats"],
        rows,
        (
            f"Each makes {calls_made.all:.3g} calls, {calls_made.between:.3g} of them from one of the three servers to "
            "another. serving: the servers' CPU for as many empty calls, as many at a time. floor: that and the CPU of "
            "the clients for those that the three make. × floor: the sum as a multiple of floor; this ratio counts, as "
            "making calls is a part of what the three do.",
        ),
    )


def _calls_section(jobs: Mapping[str, Calls]) -> Section:
    rows: list[list[Cell]] = []
    for server, method in sorted({call for calls_made in jobs.values() for call in calls_made.served}):
        counts = [calls_made.served.get((server, method), 0) for calls_made in jobs.values()]
        rows.append([f"{server}: {method}", *counts])
    return Section("Calls of a job, as the servers logged them", ["call", *jobs], rows)


def _arrived_section(arrived: Sequence[Arrived]) -> Section:
    samples = [one.sample for one in arrived]
    patience = Ratio.of([one.patience for one in arrived])
    alone = middle(one.alone_ms for one in arrived)
    return Section(
        "Checkouts that arrive at random, at half the peak rate",
        ["", *columns(samples[0]), "p50 alone ms", "p99 / p50 alone", "repeats"],
        [["checkouts", *cells(samples), alone, patience.median, patience.spread()]],
        (
            "They arrive at random (Poisson) and wait for nobody; latency counts from the arrival. p50 alone: one at a "
            "time, while all else is idle.",
        ),
    )


def _figure(bought: Repeats) -> Figure:
    def line(value: Callable[[Sample], float]) -> list[tuple[float, float]]:
        return [(at_a_time, middle(value(one.sample) for one in bought[at_a_time])) for at_a_time in AT_A_TIME]

    latency = {"p50": line(lambda sample: sample.latency_ms(50)), "p99": line(lambda sample: sample.latency_ms(99))}
    throughput = Panel("checkouts a second", {"checkouts": line(lambda sample: sample.per_s)})
    return Figure("checkouts", "Whole checkouts", "at a time", (throughput, Panel("latency, ms", latency)), log_x=True)
