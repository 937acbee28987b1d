"""The benchmark runs, and what it says is so."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from bench.fill import fill
from bench.load import closed_loop, open_loop
from bench.machine import cpu_s
from bench.report import Ratio
from tests.payments.books import Books
from tests.processes import DEADLINE_S
from tests.sources import ROOT
from thirdparty_server.payments.lifecycle import PaymentState
from thirdparty_server.tables import METADATA


@pytest.mark.process
def test_a_quick_run_measures_calls_beside_the_floor_and_judges_their_limits(tmp_path: Path) -> None:
    limits = ["--limit", "LockOrder=1000000", "--limit", "CreateOrder=0.01"]
    command = [sys.executable, "-m", "bench", "--quick", "--only", "rpc", "--out", str(tmp_path), *limits]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 1, done.stderr
    assert "CreateOrder costs" in done.stdout
    assert "LockOrder costs" not in done.stdout
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["costs"]) == {"CreateOrder", "LockOrder", "CompleteOrderPayment", "CreatePayment"}
    assert all(cost["median"] > 1 for cost in results["costs"].values())
    assert [sample["what"] for sample in results["samples"][:3]] == ["rpc: floor", "rpc: CreateOrder", "rpc: floor"]
    assert all(sample["p99_ms"] >= sample["p50_ms"] > 0 for sample in results["samples"])
    assert "| LockOrder (order_service) |" in (tmp_path / "results.md").read_text()
    assert "<svg" in (tmp_path / "costs.svg").read_text()


@pytest.mark.chaos
@pytest.mark.process
def test_a_quick_run_asks_too_much_of_servers_and_finishes_what_an_outage_left(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--only", "callers,capacity,backlog", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    callers, capacity, backlog = json.loads((tmp_path / "results.json").read_text())["tables"]
    assert [row["callers"] for row in callers["rows"]] == ["1", "8", "32"]
    assert capacity["rows"][0]["in time"] > 0
    assert backlog["rows"][0]["finished s"] > 0


@pytest.mark.process
def test_a_part_that_does_not_exist_is_one_plain_line() -> None:
    command = [sys.executable, "-m", "bench", "--only", "rpc,speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 2
    assert "speed" in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_closed_loop_makes_each_call_once_and_no_more_at_a_time_than_asked_for() -> None:
    made: Counter[int] = Counter()
    under_way, most = 0, 0

    async def call(number: int) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        made[number] += 1

    latencies_s = await closed_loop(call, range(5, 105), 8)
    assert made == Counter(range(5, 105))
    assert most == 8
    assert len(latencies_s) == 100


async def test_in_an_open_loop_nobody_waits_for_an_earlier_call_and_latency_counts_from_the_arrival() -> None:
    all_there = asyncio.Event()
    arrived = 0

    async def call(_number: int) -> None:
        nonlocal arrived
        arrived += 1
        if arrived == 50:
            all_there.set()
        await all_there.wait()

    latencies_s = await open_loop(call, range(50), 5_000, random.Random(1))
    assert len(latencies_s) == 50
    assert max(latencies_s) > min(latencies_s)  # the first to come waited for the last, which is 50 arrivals later


def test_cpu_is_what_the_process_itself_says() -> None:
    read_before, own_before = cpu_s(os.getpid()), time.process_time()  # one around the other
    sum(range(3_000_000))
    own, read = time.process_time() - own_before, cpu_s(os.getpid()) - read_before
    assert own - 1e-5 <= read <= own + 0.05  # microseconds are cut off


def test_a_ratio_is_the_median_and_says_how_far_apart_the_repeats_are() -> None:
    assert Ratio.of([3.0, 1.0, 2.0]) == Ratio(2.0, 1.0, 3.0)
    assert Ratio.of([4.0, 2.0]) == Ratio(3.0, 2.0, 4.0)


def test_copied_payments_have_ids_and_money_of_their_own(database_url: str) -> None:
    books = Books.open(database_url)
    first = books.in_state(PaymentState.CAPTURED)
    books.close()
    steps: list[None] = []
    fill(database_url, METADATA, 3, lambda: steps.append(None))
    assert len(steps) == 3

    books = Books.open(database_url)
    with_own_hold = (
        "SELECT payment_id FROM payments p JOIN transfers ON transfer_id = p.hold_id WHERE reference = payment_id"
    )
    payment_ids = [str(payment_id) for (payment_id,) in books.sql(with_own_hold)]
    assert len(set(payment_ids)) == 4
    for copy in map(books.payment, payment_ids):
        assert (copy.state, copy.amount) == (first.state, first.amount)
        assert len(books.history(copy.payment_id)) == len(books.history(first.payment_id))
        assert (copy.created_at_ms < first.created_at_ms) == (copy.payment_id != first.payment_id)
    books.check()
    books.numbers = count(100)
    books.in_state(PaymentState.CAPTURED)
    books.check()
    books.close()
