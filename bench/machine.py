"""Figures of the operating system about a process and the machine; Linux only."""

import os
import platform
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

PROCESS_CLOCK = 2  # CPUCLOCK_SCHED: what the scheduler gave all threads of a process, living and ended
MEGABYTE = 1024 * 1024

Processes = Mapping[str, Sequence[int]]
"""Process ids by what they are reported as; replicas of a server are one row."""


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used so far, to the microsecond (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | PROCESS_CLOCK)


def cpu_of(processes: Processes) -> dict[str, float]:
    """CPU seconds so far of each kind of process, with the processes that they started and that still run."""
    started = _started_by()
    return {name: sum(map(cpu_s, _family(pids, started))) for name, pids in processes.items()}


def rss_mb(pids: Iterable[int]) -> float:
    """Resident memory, in megabytes."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def busy_s() -> float:
    """CPU seconds that all cores have spent on anything so far, and those that another machine on the host took."""
    user, nice, system, _idle, _waiting, *rest = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return sum(map(int, (user, nice, system, *rest))) / os.sysconf("SC_CLK_TCK")


def describe() -> dict[str, str]:
    """The machine of the measurement."""
    models = [
        line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    return {
        "cpu": f"{os.cpu_count()} × {models[0] if models else platform.machine()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "system": f"Linux {platform.release()}",
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "sqlalchemy": version("sqlalchemy"),
    }


def _started_by() -> dict[int, list[int]]:
    """Process ids by that of the process that started them."""
    found: dict[int, list[int]] = defaultdict(list)
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            found[_parent(process)].append(int(process.name))
    return found


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended since it was listed
        return 0


def _family(pids: Sequence[int], started: Mapping[int, Sequence[int]]) -> list[int]:
    found = list(pids)
    for pid in found:
        found += started.get(pid, ())
    return found
