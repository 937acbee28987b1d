"""Runs many seeds on all cores, and shows what was injected and what was found."""

import gc
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.simulation.mutants import MUTANTS
from tests.simulation.shoppers import two_shoppers
from tests.simulation.world import Outcome, Parts, simulate

Work = tuple[int, str]
Run = Callable[[Iterable[Work]], Iterator[Outcome]]
INJECTED = {
    "messages": "messages",
    "lost": "lost",
    "cut_off": "lost in a partition",
    "doubled": "doubled",
    "late": "later than every time-out",
    "slow": "slow",
    "reset": "connections reset",
    "partitions": "partitions",
    "crashes": "crashes",
    "clock_jumps": "clock jumps",
    "transactions": "transactions checked",
    "verdict GRANTED": "locks granted",
    "payment CAPTURED": "payments captured",
    "payment VOIDED": "payments voided",
}
BATCH = 40


@cache
def parts() -> Parts:
    """What this process makes once; garbage collection need not look at it again."""
    made = Parts()
    gc.freeze()
    return made


def run_seed(seed: int, mutant: str = "", *, keep_trace: bool = False) -> Outcome:
    """One seed of the two shoppers, with the shipped code or with a mutant of it."""
    changed: AbstractContextManager[object] = MUTANTS[mutant].applied() if mutant else nullcontext()
    with changed:
        return simulate(parts(), seed, two_shoppers, keep_trace=keep_trace)


def _run(work: Work) -> Outcome:
    return run_seed(*work)


@contextmanager
def runner(jobs: int) -> Iterator[Run]:
    """Runs seeds in `jobs` processes; outcomes come in order."""
    if jobs == 1:
        yield lambda work: map(_run, work)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield lambda work: pool.imap(_run, work, chunksize=4)


def default_jobs() -> int:
    """As many processes as there are cores."""
    return os.cpu_count() or 1


def replay(seed: int, mutant: str = "") -> str:
    """The command that runs a seed again."""
    return f"make simulate SEED={seed}" + (f" MUTANT={mutant}" if mutant else "")


def report(outcome: Outcome, mutant: str = "") -> str:
    """What a failing seed has to tell: what broke, where its trace is, how it ended, and how to see it again."""
    again = run_seed(outcome.seed, mutant, keep_trace=True)
    path = Path(tempfile.gettempdir()) / f"tillmesh-seed-{outcome.seed}{mutant and '-' + mutant}.txt"
    path.write_text("\n".join(again.trace) + "\n")
    tail = "\n".join(line[:180] for line in again.trace[-12:])
    title = f"seed {outcome.seed}: {again.violation}"
    return f"{title}\n{tail}\nall of the trace: {path}\nreplay with: {replay(outcome.seed, mutant)}"


def show_many(first: int, seeds: int, jobs: int) -> int:
    """Runs seeds with a progress bar; returns how many failed."""
    console, totals, failed = Console(), Counter[str](), list[Outcome]()
    started = time.monotonic()
    with _progress("seeds", seeds) as progress, runner(jobs) as run:
        for outcome in run((seed, "") for seed in range(first, first + seeds)):
            totals.update(outcome.counts)
            if outcome.violation:
                failed.append(outcome)
                progress.console.print(f"seed {outcome.seed}: {outcome.violation}", style="red", markup=False)
            progress.advance(progress.task_ids[0])
    console.print(_table(seeds, time.monotonic() - started, totals, len(failed)))
    for outcome in failed[:3]:
        console.print(report(outcome), style="red", markup=False, soft_wrap=True)
    return len(failed)


def show_one(seed: int, mutant: str) -> int:
    """Runs one seed and prints all that happened in it."""
    outcome = run_seed(seed, mutant, keep_trace=True)
    for line in outcome.trace:
        print(line)
    print(f"seed {seed}, trace {outcome.digest}: {outcome.violation or 'no violation'}")
    return 1 if outcome.violation else 0


def first_caught(name: str, seeds: int, run: Run) -> Outcome | None:
    """The first seed that catches a mutant."""
    for start in range(0, seeds, BATCH):
        for outcome in run([(seed, name) for seed in range(start, min(start + BATCH, seeds))]):
            if outcome.violation:
                return outcome
    return None


def show_mutants(seeds: int, jobs: int) -> int:
    """Looks for a seed that catches each mutant; returns how many get through."""
    table = Table(title=f"{len(MUTANTS)} mutants, up to {seeds:,} seeds each")
    for heading in ("mutant", "what is broken", "caught by seed", "violation"):
        table.add_column(heading)
    escaped = 0
    with _progress("mutants", len(MUTANTS)) as progress, runner(jobs) as run:
        for name, mutant in MUTANTS.items():
            progress.update(progress.task_ids[0], description=name.ljust(16))
            outcome = first_caught(name, seeds, run)
            escaped += outcome is None
            found = (str(outcome.seed), outcome.violation[:100]) if outcome else ("-", "[red]NOT CAUGHT[/]")
            table.add_row(name, mutant.what, *found)
            progress.advance(progress.task_ids[0])
    Console(width=170).print(table)
    return escaped


def _progress(what: str, total: int) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    progress = Progress(*columns, console=Console(stderr=True))
    progress.add_task(what, total=total)
    return progress


def _table(seeds: int, elapsed_s: float, totals: Counter[str], failed: int) -> Table:
    table = Table(title=f"{seeds:,} schedules, {seeds / elapsed_s:.1f} a second", show_header=False, min_width=40)
    table.add_column(justify="left")
    table.add_column(justify="right")
    for key, words in INJECTED.items():
        table.add_row(words, f"{totals[key]:,}")
    table.add_row("violations", str(failed), style="red" if failed else "green")
    return table
