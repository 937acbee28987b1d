"""Three server processes, linked so that each and each link between them can be broken."""

import asyncio
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from tests.chaos.books import broken_in
from tests.processes import Server, start_server
from tillmesh.client.connections import Addresses, Client
from tillmesh.local.processes import ServerName
from tillmesh.sandbox.links import Link

STORE = "store-1"
# Short enough for leases, windows and patience to end under load as well.
TIMING: Mapping[ServerName, Sequence[str]] = {
    ServerName.PAYMENTS: ["--payer-window-s=3", "--lease-margin-s=1", "--instant-lease-s=4", "--lock-patience-s=6"],
    ServerName.TERMINAL: ["--payment-wait-s=8"],
}
SHIPPED: Mapping[ServerName, Sequence[str]] = {role: (role,) for role in ServerName}


def with_secret(folder: Path) -> list[str]:
    """Flags of a payment server that can check pay codes."""
    path = folder / "secret"
    if not path.exists():
        path.write_bytes(bytes(range(32)))
        path.chmod(0o600)
    return ["--secret-file", str(path)]


class Fleet:
    """The three processes; `programs` says what runs in a role, where it is not the shipped server itself.

    With `logs` they log all calls, and there.
    """

    def __init__(
        self,
        folder: Path,
        rng: random.Random,
        programs: Mapping[ServerName, Sequence[str]] = SHIPPED,
        timing: Mapping[ServerName, Sequence[str]] = TIMING,
        logs: Mapping[ServerName, Path] = MappingProxyType({}),
    ) -> None:
        self.folder = folder
        self._rng = rng
        self._programs = programs
        self._timing = timing
        self._logs = logs
        self.servers: dict[ServerName, Server] = {}
        self.links: dict[str, Link] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._start_all()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def client(self) -> Client:
        """Somebody outside, who reaches each server without a link between."""
        orders, payments, terminal = (self.servers[role].address for role in ServerName)
        return Client(Addresses(orders, payments, terminal, tls_dir=None))

    def database(self, role: ServerName) -> Path:
        """Where a server keeps its database."""
        return self.folder / role / f"{self._programs[role][0]}.db"

    @property
    def urls(self) -> dict[ServerName, str]:
        """The databases of all servers."""
        return {role: f"sqlite:///{self.database(role)}" for role in ServerName}

    async def kill(self, role: ServerName) -> None:
        """kill -9."""
        await asyncio.to_thread(self.servers[role].kill)

    async def restart(self, role: ServerName) -> None:
        """Starts a server on the database and the port that it had."""
        await self._start(role, self.servers[role].address)

    def keep(self, role: ServerName, folder: Path) -> Path:
        """Copies a killed server's database and its log; returns the copy."""
        folder.mkdir(parents=True)
        database = self.database(role)
        for suffix in ("", "-wal"):
            shutil.copy(f"{database}{suffix}", folder)
        return folder / database.name

    def broken(self) -> list[str]:
        """What is broken within one database, in words."""
        return [one for role in ServerName for one in broken_in(role, self.database(role))]

    def heal_links(self) -> None:
        """All links work again."""
        for link in self.links.values():
            link.heal()

    async def _start_all(self) -> None:
        for role in ServerName:
            (self.folder / role).mkdir(parents=True)
        await self._start(ServerName.ORDERS)
        await self._link("P-O", ServerName.ORDERS)
        await self._link("T-O", ServerName.ORDERS)
        await self._start(ServerName.PAYMENTS)
        await self._link("T-P", ServerName.PAYMENTS)
        await self._start(ServerName.TERMINAL)

    async def _end(self) -> None:
        for server in self.servers.values():
            server.kill()
        for link in self.links.values():
            await link.close()

    async def _link(self, name: str, to: ServerName) -> None:
        self.links[name] = Link(self._rng, self.servers[to].address)
        await self.links[name].open()

    async def _start(self, role: ServerName, listen: str = "127.0.0.1:0") -> None:
        module, *extra = self._programs[role]
        level = "INFO" if self._logs else "WARNING"
        flags = [*self._timing.get(role, []), f"--log-level={level}", *self._peers(role), *extra]
        log = self._logs.get(role)
        start = asyncio.to_thread(start_server, module, self.folder / role, *flags, listen=listen, log=log)
        self.servers[role] = await start

    def _peers(self, role: ServerName) -> list[str]:
        match role:
            case ServerName.ORDERS:
                return []
            case ServerName.PAYMENTS:
                return ["--orders", self.links["P-O"].address, *with_secret(self.folder)]
            case ServerName.TERMINAL:
                peers = ["--orders", self.links["T-O"].address, "--payments", self.links["T-P"].address]
                return [*peers, "--store-id", STORE, "--terminal-id", "till-1"]
