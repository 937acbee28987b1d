"""One seed: three servers, their faults, their shoppers, and what must hold."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from order_service import server as order_server
from order_service import tables as order_tables
from store_terminal import server as terminal_server
from store_terminal import tables as terminal_tables
from tests.simulation import invariants, pruning
from tests.simulation.answers import Answers
from tests.simulation.aside import aside
from tests.simulation.changes import Change, Changes
from tests.simulation.claims import Claims
from tests.simulation.consents import Consents
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import ORDERS, PAST_ALL_MESSAGES_S, PAYMENTS, SERVERS, TERMINAL, Channel, Network
from tests.simulation.node import Node, SimulatedDatabase
from tests.simulation.process import owned_tasks
from tests.simulation.readers import FEEDS, Readers
from tests.simulation.reading import Violation
from tests.simulation.trouble import CLOCK_SKEWS_MS, Trouble
from thirdparty_server import server as payment_server
from thirdparty_server import tables as payment_tables
from thirdparty_server.payers.vault import MASTER_BYTES_MIN, Vault
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from tillmesh.rpc.peers import Peer
from tillmesh.rpc.server import Wiring
from tillmesh.runtime.secret import Secret

STORE = "store-1"
LEASE_MAX_S = 9
GRACE_S = 5
IDLE_DAYS = 20 / 86_400
"""In hasty seeds, one of five, what is left alone for so long expires, and all that is final is pruned at the end."""
RESOLVED_WITHIN_S = 60
HISTORIES = {feed.server: feed.history for feed in FEEDS}
FINAL_WITHIN_S = 600
FIRST = asyncio.FIRST_COMPLETED

Story = Callable[["World"], Awaitable[Sequence[Coroutine[Any, Any, None]]]]


class _PaymentSettings(payment_server.PaymentSettings):
    """The shipped settings, with a master secret that is in no file."""

    def vault(self) -> Vault:
        """A master secret that is the same in every run."""
        return Vault(Secret(bytes(MASTER_BYTES_MIN)))


class Parts:
    """What is made once a process and emptied for each seed: databases and settings."""

    def __init__(self) -> None:
        self.databases = {
            ORDERS: SimulatedDatabase(order_tables.METADATA),
            PAYMENTS: SimulatedDatabase(payment_tables.METADATA),
            TERMINAL: SimulatedDatabase(terminal_tables.METADATA),
        }
        self.order_settings = order_server.OrderSettings.model_validate({"insecure": True, "lease_max_s": LEASE_MAX_S})
        self.payment_settings = _PaymentSettings.model_validate(
            {
                "insecure": True,
                "payer_window_s": 8,
                "lease_margin_s": 2,
                "instant_lease_s": 8,
                "lock_patience_s": 20,
            }
        )
        self.terminal_settings = terminal_server.TerminalSettings.model_validate(
            {"insecure": True, "store_id": STORE, "payment_wait_s": 12}
        )


@dataclass
class Outcome:
    """What became of a seed."""

    seed: int
    digest: str
    counts: Counter[str]
    violation: str = ""
    trace: list[str] = field(default_factory=list)


class World:
    """The mesh of one seed."""

    def __init__(self, parts: Parts, seed: int, *, keep_trace: bool, troubles: bool = True) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.network = Network(self.rng, keep_trace=keep_trace)
        self.parts = parts
        for database in parts.databases.values():
            database.reset()
        assemble = {ORDERS: self._orders, PAYMENTS: self._payments, TERMINAL: self._terminal}
        self.nodes = {name: Node(name, self.network, parts.databases[name], assemble[name]) for name in SERVERS}
        for name, database in parts.databases.items():
            database.committed = self._after_commit_of(name)
        self.failure: Violation | None = None
        self._broken = asyncio.Event()
        self.consents = Consents()
        self.answers = Answers(self.sql, calm=not troubles)
        self._trouble = Trouble(self) if troubles else None
        self._changes = Changes()
        self._is_hasty = troubles and seed % 5 == 3
        self.on_disk = Counter[str]()
        """The newest row of each server's history that was committed."""
        self.done: list[Callable[[], Awaitable[object]]] = []
        """Asks again for what was done."""
        self.claims = Claims(self)
        self._locked_since: dict[tuple[str, int], float] = {}

    def channel(self, source: str, target: str) -> Any:
        """A channel for a client, or from one server to another."""
        return Channel(self.network, source, target)

    def sql(self, server: str, query: str, *values: Any) -> list[Any]:
        """Reads a server's database past the server."""
        return self.parts.databases[server].sqlite().execute(query, values).fetchall()

    def fail(self, violation: Violation) -> None:
        """Notes the first violation; the run ends with it."""
        if self.failure is None:
            self.failure = violation
            self.network.note(f"*** {violation}")
            self._broken.set()

    def jump_clock(self, name: str, by_ms: int) -> None:
        """Sets a server's clock forward or back."""
        self.nodes[name].clock_offset_ms += by_ms
        self.network.counts["clock_jumps"] += 1
        self.network.note(f"--- {name} clock {by_ms:+} ms")
        if name == ORDERS:  # a lease starts anew when its clock steps back, but is no longer than it was
            self._locked_since.clear()
        if name == PAYMENTS:
            self.claims.clock_jumped()

    async def run(self, story: Story) -> None:
        """Runs until all is final and all invariants are checked, or until one is broken."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unhandled)
        all_of_it = loop.create_task(self.guarded(self._run(story)))
        await asyncio.wait({all_of_it, loop.create_task(self._broken.wait())}, return_when=FIRST)
        if all_of_it.done():
            all_of_it.result()

    async def _run(self, story: Story) -> None:
        """Faults and shoppers for a while, then peace, then all invariants."""
        for node in self.nodes.values():
            if self._trouble:
                node.clock_offset_ms = self.rng.choice(CLOCK_SKEWS_MS)
            node.start()
        tasks = [asyncio.ensure_future(self.guarded(task)) for task in await story(self)]
        watch = asyncio.ensure_future(self._watch_locks())
        readers = Readers(self)
        reading = readers.start() if self._trouble else []
        if self._trouble:
            await self._trouble.run()
        final_by_s = asyncio.get_running_loop().time() + FINAL_WITHIN_S
        if (await asyncio.wait(tasks, timeout=FINAL_WITHIN_S))[1]:
            raise Violation("a shopper waited for ten minutes after all was healed")
        for task in tasks:
            task.result()
        await self._come_to_rest(final_by_s)
        if self._trouble:
            await readers.catch_up()
        watch.cancel()
        for task in reading:
            task.cancel()
        await self._between_transactions()
        invariants.at_rest(self.parts.databases, self.consents)
        if self._trouble:
            readers.check()
        self.answers.check()
        self.claims.check()
        if self._is_hasty:
            readers.go_back()
            await self._prune()
            reading = readers.start()
            await self._ask_again()
            await readers.catch_up()
            readers.check()
        await self._ask_tills()

    async def guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something, and notes the violation that comes of it."""
        try:
            await work
        except Violation as violation:
            self.fail(violation)

    def note_error(self, what: str) -> None:
        """A server that logs an error met what it does not expect."""
        self.fail(Violation(f"a server logged an error: {what}"))

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if error := context.get("exception"):
            self.fail(Violation(f"unhandled: {error!r}"))

    async def end(self) -> None:
        """Stops everything that still runs."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _after_commit_of(self, name: str) -> Callable[[], None]:
        newest = f"SELECT coalesce(max(row_id), 0) FROM {HISTORIES[name]}"

        def check() -> None:
            self.network.counts["transactions"] += 1
            self.on_disk[name] = self.sql(name, newest)[0][0]
            try:
                changes = self._changes.after_commit(name, self.parts.databases[name])
                for change in changes:
                    before = f"{change.before} > " if change.before else ""
                    self.network.note(f"    {name}: {change.what} {change.key} {before}{change.after}")
                invariants.after_commit(self.parts.databases, name, self.consents)
                if name == PAYMENTS:
                    self.claims.after_commit()
            except Violation as violation:
                self.fail(violation)
            else:
                self._tell(changes)

        return check

    def _tell(self, changes: list[Change]) -> None:
        for change in changes:
            self.network.counts[f"{change.what} {change.after}"] += 1
            if self._trouble:
                self._trouble.after(change)

    async def _watch_locks(self) -> None:
        """Invariant 8: while the order service runs, no lock outlasts its lease and a little grace."""
        while True:
            await asyncio.sleep(2)
            if not self.nodes[ORDERS].up:
                self._locked_since.clear()
                continue
            locked = self.sql(ORDERS, "SELECT order_id, epoch FROM orders WHERE state = 'LOCKED' ORDER BY order_id")
            now_s = asyncio.get_running_loop().time()
            self._locked_since = {key: self._locked_since.get(key, now_s) for key in locked}
            for (order_id, epoch), since_s in self._locked_since.items():
                if now_s - since_s > LEASE_MAX_S + GRACE_S:
                    self.fail(Violation(f"invariant 8: order {order_id} is locked by epoch {epoch} past its lease"))

    async def _come_to_rest(self, final_by_s: float) -> None:
        """Waits until all is final and the last late message has stirred nothing up again."""
        loop, since_s = asyncio.get_running_loop(), dict[str, float]()
        final_since_s = loop.time()
        while True:
            now_s = loop.time()
            left = invariants.unfinished(self.parts.databases)
            since_s = {what: since_s.get(what, now_s) for what in left}
            overdue = [what for what, first_s in since_s.items() if now_s - first_s > RESOLVED_WITHIN_S]
            if overdue or (left and now_s > final_by_s):
                raise Violation(f"rule 13: not final though all is healed: {overdue or left}")
            final_since_s = now_s if left else final_since_s
            if now_s - final_since_s > PAST_ALL_MESSAGES_S:
                return
            await asyncio.sleep(1)

    async def _between_transactions(self) -> None:
        """Returns while no transaction is under way, whose rows would be seen here before they are on disk."""
        while any(database.is_committing for database in self.parts.databases.values()):  # noqa: ASYNC110 virtual time
            await asyncio.sleep(0.001)

    async def _ask_tills(self) -> None:
        """What each till says once all is final is how the order ended, whoever ended it."""
        till = CheckoutServiceStub(self.channel("hardware", TERMINAL))
        for (checkout_id,) in self.sql(TERMINAL, "SELECT checkout_id FROM checkouts"):
            request = checkouts_api.GetCheckoutRequest(checkout_id=checkout_id)
            checkout = await Peer().call(till.GetCheckout, request)
            self.answers.note(request, checkout, self.answers.known_of(request))
            invariants.shown_at_rest(self.parts.databases, checkout)

    async def _prune(self) -> None:
        """Prunes all; what was done may be gone then, and is told all the same."""
        for database in self.parts.databases.values():
            database.committed = _nothing
        await pruning.prune(self.parts.databases)
        await self._between_transactions()
        pruning.verify(self.parts.databases)
        self._changes = Changes()
        for name, database in self.parts.databases.items():
            database.committed = self._after_commit_of(name)

    async def _ask_again(self) -> None:
        """What was done is answered as before, also after its history was pruned."""
        for ask in self.done:
            await ask()
        await self._between_transactions()
        pruning.verify(self.parts.databases)

    def _orders(self, node: Node) -> Wiring:
        rng = random.Random(self.rng.getrandbits(64))
        settings = self.parts.order_settings
        if self._is_hasty:
            settings = settings.model_copy(update={"open_order_days": IDLE_DAYS})
        return order_server.assemble(settings, node.database, node, rng)

    def _payments(self, node: Node) -> Wiring:
        rng = random.Random(self.rng.getrandbits(64))
        channel = self.channel(PAYMENTS, ORDERS)
        return payment_server.assemble(self.parts.payment_settings, node.database, channel, node, rng)

    def _terminal(self, node: Node) -> Wiring:
        rng = random.Random(self.rng.getrandbits(64))
        orders, payments = self.channel(TERMINAL, ORDERS), self.channel(TERMINAL, PAYMENTS)
        settings = self.parts.terminal_settings
        if self._is_hasty:
            idle = {"basket_days": IDLE_DAYS, "names_days": IDLE_DAYS, "parked_hours": IDLE_DAYS * 24}
            settings = settings.model_copy(update=idle)
        return terminal_server.assemble(settings, node.database, orders, payments, node, rng)


def _nothing() -> None:
    """Of a commit that nobody looks at."""


def simulate(parts: Parts, seed: int, story: Story, *, keep_trace: bool = False, troubles: bool = True) -> Outcome:
    """Runs one seed from the beginning to its end; nothing that was set in this process before changes it."""
    return Context().run(_simulate, parts, seed, story, keep_trace, troubles)


def _simulate(parts: Parts, seed: int, story: Story, keep_trace: bool, troubles: bool) -> Outcome:
    loop = VirtualLoop()
    loop.set_task_factory(owned_tasks)
    asyncio.set_event_loop(loop)
    world = World(parts, seed, keep_trace=keep_trace, troubles=troubles)
    with aside(world):
        try:
            loop.run_until_complete(world.run(story))
            digest, failure = world.network.digest(), world.failure
        finally:
            loop.run_until_complete(world.end())
            loop.close()
    return Outcome(seed, digest, world.network.counts, str(failure or ""), world.network.trace)
