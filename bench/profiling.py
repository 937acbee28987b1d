"""Where the servers' time goes: tables by function, from cProfile within each server under load.

A profiled server runs at about half its speed, so compare the functions with each other and
take no figure from here for one of the benchmark.
"""

import pstats
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from bench.calls import CREATE_ORDER, LOCK_ORDER, create_orders, lock_orders, send
from bench.checkouts import buy, keep_busy
from bench.run import Run
from bench.servers import ORDERS, SERVERS
from bench.shoppers import shopper
from tillmesh.auth.callers import Role

ROWS = 40
LOCKS = 4_000
CHECKOUTS = 600
AT_A_TIME = 32


def write_profiles(run: Run, results: Path) -> list[Path]:
    """Profiles LockOrder and whole checkouts; returns the text files that it wrote to `results`."""
    done = run.expect("profiles", 2)
    results.mkdir(parents=True, exist_ok=True)
    written = [_profile_locks(run, results)]
    done()
    written += _profile_checkouts(run, results)
    done()
    return written


def _profile_locks(run: Run, results: Path) -> Path:
    name = "profiled-locks"
    with run.stack(name) as stack:  # raises the orders, so that the profile is of their locks alone
        platform = stack.target(ORDERS, Role.PLATFORM, "bench")
        orders = run.generator.run(send, platform, CREATE_ORDER, create_orders(map(shopper, range(LOCKS))), AT_A_TIME)
    with run.stack(name, profiled=[ORDERS]) as stack:
        payments = stack.target(ORDERS, Role.PAYMENTS, "bench")
        run.generator.run(send, payments, LOCK_ORDER, lock_orders(orders), AT_A_TIME)
    return _write(stack.profile(ORDERS), f"{LOCKS} LockOrder", results / f"profile-{ORDERS}-LockOrder.txt")


def _profile_checkouts(run: Run, results: Path) -> Sequence[Path]:
    with run.stack("profiled-checkouts", profiled=SERVERS) as stack:
        tills = stack.tills()
        run.generator.run(keep_busy, tills, buy, run.phones(stack, CHECKOUTS), AT_A_TIME, {})
    what = f"{CHECKOUTS} checkouts"
    return [_write(stack.profile(name), what, results / f"profile-{name}-checkouts.txt") for name in SERVERS]


def _write(profile: Path, what: str, path: Path) -> Path:
    text = StringIO()
    text.write(f"{what}, {AT_A_TIME} at a time, start and stop of the server included. First by own time, then with\n")
    text.write("what was called from it; milliseconds are of a server that cProfile slows down.\n")
    stats = pstats.Stats(str(profile), stream=text)
    stats.strip_dirs().sort_stats("tottime").print_stats(ROWS)
    stats.sort_stats("cumulative").print_stats(ROWS)
    path.write_text(text.getvalue())
    return path
