"""Shows whether memory stays flat over very many checkouts."""

from bench.checkouts import buy, keep_busy
from bench.machine import rss_mb
from bench.report import Cell, Figure, Findings, Panel, Section
from bench.run import Run
from bench.servers import SERVERS, TERMINAL

PART = "soak"
AT_A_TIME = 16
LOOKS = 100
"""The number of looks at memory in a run."""
SHOWN = (1, 10, 25, 50, 75, 100)
"""Of these looks, those in the table."""


def measure(run: Run) -> Findings:
    """Makes checkouts in as many goes as there are looks."""
    run.expect("memory", LOOKS)
    each = max(1, run.scale.soak // LOOKS)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVERS}
    done = 0
    with run.warm_stack(PART) as stack:
        processes = run.processes(stack)
        tills = stack.tills()
        for look in range(LOOKS):
            phones = run.phones(stack, each)
            run.measure(f"{PART}: {done}", look, keep_busy, tills, buy, phones, AT_A_TIME, processes)
            done += each
            for name in SERVERS:
                found[name].append((done, rss_mb(processes[name])))
    rows: list[list[Cell]] = [
        [f"{found[TERMINAL][look - 1][0]:,.0f}", *(found[name][look - 1][1] for name in SERVERS)] for look in SHOWN
    ]
    growth = [(found[name][-1][1] - found[name][LOOKS // 2 - 1][1]) / (done / 2) * 10_000 for name in SERVERS]
    rows.append(["MB per 10,000", *growth])
    section = Section(
        "Resident memory over checkouts, MB",
        ["checkouts", *SERVERS],
        rows,
        (
            "The last row is the growth over the second half; near 0 it is flat. Before, SQLite's page cache fills, "
            "which is 64 MB at most.",
        ),
    )
    panel = Panel("resident memory, MB", found)
    return Findings([section], figures=[Figure("memory", "Memory over checkouts", "checkouts", (panel,))])
