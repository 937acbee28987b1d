"""Counts the calls of one job of a till, from the servers' own logs."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bench.checkouts import Job, keep_busy
from bench.run import Run
from bench.servers import SERVERS, TERMINAL, Stack

JOBS = 20
AT_A_TIME = 4
ONCE = (TERMINAL, "CreateCheckout")
"""A call that every job makes exactly once."""


@dataclass(frozen=True)
class Calls:
    """Calls that one job makes, by the server that serves them and by method."""

    served: Mapping[tuple[str, str], float]

    @property
    def all(self) -> float:
        """Calls that the three servers serve."""
        return sum(self.served.values())

    @property
    def between(self) -> float:
        """Calls that the three make: all but those to the till come from one of them."""
        return sum(count for (server, _), count in self.served.items() if server != TERMINAL)


def count_calls(run: Run, jobs: Iterable[Job]) -> dict[str, Calls]:
    """Runs a few of each job on servers that log every call; by name of the job."""
    with run.stack("counting", log_level="INFO") as stack:
        return {job.__name__: _count(run, stack, job) for job in jobs}


def _count(run: Run, stack: Stack, job: Job) -> Calls:
    tills, phones = stack.tills(), run.phones(stack, JOBS)
    before = _logged(stack)
    run.generator.run(keep_busy, tills, job, phones, AT_A_TIME, {})
    found = _logged(stack) - before
    return Calls({call: count / found[ONCE] for call, count in found.items()})


def _logged(stack: Stack) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for server in SERVERS:
        lines = map(json.loads, stack.log(server).read_text().splitlines())
        found.update((server, line["method"]) for line in lines if line["event"] == "rpc")
    return found
