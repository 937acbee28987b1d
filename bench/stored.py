"""Measures the same checkouts on empty databases and on databases with a history."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import order_service.tables
import store_terminal.tables
import thirdparty_server.tables
from bench.checkouts import buy, keep_busy
from bench.fill import fill
from bench.load import Sample
from bench.report import Cell, Figure, Findings, Panel, Ratio, Section, middle
from bench.run import Run
from bench.servers import ORDERS, PAYMENTS, SERVERS, TERMINAL, Stack
from bench.summary import cells, columns

PART = "stored"
AT_A_TIME = 32
TABLES = {
    ORDERS: order_service.tables.METADATA,
    PAYMENTS: thirdparty_server.tables.METADATA,
    f"{TERMINAL}-0": store_terminal.tables.METADATA,
}


def measure(run: Run) -> Findings:
    """Servers for each amount stored run side by side; one at a time is loaded, in turn and back."""
    found: dict[int, list[Sample]] = {size: [] for size in run.scale.stored}
    for size in filter(None, run.scale.stored):
        _store(run, size)
    run.expect("stored orders", run.scale.repeat * len(run.scale.stored))
    with ExitStack() as stacks:
        stack_of = {size: stacks.enter_context(run.warm_stack(_name(size))) for size in run.scale.stored}
        for repeat in range(run.scale.repeat):
            for size in run.scale.stored if repeat % 2 == 0 else reversed(run.scale.stored):
                found[size].append(_sample(run, stack_of[size], repeat, size))
    least = found[run.scale.stored[0]]
    costs = {
        size: Ratio.of([_cpu_ms(one) / _cpu_ms(first) for one, first in zip(samples, least, strict=True)])
        for size, samples in found.items()
    }
    return Findings([_section(found, costs)], figures=[_figure(found)])


def _name(size: int) -> str:
    return f"{PART}-{size}"


def _sample(run: Run, stack: Stack, repeat: int, size: int) -> Sample:
    tills, processes = stack.tills(), run.processes(stack)
    phones = run.phones(stack, run.scale.checkouts)
    return run.measure(f"{PART}: {size} orders", repeat, keep_busy, tills, buy, phones, AT_A_TIME, processes)


def _store(run: Run, size: int) -> None:
    """Has the servers make some orders, and copies them until there are about so many."""
    first = run.scale.checkouts
    copies = size // first
    copied = run.expect(f"storing {size:,}", copies * len(TABLES))
    with run.stack(_name(size)) as stack:
        tills = stack.tills()
        run.generator.run(keep_busy, tills, buy, run.phones(stack, first), AT_A_TIME, {})
    url_of = run.databases.of(_name(size))
    with ThreadPoolExecutor(len(TABLES)) as threads:  # the databases work, not Python
        for filled in [threads.submit(fill, url_of(name), tables, copies, copied) for name, tables in TABLES.items()]:
            filled.result()


def _cpu_ms(sample: Sample) -> float:
    return sample.cpu_ms(*SERVERS)


def _section(found: Mapping[int, Sequence[Sample]], costs: Mapping[int, Ratio]) -> Section:
    rows: list[list[Cell]] = [
        [f"{size:,}", *cells(samples), costs[size].median, costs[size].spread()] for size, samples in found.items()
    ]
    some = next(iter(found.values()))[0]
    return Section(
        f"Checkouts with a past, {AT_A_TIME} at a time",
        ["orders stored", *columns(some), "× first row", "repeats"],
        rows,
        ("× first row: the sum of CPU, as a multiple of that with least stored.",),
    )


def _figure(found: Mapping[int, Sequence[Sample]]) -> Figure:
    def line(value: Callable[[Sample], float]) -> list[tuple[float, float]]:
        return [(max(1, size), middle(map(value, samples))) for size, samples in found.items()]

    latency = {"p50": line(lambda sample: sample.latency_ms(50)), "p99": line(lambda sample: sample.latency_ms(99))}
    panels = (Panel("CPU ms a checkout", {"all servers": line(_cpu_ms)}), Panel("latency, ms", latency))
    return Figure("stored", "Checkouts with a past", "orders stored", panels, log_x=True)
