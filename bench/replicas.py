"""SQLite, PostgreSQL, and PostgreSQL with two replicas of the central servers; pgbench as a reference."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from bench.checkouts import buy, keep_busy
from bench.databases import Postgres, SqliteFiles
from bench.load import Sample
from bench.report import Cell, Findings, Section, middle
from bench.run import Run
from bench.servers import POSTGRES, Stack
from bench.summary import cells, columns
from tillmesh.client.failures import Failure

PART = "postgres"
AT_A_TIME = 32
PGBENCH_S = 5
SQLITE = "SQLite"
REPLICAS = {"PostgreSQL": 1, "PostgreSQL, 2 replicas": 2}
PGBENCH = "pgbench, TPC-B-like"
TPS = re.compile(r"tps = ([0-9.]+) \(without")
AVERAGE_MS = re.compile(r"latency average = ([0-9.]+) ms")


def measure(run: Run) -> Findings:
    """Each database in turn, and pgbench; every other repeat backwards."""
    run.expect("PostgreSQL", run.scale.repeat * (1 + len(REPLICAS)))
    found: dict[str, list[Sample]] = {name: [] for name in (SQLITE, *REPLICAS)}
    reference: list[tuple[float, float]] = []
    with ExitStack() as exits:
        postgres = exits.enter_context(Postgres(run.folder))
        runs = {SQLITE: replace(run, databases=SqliteFiles(run.folder))}
        runs |= {name: replace(run, databases=postgres) for name in REPLICAS}
        stacks = {
            name: exits.enter_context(one.warm_stack(f"{PART}-{number}", replicas=REPLICAS.get(name, 1)))
            for number, (name, one) in enumerate(runs.items())
        }
        pgbench = _Pgbench(postgres, run.scale.pgbench)
        for repeat in range(run.scale.repeat):
            for name in runs if repeat % 2 == 0 else reversed(runs):
                found[name].append(_sample(runs[name], stacks[name], repeat, name))
            if pgbench.exists:
                reference.append(pgbench.run())
    return Findings([_section(found, reference)])


class _Pgbench:
    """PostgreSQL's own benchmark, on the same server."""

    def __init__(self, postgres: Postgres, scale: int) -> None:
        self._binary = postgres.cluster.binaries / "pgbench"
        self.exists = self._binary.exists()
        if self.exists:
            self._url = postgres.database("pgbench")
            self._call("--initialize", "--quiet", "--scale", str(scale))

    def run(self) -> tuple[float, float]:
        """Transactions a second, and their average latency in milliseconds."""
        said = self._call("--client", str(AT_A_TIME), "--time", str(PGBENCH_S))
        tps, average_ms = TPS.search(said), AVERAGE_MS.search(said)
        if not tps or not average_ms:
            raise Failure(f"pgbench said nothing of its transactions a second: {said}")
        return float(tps[1]), float(average_ms[1])

    def _call(self, *arguments: str) -> str:
        done = subprocess.run([self._binary, *arguments, self._url], capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"pgbench ended with exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout


def _sample(run: Run, stack: Stack, repeat: int, name: str) -> Sample:
    tills, processes = stack.tills(), run.processes(stack)
    phones = run.phones(stack, run.scale.checkouts)
    return run.measure(f"{PART}: {name}", repeat, keep_busy, tills, buy, phones, AT_A_TIME, processes)


def _section(found: Mapping[str, Sequence[Sample]], reference: Sequence[tuple[float, float]]) -> Section:
    tps = middle(tps for tps, _ in reference) if reference else 0
    rows: list[list[Cell]] = []
    for name, samples in found.items():
        row = cells(samples)
        if POSTGRES not in samples[0].cpu_s:
            row.append("")
        rows.append([name, *row, middle(sample.per_s for sample in samples) / tps if tps else ""])
    head = columns(found["PostgreSQL"][0])
    if reference:
        average_ms = middle(average_ms for _, average_ms in reference)
        rows.append([PGBENCH, tps, average_ms, *[""] * (len(head) - 2), 1.0])
    note = (
        "A checkout is several transactions in each of two databases. PostgreSQL: CPU ms of its processes, a checkout. "
        "pgbench runs with as many clients on the same PostgreSQL; its latency is the average."
    )
    skipped = "There is no pgbench beside this PostgreSQL, so the reference is skipped."
    notes = (note,) if reference else (note, skipped)
    return Section(f"Checkouts on other databases, {AT_A_TIME} at a time", ["", *head, "per pgbench tps"], rows, notes)
