"""One wallet that 32 tills take money from at once, beside 64 wallets: at one replica of the servers and at three.

Its balance is one row, so what changes it goes one after the other. What this shows is whether they queue for it, or
get into each other's way.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from bench.databases import Postgres
from bench.hot import pay_orders, tills
from bench.load import Sample
from bench.report import Cell, Findings, Ratio, Section, shown
from bench.run import Run
from bench.shoppers import SHOPPERS
from bench.summary import cells, columns

PART = "wallet"
REPLICAS = (1, 3)
WALLETS = {"one wallet": 1, f"{SHOPPERS} wallets": SHOPPERS}
Name = tuple[str, int]


def measure(run: Run) -> Findings:
    """Each number of wallets at each number of replicas; every other repeat backwards."""
    names = [(wallets, replicas) for wallets in WALLETS for replicas in REPLICAS]
    run.expect("hot wallet", run.scale.repeat * len(names))
    found: dict[Name, list[Sample]] = {name: [] for name in names}
    with ExitStack() as exits:
        run = replace(run, databases=exits.enter_context(Postgres(run.folder)))
        stacks = {
            number: exits.enter_context(run.warm_stack(f"{PART}-{number}", replicas=number)) for number in REPLICAS
        }
        callers = {number: tills(stack, 1) for number, stack in stacks.items()}
        for repeat in range(run.scale.repeat):
            for name in names if repeat % 2 == 0 else reversed(names):
                wallets, number = name
                phones = run.phones(stacks[number], run.scale.checkouts, WALLETS[wallets])
                processes = run.processes(stacks[number])
                what = f"{PART}: {wallets}, {number} replicas"
                found[name].append(run.measure(what, repeat, pay_orders, callers[number], phones, processes))
    return Findings([_section(found)])


def _section(found: Mapping[Name, Sequence[Sample]]) -> Section:
    rows: list[list[Cell]] = [
        [f"{wallets}, {replicas} replica{'s' if replicas > 1 else ''}", *cells(samples)]
        for (wallets, replicas), samples in found.items()
    ]
    notes = []
    for wallets in WALLETS:
        one, three = (found[wallets, replicas] for replicas in REPLICAS)
        kept = Ratio.of([many.per_s / alone.per_s for many, alone in zip(three, one, strict=True)])
        notes.append(f"{wallets}: three replicas make {shown(kept.median)} ({kept.spread()}) of what one makes.")
    return Section(
        "Orders that 32 tills create and pay from one wallet, on PostgreSQL",
        ["", *columns(next(iter(found.values()))[0])],
        rows,
        tuple(notes),
    )
