"""Two processes of each server on one PostgreSQL database; one of them dies, or PostgreSQL does."""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chaos.asking import poll
from tests.chaos.fleet import STORE, TIMING, with_secret
from tests.chaos.load import logged_errors
from tests.chaos.readers import Readers
from tests.chaos.reckoning import Reckoning, let_finish, reckon, wait_until_final
from tests.chaos.shopper import Shopper
from tests.chaos.witness import Witness
from tests.postgres import Cluster
from tests.processes import DEADLINE_S, Server, start_server
from tillmesh.client.connections import Addresses, Client
from tillmesh.local.processes import ServerName
from tillmesh.sandbox.links import Link

REPLICAS = 2
SHOPPERS = 8
ANSWERS_BETWEEN = 50


class Replicas:
    """The processes, and before each role a link that takes a connection to one that is up."""

    def __init__(
        self, folder: Path, databases: Mapping[ServerName, str], rng: random.Random, count: int = REPLICAS
    ) -> None:
        self._folder = folder
        self._databases = databases
        self._rng = rng
        self._count = count
        self._links: dict[ServerName, Link] = {}
        self.servers: dict[tuple[ServerName, int], Server] = {}

    async def __aenter__(self) -> Self:
        try:
            for role in ServerName:
                await asyncio.gather(*(self._start(role, number) for number in range(self._count)))
                addresses = [self.servers[role, number].address for number in range(self._count)]
                self._links[role] = Link(self._rng, *addresses)
                await self._links[role].open()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def logs(self) -> dict[str, Path]:
        """The log of each process."""
        return {f"{role} {number}": server.log for (role, number), server in self.servers.items()}

    def client(self) -> Client:
        """Somebody outside, with connections of their own."""
        orders, payments, terminal = (self._links[role].address for role in ServerName)
        return Client(Addresses(orders, payments, terminal, tls_dir=None))

    async def kill(self, role: ServerName, number: int) -> None:
        """kill -9."""
        await asyncio.to_thread(self.servers[role, number].kill)

    async def restart(self, role: ServerName, number: int) -> None:
        """Starts a process again at its old address."""
        await self._start(role, number, self.servers[role, number].address)

    async def _start(self, role: ServerName, number: int, listen: str = "127.0.0.1:0") -> None:
        folder = self._folder / f"{role}-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        flags = [
            "--database-url",
            self._databases[role],
            "--log-level=WARNING",
            *TIMING.get(role, []),
            *self._peers(role),
        ]
        self.servers[role, number] = await asyncio.to_thread(start_server, role, folder, *flags, listen=listen)

    def _peers(self, role: ServerName) -> list[str]:
        peers = ["--orders", self._links[ServerName.ORDERS].address] if role is not ServerName.ORDERS else []
        if role is ServerName.PAYMENTS:
            peers += with_secret(self._folder)
        if role is ServerName.TERMINAL:
            peers += [
                "--payments",
                self._links[ServerName.PAYMENTS].address,
                "--store-id",
                STORE,
                "--terminal-id",
                "till-1",
            ]
        return peers

    async def _end(self) -> None:
        for server in self.servers.values():
            server.kill()
        for link in self._links.values():
            await link.close()


async def storm_over_replicas(
    folder: Path, postgres: Cluster, rng: random.Random, answers_between: int = ANSWERS_BETWEEN
) -> Reckoning:
    """Kills one process of each role, and then PostgreSQL, under load; each comes back.

    So many requests must be answered before the next thing goes wrong.
    """
    found, witness, closed = Reckoning(), Witness(), asyncio.Event()
    async with AsyncExitStack() as stack:
        databases = {role: stack.enter_context(postgres.database()) for role in ServerName}
        replicas = await stack.enter_async_context(Replicas(folder, databases, rng))
        clients = [await stack.enter_async_context(replicas.client()) for _ in range(SHOPPERS)]
        readers = await stack.enter_async_context(Readers(replicas.client, databases, rng))
        shoppers = [
            asyncio.create_task(Shopper(f"shopper-{number}", client, witness, rng).shop(closed))
            for number, client in enumerate(clients)
        ]
        for role in ServerName:
            await answered(witness, answers_between)
            await replicas.kill(role, 0)
            await answered(witness, answers_between)  # by the other one
            await replicas.restart(role, 0)
        await answered(witness, answers_between)
        await asyncio.to_thread(postgres.crash)
        await asyncio.to_thread(postgres.start)
        await answered(witness, answers_between)
        healed_s = time.monotonic()
        closed.set()
        await let_finish(shoppers, found)
        found.stuck += await wait_until_final(clients[0], healed_s)
        await reckon(clients[0], witness, found)
        found.broken += [*logged_errors(replicas.logs), *await readers.findings()]
    return found


async def answered(witness: Witness, more: int) -> None:
    """Waits until some more requests were answered."""
    wanted = witness.answers.total() + more

    async def count() -> int:
        return witness.answers.total()

    await asyncio.wait_for(poll(count, lambda answers: answers >= wanted), timeout=DEADLINE_S)
