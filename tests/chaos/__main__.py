"""`python -m tests.chaos`: what `make chaos` runs."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.disks import FullDisks, fill_disks
from tests.chaos.load import Storm, storm
from tests.chaos.outages import SCENARIOS, Outages, break_and_heal
from tests.chaos.reckoning import Reckoning
from tests.chaos.wal import Damages, damage_many
from tillmesh.local.processes import ServerName

REMAINS = 10  # databases of killed servers that are kept of each role
FINDINGS_SHOWN = 20


def main() -> int:
    """Reads the command line; the exit status is 0 only if all is well."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how often each server is killed under load")
    parser.add_argument("--wals", type=int, default=200, help="how many write-ahead logs are damaged")
    parser.add_argument("--full-disks", type=int, default=10, help="how often the disk of each server is filled")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of what is done to the servers")
    options = parser.parse_args()
    console = Console()
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        stormed, healed, filled, damaged = asyncio.run(_run(options, folder, progress))
    findings = [
        *(one for part in (stormed, healed, filled) for one in part.reckoning.findings()),
        *damaged.broken,
    ]
    console.print(_table(options.seed, stormed, healed, filled, damaged, len(findings)))
    for finding in findings[:FINDINGS_SHOWN]:
        console.print(finding, style="red", markup=False)
    if findings:
        console.print(f"The databases and logs are in {folder}", style="bold")
        return 1
    shutil.rmtree(folder)
    return 0


async def _run(
    options: argparse.Namespace, folder: Path, progress: Progress
) -> tuple[Storm, Outages, FullDisks, Damages]:
    """The kills first, as they leave the logs that are damaged; then all else at the same time."""
    rng = random.Random(options.seed)

    def bar(what: str, total: int) -> Callable[[], None]:
        return partial(progress.advance, progress.add_task(what, total=total))

    stormed = await storm(
        folder / "kills", options.kills, REMAINS, rng, bar("kill -9 under load", options.kills * len(ServerName))
    )
    healed, filled, damaged = await asyncio.gather(
        break_and_heal(folder / "outages", rng, resolved=bar("peers out of reach", len(SCENARIOS))),
        fill_disks(folder / "disks", options.full_disks, rng, bar("full disks", options.full_disks * len(ServerName))),
        asyncio.to_thread(
            damage_many, stormed.remains, options.wals, folder / "wals", rng, bar("damaged logs", options.wals)
        ),
    )
    return stormed, healed, filled, damaged


def _table(seed: int, stormed: Storm, healed: Outages, filled: FullDisks, damaged: Damages, findings: int) -> Table:
    table = Table(title=f"make chaos, seed {seed}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    reckonings = [part.reckoning for part in (stormed, healed, filled)]
    told = stormed.witness.answers + healed.witness.answers + filled.witness.answers
    for role in ServerName:
        table.add_row(f"kill -9 of {role}", str(stormed.kills[role]))
    table.add_row("requests under way at a kill", f"{stormed.under_way / max(1, stormed.kills.total()):.1f}")
    table.add_row("links broken", _counted({fault.value: count for fault, count in stormed.faults.items()}.items()))
    table.add_row("orders, paid", f"{_sum(reckonings, 'orders'):,}, {_sum(reckonings, 'paid'):,}")
    table.add_row("requests acknowledged", f"{told.total():,}")
    table.add_section()
    _verdict(table, "acknowledged and lost", sum(len(one.lost) for one in reckonings))
    _verdict(table, "orders, payments, shoppers stuck", sum(len(one.stuck) for one in reckonings))
    _verdict(table, "verdicts wrong", sum(len(one.wrong_verdicts) for one in reckonings))
    _verdict(table, "ledger sum, in minor units", _sum(reckonings, "ledger_sum"))
    table.add_row("all final after healing", f"{stormed.reckoning.final_after_s:.1f} s")
    table.add_section()
    slowest_s = max(healed.resolved_s.values(), default=0.0)
    table.add_row("peer back, all resolved", f"{len(healed.resolved_s)} of {len(SCENARIOS)}, at most {slowest_s:.1f} s")
    for role in ServerName:
        table.add_row(f"full disk of {role}", str(filled.filled[role]))
    table.add_row("refused for want of room", str(filled.refused))
    table.add_row("damaged logs", _counted(damaged.outcomes.items()))
    table.add_row("  by a server process", str(damaged.by_process))
    table.add_row("  rows of commits cut off", f"{damaged.rows_dropped:,}")
    table.add_section()
    _verdict(table, "findings", findings)
    return table


def _verdict(table: Table, what: str, count: int) -> None:
    """A row that should say 0."""
    table.add_row(what, str(count), style="red" if count else "green")


def _sum(reckonings: Iterable[Reckoning], name: str) -> int:
    return sum(getattr(one, name) for one in reckonings)


def _counted(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counts))


if __name__ == "__main__":
    sys.exit(main())
