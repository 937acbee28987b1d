"""Hundreds of clients that call without a pause, hundreds of idle streams, and somebody honest among them."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.processes import DEADLINE_S, wait_until
from tests.trust.fort import HOSTILE, LIST_ORDERS, NEIGHBOUR, STOLEN, Fort, Who, running_fort
from tests.trust.frames import Wire, message
from tests.trust.test_abuse_limits import let_in
from tillmesh.rpc.limits import CALLS_MAX, SHARES

IDLE_STREAMS, CONNECTIONS = 200, 4
CALL_S_MAX = 5
P99_S_MAX = 1.0
GROWTH_KB_MAX = 32 * 1024
WATCH = b"/grpc.health.v1.Health/Watch"


@pytest.fixture(scope="module")
def fort(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fort]:
    """With the limits that servers have if nobody says otherwise, but that calls end sooner."""
    limits = ("--call-s-max", str(CALL_S_MAX), "--log-level", "WARNING")
    with running_fort(tmp_path_factory.mktemp("fort"), *limits) as fort:
        yield fort


class Party:
    """A process with clients: connected once it is made, and at work from `go` on."""

    def __init__(self, fort: Fort, who: Who, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"tests.trust.{module}", *arguments]
        command += [str(fort.files(who).folder), fort.server.address]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        fort.closing.callback(self._process.kill)

    def go(self) -> None:
        """Lets it begin, once all its clients are connected."""
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stdout.readline() == "ready\n"
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def end(self) -> Any:
        """Tells it to end, which some do sooner or later by themselves; what it has to say."""
        said, _ = self._process.communicate(timeout=DEADLINE_S)
        return json.loads(said)


@dataclass
class Lived:
    """What there was in a flood."""

    took_s: list[float]
    """By the honest client, a call each."""
    refused: list[str]
    outcomes: Counter[str]
    """Of the others."""

    @property
    def p99_s(self) -> float:
        return sorted(self.took_s)[int(len(self.took_s) * 0.99)]


def flood(fort: Fort, processes: int, clients: int, orders: int) -> Lived:
    """Lets them all loose until somebody honest has made so many orders, and waits until all streams are gone."""
    with ExitStack() as stack:
        wires = [stack.enter_context(fort.wire(HOSTILE)) for _ in range(CONNECTIONS)]
        honest = Party(fort, NEIGHBOUR, "honest", str(orders))
        hostile = [Party(fort, who, "flooder", str(clients)) for who in (HOSTILE, STOLEN) * (processes // 2)]
        for wire in wires:
            idle(wire, IDLE_STREAMS // CONNECTIONS)
        for party in (*hostile, honest):
            party.go()
        lived = honest.end()
        outcomes = sum((Counter(party.end()) for party in hostile), Counter[str]())
        for wire in wires:
            assert None not in [wire.next_end() for _ in range(IDLE_STREAMS // CONNECTIONS)]
    return Lived(lived["took_s"], lived["refused"], outcomes)


def idle(wire: Wire, streams: int) -> None:
    """Opens calls that never send a message, and as many streams that nobody reads."""
    for _ in range(streams // 2):
        wire.open(LIST_ORDERS)
        wire.data(wire.open(WATCH, timeout=b""), message(b""), flags=0)


def open_files(fort: Fort) -> int:
    """Files and connections that the server has open."""
    return len(list(Path(f"/proc/{fort.server.process.pid}/fd").iterdir()))


def test_a_flood_starves_nobody_and_leaves_nothing_behind(fort: Fort) -> None:
    files, memory_kb = open_files(fort), []
    for _ in range(2):
        lived = flood(fort, processes=2, clients=150, orders=50)
        assert lived.refused == []
        assert lived.outcomes.total() >= 2 * 150
        assert lived.outcomes.keys() <= {"OK", "RESOURCE_EXHAUSTED"}
        wait_until(lambda: open_files(fort) <= files)
        memory_kb.append(fort.memory_kb())
    assert memory_kb[1] - memory_kb[0] < GROWTH_KB_MAX
    wait_until(lambda: let_in(fort, HOSTILE, CALLS_MAX // SHARES))


@pytest.mark.chaos
def test_a_flood_delays_who_is_honest_by_less_than_a_second(fort: Fort) -> None:
    floods = [flood(fort, processes=4, clients=125, orders=200) for _ in range(3)]
    assert median(lived.p99_s for lived in floods) < P99_S_MAX
