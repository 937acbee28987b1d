"""A server of the mesh: its memory dies in a crash, its database and its disk do not."""

import asyncio
import math
import random
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import StatusCode
from sqlalchemy import Connection, MetaData, make_url

from tests.simulation.network import SIGNED_IN, Aborted, Context, Network
from tests.simulation.process import Process, is_dead, nothing_more, running
from tests.simulation.replies import Reply
from tests.simulation.streaming import Stream
from tillmesh.auth.callers import MESH, Caller, Role, caller
from tillmesh.rpc.handlers import method_handlers
from tillmesh.rpc.limits import Limits
from tillmesh.rpc.server import Wiring
from tillmesh.runtime.secret import Secret
from tillmesh.storage.batches import Queue
from tillmesh.storage.chains import HistoryTable, read_chains
from tillmesh.storage.seal import KEY_BYTES, Seal
from tillmesh.storage.sqlite import SqliteDatabase

Result = TypeVar("Result")
EPOCH_MS = 1_700_000_000_000
COMMIT_S = 0.003
SLOW_COMMIT_S, SLOW_COMMITS = 0.3, 0.1
Handlers = Mapping[str, "grpc.RpcMethodHandler[bytes, Message]"]


class SimulatedDatabase(SqliteDatabase):
    """The shipped database class on SQLite in memory, which may crash its node around a commit."""

    def __init__(self, metadata: MetaData) -> None:
        super().__init__(make_url("sqlite://"), metadata)
        self.seal = Seal(bytes(KEY_BYTES))  # cursors are the same in every process
        self._empty = self.sqlite().serialize()
        self._changes_before = 0
        self._commit_due: asyncio.TimerHandle | None = None
        self.commit_s: Callable[[], float] = lambda: 0.0
        """How long a commit takes; meanwhile its process goes on."""
        self.around_commit: Callable[[str], bool] = lambda _when: False
        self.committed: Callable[[], None] = lambda: None

    async def run(self, operation: Callable[..., Result], /, *args: Any, **kwargs: Any) -> Result:
        """As shipped, but for the living only."""
        if is_dead():
            await nothing_more()
        return await super().run(operation, *args, **kwargs)

    def sqlite(self) -> sqlite3.Connection:
        """The driver's own connection."""
        return self._driver

    def findings(self, table: HistoryTable) -> list[str]:
        """What is wrong with the chains of a history table, outside of the servers' transactions."""
        with self.connection() as connection:
            chains = read_chains(connection, table)
            return [f"{chain.key}: {finding}" for chain in chains for finding in chain.findings]

    def connection(self) -> Connection:
        """To read outside of the servers' transactions; to be closed."""
        return self._engine.connect()

    def reset(self) -> None:
        """Empties the database: a new world begins."""
        self.lose_memory()
        self.sqlite().deserialize(self._empty)

    def lose_memory(self) -> None:
        """Forgets what was not committed."""
        if self._commit_due:
            self._commit_due.cancel()
            self._commit_due = None
        self.sqlite().rollback()
        self._queue = Queue(self._flush)
        self._committing = False
        self.changed = asyncio.Event()

    @property
    def is_committing(self) -> bool:
        """True while rows may be seen here that are not on disk yet."""
        return self._committing

    def _flush(self) -> None:
        if not self._committing:
            self._changes_before = self.sqlite().total_changes
        super()._flush()

    def _commit_aside(self, then: Callable[[Exception | None], None]) -> None:
        """When the seed says, as the order of events must not depend on a thread."""
        self._commit_due = asyncio.get_running_loop().call_later(self.commit_s(), self._commit_now, then)

    def _commit_now(self, then: Callable[[Exception | None], None]) -> None:
        self._commit_due = None
        writes = self._writes()
        if writes and self.around_commit("before"):
            return  # nothing of the transaction is there
        then(self._commit())
        if writes:
            self.committed()
            self.around_commit("after")

    def _writes(self) -> bool:
        """False for a transaction that only reads."""
        return self.sqlite().total_changes != self._changes_before


