"""`python -m tests.chaos`: what `make chaos` runs."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.crowds import Crowd, ask_too_much, leave_unfinished
from tests.chaos.databases import lose_databases
from tests.chaos.disks import Unwritable, fill_disks
from tests.chaos.load import Storm, storm
from tests.chaos.logs import FULL_LOGS, stalled_logs
from tests.chaos.outages import SCENARIOS, Outages, break_and_heal
from tests.chaos.reckoning import Reckoning
from tests.chaos.wal import Damages, damage_many
from tests.postgres import running_cluster
from tillmesh.local.processes import ServerName

REMAINS = 10  # databases of killed servers that are kept of each role
FINDINGS_SHOWN = 20
HOLE_S = 25.0
"""Longer than a server waits for PostgreSQL before it cuts the connection."""
ANSWERS_BETWEEN = 50


@dataclass(frozen=True)
class Parts:
    """What was done, and what came of it."""

    stormed: Storm
    healed: Outages
    filled: Unwritable
    full_logs: Unwritable
    """Disks that were full while the logs were full as well."""
    unread_logs: Unwritable
    """The same while nobody read the logs."""
    lost: Unwritable
    """Databases that did not answer, or took no writes."""
    unfinished: Crowd
    overloaded: Crowd
    damaged: Damages

    @property
    def reckonings(self) -> list[Reckoning]:
        """What was reckoned in each."""
        return [part.reckoning for part in self._witnessed]

    @property
    def told(self) -> int:
        """All answers that somebody got."""
        return sum(part.witness.answers.total() for part in self._witnessed)

    @property
    def findings(self) -> list[str]:
        """All that should not be, in words."""
        return [*(one for reckoning in self.reckonings for one in reckoning.findings()), *self.damaged.broken]

    @property
    def _witnessed(self) -> list[Storm | Outages | Unwritable | Crowd]:
        return [
            self.stormed,
            self.healed,
            self.filled,
            self.full_logs,
            self.unread_logs,
            self.lost,
            self.unfinished,
            self.overloaded,
        ]


def main() -> int:
    """Reads the command line; the exit status is 0 only if all is well."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how often each server is killed under load")
    parser.add_argument("--wals", type=int, default=200, help="how many write-ahead logs are damaged")
    parser.add_argument("--full-disks", type=int, default=10, help="how often the disk of each server is filled")
    parser.add_argument("--unfinished", type=int, default=500, help="how many payments an outage leaves unfinished")
    parser.add_argument("--overload-s", type=float, default=5, help="for how long too many payments are asked for")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of what is done to the servers")
    options = parser.parse_args()
    console = Console()
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        parts = asyncio.run(_run(options, folder, progress))
    findings = parts.findings
    console.print(_table(options.seed, parts))
    for finding in findings[:FINDINGS_SHOWN]:
        console.print(finding, style="red", markup=False)
    if findings:
        console.print(f"The databases and logs are in {folder}", style="bold")
        return 1
    shutil.rmtree(folder)
    return 0


async def _run(options: argparse.Namespace, folder: Path, progress: Progress) -> Parts:
    """The kills first, as they leave the logs that are damaged; then what waits, at the same time; then the crowds."""
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
    with running_cluster() as postgres, stalled_logs(folder / "pipes") as stalled:
        logs_done = bar("logs full or not read", 2 * len(ServerName))
        full, unread, lost = await asyncio.gather(
            fill_disks(folder / "full-logs", 1, rng, logs_done, FULL_LOGS),
            fill_disks(folder / "stalled-logs", 1, rng, logs_done, stalled),
            lose_databases(
                folder / "databases", postgres, rng, HOLE_S, ANSWERS_BETWEEN, bar("PostgreSQL", 2 * len(ServerName))
            ),
        )
    crowds_done = bar("crowds", 2)
    unfinished = await leave_unfinished(folder / "unfinished", options.unfinished, rng)
    crowds_done()
    overloaded = await ask_too_much(folder / "overload", options.overload_s, rng)
    crowds_done()
    return Parts(stormed, healed, filled, full, unread, lost, unfinished, overloaded, damaged)


def _table(seed: int, parts: Parts) -> Table:
    table = Table(title=f"make chaos, seed {seed}", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    stormed, healed, reckonings = parts.stormed, parts.healed, parts.reckonings
    for role in ServerName:
        table.add_row(f"kill -9 of {role}", str(stormed.kills[role]))
    table.add_row("requests under way at a kill", f"{stormed.under_way / max(1, stormed.kills.total()):.1f}")
    table.add_row("readers of streams cut off", str(stormed.cuts))
    table.add_row("links broken", _counted({fault.value: count for fault, count in stormed.faults.items()}.items()))
    table.add_row("orders, paid", f"{_sum(reckonings, 'orders'):,}, {_sum(reckonings, 'paid'):,}")
    table.add_row("requests acknowledged", f"{parts.told:,}")
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
        table.add_row(f"full disk of {role}", str(parts.filled.times[role]))
    table.add_row("refused for want of room", str(parts.filled.refused))
    table.add_row("full disk and full log", str(parts.full_logs.times.total()))
    table.add_row("full disk and log that nobody reads", str(parts.unread_logs.times.total()))
    table.add_row("PostgreSQL that answers nothing", f"{len(ServerName)} times {HOLE_S:.0f} s")
    table.add_row("PostgreSQL that takes no writes", str(parts.lost.times.total()))
    table.add_row(
        "left unfinished, all final after", f"{parts.unfinished.payments:,}, {parts.unfinished.finished_s:.1f} s"
    )
    too_many = parts.overloaded
    table.add_row(
        "at twice the capacity", f"{too_many.payments:,}, {too_many.refused:,} refused, {too_many.late:,} late"
    )
    table.add_row("damaged logs", _counted(parts.damaged.outcomes.items()))
    table.add_row("  by a server process", str(parts.damaged.by_process))
    table.add_row("  rows of commits cut off", f"{parts.damaged.rows_dropped:,}")
    table.add_section()
    _verdict(table, "findings", len(parts.findings))
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
