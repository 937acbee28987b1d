"""A crash in the simulator is one: the dead do nothing more, and only what was committed is left."""

import asyncio
import random
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Column, String, Table

from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.node import Node, SimulatedDatabase
from tests.simulation.process import owned_tasks
from tillmesh.rpc.server import Wiring
from tillmesh.storage.schema import versioned
from tillmesh.storage.statements import Transaction

METADATA = versioned("0001")
DEEDS = Table("deeds", METADATA, Column("deed", String))
NAME = "orders"


class Machine:
    """One node whose process is a loop that writes down what it does."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.loop = loop
        self.network = Network(random.Random(0))
        self.database = SimulatedDatabase(METADATA)
        self.acknowledged: list[str] = []
        self.node = Node(NAME, self.network, self.database, lambda _node: Wiring("test", {}, {}, None, [self.work]))
        self.node.down_s = 1e6, 1e6

    async def work(self) -> None:
        """Writes every second, and does not want to die."""
        for second in range(10):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                self.acknowledged.append("cancelled")
            await self.do(str(second))

    async def do(self, deed: str) -> None:
        """One transaction."""

        def write(transaction: Transaction) -> None:
            transaction.execute(DEEDS.insert(), {"deed": deed})

        await self.database.run(write)
        self.acknowledged.append(deed)

    def run(self, then: Callable[[], None] = lambda: None) -> list[str]:
        """Works for 2.5 s, and five more after `then`; what is on disk at the end."""

        async def watch() -> None:
            self.node.start()
            await asyncio.sleep(2.5)
            then()
            await asyncio.sleep(5)

        self.loop.run_until_complete(watch())
        return [row[0] for row in self.database.sqlite().execute("SELECT deed FROM deeds").fetchall()]


@pytest.fixture
def machine() -> Iterator[Machine]:
    loop = VirtualLoop()
    loop.set_task_factory(owned_tasks)
    yield Machine(loop)
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.wait(tasks) if tasks else asyncio.sleep(0))
    loop.close()


def test_a_process_works_until_it_is_killed(machine: Machine) -> None:
    assert machine.run() == ["0", "1", "2", "3", "4", "5", "6"]


def test_a_dead_process_reaches_nothing_even_if_it_swallows_its_end(machine: Machine) -> None:
    assert machine.run(machine.node.crash) == ["0", "1"]
    assert machine.acknowledged == ["0", "1", "cancelled"]


@pytest.mark.parametrize(("when", "left"), [("before", ["0", "1"]), ("after", ["0", "1", "2"])])
def test_a_crash_around_a_commit_keeps_all_of_it_or_nothing(machine: Machine, when: str, left: list[str]) -> None:
    def arm() -> None:
        machine.node.decide = lambda now: now == when

    assert machine.run(arm) == left
    assert machine.acknowledged == ["0", "1"]
    assert not machine.database.sqlite().in_transaction
