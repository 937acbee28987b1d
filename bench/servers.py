"""The servers as they run in production: mutual TLS, log level WARNING, every commit on disk."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.machine import Processes
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.local import processes
from tillmesh.local.authority import Authority

START_WITHIN_S = 120.0  # a database of a million orders is checked at the start
STOP_WITHIN_S = 20.0
CALLS_PER_S = 1_000_000  # one device calls for many customers here: it is counted, and never refused
STORE = "store-1"
TILL = "till-1"

FLOOR, ORDERS, PAYMENTS, TERMINAL = "floor", "order_service", "thirdparty_server", "store_terminal"
SERVERS = (ORDERS, PAYMENTS, TERMINAL)
POSTGRES = "postgres"
MODULES = {FLOOR: "bench.floor"}
ROLES = {FLOOR: Role.ORDERS, ORDERS: Role.ORDERS, PAYMENTS: Role.PAYMENTS, TERMINAL: Role.TERMINAL}

DatabaseUrl = Callable[[str], str]
"""The database of a server, by the server's name."""


@dataclass(frozen=True)
class Target:
    """A server, and the certificate to call it with."""

    address: str
    role: Role
    caller: TlsFiles


class Server(processes.Server):
    """A server of a stack."""

    @property
    def name(self) -> str:
        """Its name in what is measured."""
        return FLOOR if self.module == MODULES[FLOOR] else self.module


class Stack:
    """The floor, one or more replicas of the two central servers, and a till in front of each.

    Every replica is a pair that shares the databases with the other pairs; a till in a store has one
    of its own. Use it as a context manager: it runs within. `profile_to` is a folder where the servers
    leave a profile when they stop.
    """

    def __init__(
        self,
        folder: Path,
        database_url: DatabaseUrl,
        *,
        replicas: int = 1,
        log_level: str = "WARNING",
        profiled: Collection[str] = (),
        payment_flags: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.authority = Authority(folder / "tls")
        self.servers: list[Server] = []
        self.is_new = not folder.exists()
        self._database_url = database_url
        self._replicas = replicas
        self._log_level = log_level
        self._profiled = profiled
        self._payment_flags = payment_flags

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority.create()
        try:
            self._start(FLOOR, "floor", [])
            for replica in range(self._replicas):
                orders = self._start(ORDERS, f"orders-{replica}", ["--database-url", self._database_url(ORDERS)])
                payments_flags = ["--database-url", self._database_url(PAYMENTS), "--orders", orders.address]
                payments_flags += ["--secret-file", str(self.authority.secret), *self._payment_flags]
                payments = self._start(PAYMENTS, f"payments-{replica}", payments_flags)
                self._start_till(replica, orders, payments)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failure = next((found for server in self.servers if (found := server.failure())), None)
        self._stop()
        if failure:
            raise failure from error

    @property
    def processes(self) -> Processes:
        """Their process ids by name."""
        return {name: [one.process.pid for one in self.servers if one.name == name] for name in (FLOOR, *SERVERS)}

    def targets(self, name: str, role: Role, *names: str) -> list[Target]:
        """Every replica of a server, as the owner of that certificate calls it."""
        files = self.certificate(role, *names)
        return [Target(server.address, ROLES[name], files) for server in self.servers if server.name == name]

    def target(self, name: str, role: Role, *names: str) -> Target:
        """The first of them."""
        return self.targets(name, role, *names)[0]

    def floor(self) -> Target:
        """The floor, as a server calls another."""
        return self.target(FLOOR, Role.PAYMENTS, "bench")

    def tills(self) -> list[Target]:
        """The store terminals, as the software of their store calls them."""
        return self.targets(TERMINAL, Role.DEVICE, STORE, "bench")

    def certificate(self, role: Role, *names: str) -> TlsFiles:
        """That certificate, made at its first use."""
        folder = self.authority.folder_of(role, *names)
        if not folder.exists():
            self.authority.issue(role, *names)
        return TlsFiles(folder, self.authority.mesh)

    def profile(self, name: str) -> Path:
        """Where a profiled server leaves its profile."""
        return self.folder / f"{name}.profile"

    def log(self, name: str) -> Path:
        """Where a server logs."""
        return next(server.log for server in self.servers if server.name == name)

    def _start_till(self, replica: int, orders: Server, payments: Server) -> None:
        database_url = self._database_url(f"{TERMINAL}-{replica}")
        flags = ["--database-url", database_url, "--store-id", STORE, "--terminal-id", TILL]
        self._start(TERMINAL, TILL, [*flags, "--orders", orders.address, "--payments", payments.address])

    def _start(self, name: str, owner: str, flags: Sequence[str]) -> Server:
        names = (STORE, owner) if name == TERMINAL else (owner,)
        tls = ["--tls-dir", str(self.certificate(ROLES[name], *names).folder), "--denied", str(self.authority.denied)]
        profiler = ["-m", "cProfile", "-o", str(self.profile(name))] if name in self._profiled else []
        limits = ["--calls-per-s", str(CALLS_PER_S), "--log-level", self._log_level]
        server = Server.start(
            MODULES.get(name, name),
            ["--listen", "127.0.0.1:0", *tls, *limits, *flags],
            self.folder / f"{name}.log",
            within_s=START_WITHIN_S,
            python=profiler,
        )
        self.servers.append(server)
        return server

    def _stop(self) -> None:
        """Those who call first, so that nobody is left waiting."""
        end = time.monotonic() + STOP_WITHIN_S
        for server in reversed(self.servers):
            server.process.terminate()
        for server in reversed(self.servers):
            server.wait(max(0.0, end - time.monotonic()))
        self.servers.clear()
