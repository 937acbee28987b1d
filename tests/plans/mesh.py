"""The three servers, asked by anybody; what they run on their databases is noted.

They are the shipped ones, on a virtual clock and SQLite in memory. What is noted is the same on PostgreSQL.
"""

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from google.protobuf import descriptor_pool, message_factory
from sqlalchemy.sql import ClauseElement

from tests.simulation.aside import aside
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import ORDERS, PAYMENTS, TERMINAL
from tests.simulation.node import Node
from tests.simulation.process import owned_tasks
from tests.simulation.world import Parts, World
from tests.sources import ROOT
from thirdparty_server.ledger import comparison, sums
from tillmesh.auth.callers import Caller, caller
from tillmesh.rpc.server import Wiring
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.statements import NO_VALUES, Result, Transaction, Values

SERVICES = {ORDERS: "order_service", PAYMENTS: "thirdparty_server", TERMINAL: "store_terminal"}
STEPS = [(sums, "TRANSFERS_A_STEP", sums.TRANSFERS_A_STEP), (comparison, "ACCOUNTS_A_STEP", comparison.ACCOUNTS_A_STEP)]
"""What the simulator makes small, as it is shipped."""
EXAMPLES_MAX = 3
Site = tuple[str, int]
"""A line of a file of the product."""


@dataclass(frozen=True)
class Example:
    """A statement with the values that it came with."""

    statement: ClauseElement
    values: Values
    run_in: str
    """The function that ran it."""


@dataclass
class Noted:
    """What the servers were asked, and what they ran for it."""

    statements: dict[str, dict[str, list[Example]]] = field(default_factory=lambda: defaultdict(dict))
    """By service and SQL, a few of each."""
    sites: set[Site] = field(default_factory=set)
    """Where statements were run."""
    calls: set[tuple[str, str]] = field(default_factory=set)
    """Full names of proto services, and methods."""
    served: set[tuple[str, str]] = field(default_factory=set)
    """Those that there are."""
    databases: dict[str, bytes] = field(default_factory=dict)
    """What each service's database came to be."""

    def note(self, service: str, text: str, statement: ClauseElement, values: Values) -> None:
        """Notes a statement that a function three calls up runs."""
        frame = sys._getframe(3)
        self.sites.add((str(Path(frame.f_code.co_filename).relative_to(ROOT)), frame.f_lineno))
        examples = self.statements[service].setdefault(text, [])
        if len(examples) < EXAMPLES_MAX and all(values != known.values for known in examples):
            examples.append(Example(statement, dict(values), frame.f_code.co_qualname))


class Mesh:
    """The servers of a tour. Calls reach them past the network, so that anybody may be the caller."""

    def __init__(self, noted: Noted) -> None:
        self.noted = noted
        self.world = World(Parts(), 1, keep_trace=False, troubles=False)
        self.wirings: dict[str, Wiring] = {}
        for name, node in self.world.nodes.items():
            node.database.replica = f"{name}-1"  # as on PostgreSQL, so that unfinished records are claimed
            node.database.committed = lambda: None
            node._assemble = self._kept(name, node._assemble)
            node.start()
            for service, access in self.wirings[name].access.items():
                noted.served |= {(service, method) for method in access}

    async def ask(self, who: Caller, method: str, /, **fields: Any) -> Any:
        """The answer to `Service.Method`, the first one of a stream, or the reason why it was refused."""
        short, name = method.split(".")
        service, servicer = next(
            (service, servicer)
            for wiring in self.wirings.values()
            for service, servicer in wiring.servicers.items()
            if service.endswith(f".{short}")
        )
        self.noted.calls.add((service, name))
        called = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
        request = message_factory.GetMessageClass(called.input_type)(**fields)

        async def answer() -> Any:
            caller.set(who)
            try:
                if called.server_streaming:
                    async with aclosing(getattr(servicer, name)(request)) as answers:
                        return await anext(answers)
                return await getattr(servicer, name)(request)
            except Refusal as refusal:
                return refusal.reason

        return await asyncio.create_task(answer())  # which may set its caller and its deadline for itself alone

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Notes what the servers run meanwhile."""
        execute, execute_many = Transaction.execute, Transaction.execute_many
        service_of = {id(node.database._transaction): SERVICES[name] for name, node in self.world.nodes.items()}

        def note(transaction: Transaction, statement: ClauseElement, values: Values) -> None:
            text = transaction._statements.compiled(statement, values).text
            self.noted.note(service_of[id(transaction)], text, statement, values)

        def noting(transaction: Transaction, statement: ClauseElement, values: Values = NO_VALUES) -> Result:
            note(transaction, statement, values)
            return execute(transaction, statement, values)

        def noting_many(transaction: Transaction, statement: ClauseElement, rows: Any) -> None:
            note(transaction, statement, rows[0])
            execute_many(transaction, statement, rows)

        with ExitStack() as patched:
            for step in (*STEPS, (Transaction, "execute", noting), (Transaction, "execute_many", noting_many)):
                patched.enter_context(patch.object(*step))
            yield

    def _kept(self, name: str, assemble: Callable[[Node], Wiring]) -> Callable[[Node], Wiring]:
        def assembled(node: Node) -> Wiring:
            self.wirings[name] = assemble(node)
            return self.wirings[name]

        return assembled


def note_all(tour: Callable[[Mesh], Coroutine[Any, Any, None]]) -> Noted:
    """What a tour of the servers makes them run."""
    noted, loop = Noted(), VirtualLoop()

    async def go(mesh: Mesh) -> None:
        with mesh.noting():
            await tour(mesh)
        for name, node in mesh.world.nodes.items():
            noted.databases[SERVICES[name]] = node.database.sqlite().serialize()

    async def begin() -> Mesh:
        return Mesh(noted)

    loop.set_task_factory(owned_tasks)
    asyncio.set_event_loop(loop)
    mesh = loop.run_until_complete(begin())
    with aside(mesh.world):
        try:
            loop.run_until_complete(go(mesh))
        finally:
            loop.run_until_complete(mesh.world.end())
            loop.close()
    return noted