class Node:
    """One server: restarted on the same database, its clock its own."""

    def __init__(
        self, name: str, network: Network, database: SimulatedDatabase, assemble: Callable[["Node"], Wiring]
    ) -> None:
        self.name = name
        self.network = network
        self.database = database
        self.clock_offset_ms = 0
        self.crash_share = 0.0
        self.down_s = (0.1, 20.0)
        self._assemble = assemble
        self._process = Process()
        self._rng = random.Random(network.rng.getrandbits(64))
        self.decide: Callable[[str], bool] = lambda _when: self._rng.random() < self.crash_share
        """Whether to crash "before" or "after" the commit that is being made."""
        database.around_commit = self._around_commit
        database.commit_s = self._commit_s

    @property
    def up(self) -> bool:
        """True while the process runs."""
        return self.network.endpoint(self.name).handle is not None

    def now_ms(self) -> int:
        """The node's own clock."""
        return EPOCH_MS + int(asyncio.get_running_loop().time() * 1000) + self.clock_offset_ms

    def start(self) -> None:
        """Starts the process from its database."""
        if self.up:
            return
        process = self._process = Process()
        token = running.set(process)
        wiring = self._assemble(self)
        for run in wiring.loops:
            asyncio.get_running_loop().create_task(run())
        running.reset(token)
        limits = Limits()
        handlers = {
            f"/{service}/{name}": handler
            for service, servicer in wiring.servicers.items()
            for name, handler in method_handlers(
                service, servicer, wiring.domain, wiring.access[service], wiring.gate, limits, _as_it_is
            ).items()
        }

        async def handle(source: str, method: str, payload: bytes, metadata: Any, deadline_s: float) -> Reply:
            caller.set(_caller_from(source))
            return await self._handle(process, handlers, method, payload, metadata, deadline_s)

        async def handle_stream(method: str, payload: bytes, metadata: Any, stream: Stream) -> None:
            await self._handle_stream(process, handlers[method], Context(payload, metadata, math.inf), stream)

        endpoint = self.network.endpoint(self.name)
        endpoint.handle, endpoint.handle_stream = handle, handle_stream
        self.network.note(f"--- {self.name} started")

    def crash(self, why: str = "") -> None:
        """kill -9; starts again later."""
        endpoint = self.network.endpoint(self.name)
        endpoint.handle, endpoint.handle_stream = None, None
        self.database.lose_memory()
        self._process.die()
        self.network.counts["crashes"] += 1
        self.network.note(f"--- {self.name} crashed {why}")
        asyncio.get_running_loop().call_later(self._rng.uniform(*self.down_s), self.start)

    async def _handle(
        self,
        process: Process,
        handlers: Handlers,
        method: str,
        payload: bytes,
        metadata: Any,
        deadline_s: float,
    ) -> Reply:
        handler: Any = handlers[method]
        token = running.set(process)
        loop = asyncio.get_running_loop()
        context = Context(payload, metadata, deadline_s)
        task = loop.create_task(handler.stream_unary(None, context))
        running.reset(token)
        if self._rng.random() < 0.5:  # a server learns of a caller's end of patience, or not
            loop.call_at(deadline_s, task.cancel)
        try:
            answer = await task
        except Aborted as aborted:
            status = aborted.status
            return Reply(status.code, details=status.details, trailing=tuple(status.trailing_metadata))
        except asyncio.CancelledError:
            return Reply(StatusCode.UNAVAILABLE, details="connection lost")
        if not process.alive:
            return Reply(StatusCode.UNAVAILABLE, details="connection lost")
        return Reply(StatusCode.OK, handler.response_serializer(answer), brief=self.network.brief(answer))

    async def _handle_stream(self, process: Process, handler: Any, context: Context, stream: Stream) -> None:
        async def write(answer: Message) -> None:
            await stream.send(handler.response_serializer(answer), self.network.brief(answer))

        context.write = write
        token = running.set(process)
        task = asyncio.get_running_loop().create_task(handler.stream_stream(None, context))
        running.reset(token)
        stream.serve(task)
        process.at_death[stream] = partial(stream.cut, "its server crashed")
        try:
            await task
            stream.finish(Reply(StatusCode.OK))
        except Aborted as aborted:
            status = aborted.status
            stream.finish(Reply(status.code, details=status.details, trailing=tuple(status.trailing_metadata)))
        except asyncio.CancelledError:
            stream.cut("its server gave it up")
        finally:
            process.at_death.pop(stream, None)

    def _commit_s(self) -> float:
        slow = self._rng.random() < SLOW_COMMITS
        return self._rng.uniform(0, SLOW_COMMIT_S) if slow else self._rng.expovariate(1 / COMMIT_S)

    def _around_commit(self, when: str) -> bool:
        if not self.up or not self.decide(when):
            return False
        self.crash(f"{when} a commit")
        return True


def _caller_from(source: str) -> Caller | None:
    """Who calls: a phone with its payer; all others have no certificate, and may do everything."""
    name = source.removeprefix(SIGNED_IN)
    return None if name == source else Caller(f"spiffe://{MESH}/{Role.PHONE}/{name}", Role.PHONE, None, name)


async def _as_it_is(phone: Caller, _method: str, _token: Secret) -> Caller:
    """The `SignIn` of phones whose payer is known already."""
    return phone
