"""A whole run: some parts, one after the other, then tables, pictures and a verdict."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import backlog, callers, capacity, checkout, hot, replicas, rpc, soak, stored, streams, wallet
from bench.databases import KINDS
from bench.load import Generator
from bench.machine import describe
from bench.plots import save_costs, save_figure
from bench.report import Findings, print_sections, save, shown
from bench.run import Run, Scale
from tillmesh.client.failures import Failure

PARTS: dict[str, Callable[[Run], Findings]] = {
    rpc.PART: rpc.measure,
    checkout.PART: checkout.measure,
    stored.PART: stored.measure,
    hot.PART: hot.measure,
    replicas.PART: replicas.measure,
    wallet.PART: wallet.measure,
    callers.PART: callers.measure,
    streams.PART: streams.measure,
    capacity.PART: capacity.measure,
    backlog.PART: backlog.measure,
    soak.PART: soak.measure,
}
BY_DEFAULT = (
    rpc.PART,
    checkout.PART,
    stored.PART,
    hot.PART,
    replicas.PART,
    wallet.PART,
    callers.PART,
    streams.PART,
    capacity.PART,
)
PIPE_WIDTH = 180


@contextmanager
def started(kind: str, scale: Scale) -> Iterator[Run]:
    """A run with its load generator, databases and progress bars; leaves nothing behind."""
    progress = Progress(
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    with tempfile.TemporaryDirectory(prefix="tillmesh-bench-") as scratch:
        folder = Path(scratch)
        with KINDS[kind](folder) as databases, Generator() as generator, progress:
            yield Run(folder, generator, scale, databases, progress)


def measure(kind: str, scale: Scale, parts: Iterable[str], limits: Mapping[str, float], results: Path | None) -> bool:
    """Measures the parts, shows and saves what they found; True if all could be measured within the limits."""
    machine = {**describe(), "database": kind, "repeats": str(scale.repeat)}
    findings, problems = Findings(), []
    with started(kind, scale) as run:
        try:
            for part in parts:
                findings.add(PARTS[part](run))
        except Failure as error:  # what was measured until then still counts
            problems.append(str(error))
        except KeyboardInterrupt:
            problems.append("Interrupted: what is not shown was not measured")
    machine["noise"] = f"{shown(run.others_cores)} cores were busy with something else"
    problems += _exceeded(findings, limits)
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=PIPE_WIDTH)
    print_sections(console, findings.sections)
    console.print(f"Meanwhile {machine['noise']}.", style="dim")
    if results:
        save(results, findings, machine, run.samples)
        pictures = [save_figure(figure, results) for figure in findings.figures]
        pictures += [save_costs(findings.costs, limits, results)] if findings.costs else []
        names = ["results.md", "results.json", *(path.name for path in pictures)]
        console.print(f"Saved in {results}: {', '.join(names)}")
    for problem in problems:
        console.print(problem, style="red", markup=False)
    return not problems


def _exceeded(findings: Findings, limits: Mapping[str, float]) -> list[str]:
    problems = []
    for name, most in limits.items():
        cost = findings.costs.get(name)
        if cost is None:
            problems.append(f"No cost {name!r} was measured; there are: {', '.join(findings.costs)}")
        elif cost.median > most:
            problems.append(f"{name} costs {shown(cost.median)} × the floor; {shown(most)} is the limit")
    return problems
