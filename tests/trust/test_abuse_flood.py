"""Hundreds of clients that call without a pause, hundreds of idle streams, and somebody honest among them."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes import wait_until
from tests.trust.fort import HOSTILE, LIST_ORDERS, NEIGHBOUR, STOLEN, Fort, Who, running_fort
from tests.trust.frames import Wire, message
from tests.trust.test_abuse_limits import let_in
from tillmesh.rpc.limits import CALLS_MAX, SHARES

PROCESSES, CLIENTS = 4, 125
IDLE_STREAMS, CONNECTIONS = 200, 4
CALL_S_MAX = 5
FLOOD_S = 6.0
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
    """A process with clients: connected once it is made, and at work from `go` to `end`."""

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
        """Ends it; what it has to say."""
        said, _ = self._process.communicate(timeout=120)
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


def flood(fort: Fort) -> Lived:
    """Lets them all loose for a while, and waits until they and their idle streams are gone."""
    with ExitStack() as stack:
        wires = [stack.enter_context(fort.wire(HOSTILE)) for _ in range(CONNECTIONS)]
        honest = Party(fort, NEIGHBOUR, "honest")
        hostile = [Party(fort, who, "flooder", str(CLIENTS)) for who in (HOSTILE, STOLEN) * (PROCESSES // 2)]
        for wire in wires:
            idle(wire, IDLE_STREAMS // CONNECTIONS)
        for party in (*hostile, honest):
            party.go()
        time.sleep(FLOOD_S)
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


def test_a_flood_delays_who_is_honest_by_less_than_a_second_and_leaves_nothing_behind(fort: Fort) -> None:
    files, floods, memory_kb = open_files(fort), [], []
    for _ in range(2):
        floods.append(flood(fort))
        wait_until(lambda: open_files(fort) <= files)
        memory_kb.append(fort.memory_kb())
    for lived in floods:
        assert lived.refused == []
        assert sum(lived.outcomes.values()) >= PROCESSES * CLIENTS
        assert set(lived.outcomes) <= {"OK", "RESOURCE_EXHAUSTED"}
    # What else the machine does can only make it worse: the better of the two tells what the server does.
    assert min(lived.p99_s for lived in floods) < P99_S_MAX
    assert memory_kb[1] - memory_kb[0] < GROWTH_KB_MAX
    wait_until(lambda: let_in(fort, HOSTILE, CALLS_MAX // SHARES))
