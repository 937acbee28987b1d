"""Three real processes, each with its own database, in one data directory."""

import fcntl
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tillmesh.auth.callers import MESH, SANDBOX, Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.client.connections import Addresses
from tillmesh.client.failures import Failure
from tillmesh.local.authority import Authority
from tillmesh.local.processes import CERTIFIED, START_WITHIN_S, Process, ServerName
from tillmesh.runtime.foreign_text import named

STOP_WITHIN_S = 10.0
GUESSES_IN_A_SANDBOX = 1_000_000
"""Tests name payers who cannot pay more often than a store may."""
GRACE_S = 3.0
"""How long each waits for the calls under way: a mesh that is killed leaves nothing behind after five seconds."""
LOCAL, COMMAND_LINE = "local", "cli"
Route = Callable[[ServerName, ServerName, str], str]
"""The address by which one server calls another: from both and the other's own address."""


@dataclass(frozen=True)
class StoreOptions:
    """The store that the mesh's terminal stands in."""

    store_id: str = "store-1"
    terminal_id: str = "till-1"
    currency: str = "GBP"
    prices_include_tax: bool = True


def direct(_caller: ServerName, _called: ServerName, address: str) -> str:
    """The `Route` of a mesh whose servers call each other without anything in between."""
    return address


def take_data_dir(data_dir: Path) -> IO[str]:
    """The data directory for oneself, until what is returned is closed: two would write each other's databases."""
    lock = (data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        where = os.fspath(data_dir)
        raise Failure(f"A mesh is running in {named(where)} already; stop it, or take another --data-dir.") from None
    return lock


class Mesh:
    """An order service, a payment server and a store terminal that know each other.

    `ports` are those of the three in the order of `ServerName`; 0 takes a free one. `flags` are more flags
    for one of them. `databases` are URLs of PostgreSQL; without one a server keeps its data in a file. A sandbox has
    simulated payers and a clock that tests move, and certificates of its own. Use it as a context manager: it is
    started on entry and stopped on exit.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        store: StoreOptions = StoreOptions(),
        ports: tuple[int, int, int] = (0, 0, 0),
        flags: Mapping[ServerName, Sequence[str]] | None = None,
        sandbox: bool = False,
        databases: Mapping[ServerName, str] | None = None,
        route: Route = direct,
    ) -> None:
        self.data_dir = data_dir
        self.store = store
        self.sandbox = data_dir / "sandbox" if sandbox else None
        self.authority = Authority(data_dir / "tls", SANDBOX if sandbox else MESH)
        self._flags = flags or {}
        self._route = route
        self._lock: IO[str] | None = None
        self.processes = {
            role: Process(
                role,
                data_dir,
                f"127.0.0.1:{port}",
                partial(self._arguments, role),
                self._certificate(role),
                database_url=(databases or {}).get(role),
            )
            for role, port in zip(ServerName, ports, strict=True)
        }

    @property
    def addresses(self) -> Addresses:
        """Where the three listen."""
        orders, payments, terminal = (self.processes[role].address for role in ServerName)
        return Addresses(orders, payments, terminal, self.authority.folder)

    def renew_certificates(self) -> None:
        """Makes every certificate anew; the servers take them up without a restart."""
        self.authority.create()
        for role in ServerName:
            self.authority.issue(CERTIFIED[role], *self._names(role))
        self.authority.issue(Role.DEVICE, self.store.store_id, COMMAND_LINE)
        self.authority.issue(Role.PLATFORM, COMMAND_LINE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the three, each once the one before is healthy; stops them again if one is not."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = take_data_dir(self.data_dir)
        try:
            self.renew_certificates()
            self._start_all()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops the three, the terminal first: gracefully, then by force."""
        deadline = time.monotonic() + STOP_WITHIN_S
        for process in reversed(self.processes.values()):
            process.stop(deadline)
        if self._lock:
            self._lock.close()
            self._lock = None

    def start_empty(self) -> None:
        """Starts the three anew, at their old addresses, without anything that they kept."""
        for process in self.processes.values():
            process.kill()
            process.remove_database()
        self._start_all()

    def kill(self, role: ServerName) -> None:
        """Ends one of the three with kill -9."""
        self.processes[role].kill()

    def stop_one(self, role: ServerName) -> None:
        """Stops one of the three gracefully, then by force."""
        self.processes[role].stop(time.monotonic() + STOP_WITHIN_S)

    def restart(self, role: ServerName) -> None:
        """Starts one again, at its old address and with its old database; ends what is left of it before."""
        self.kill(role)
        self.processes[role].start(time.monotonic() + START_WITHIN_S)

    def failure(self) -> Failure | None:
        """The process that ended, and why. None while all run."""
        failures = (process.failure() for process in self.processes.values())
        return next((failure for failure in failures if failure), None)

    def _start_all(self) -> None:
        deadline = time.monotonic() + START_WITHIN_S
        for process in self.processes.values():
            process.start(deadline)

    def _names(self, role: ServerName) -> tuple[str, ...]:
        return (self.store.store_id, self.store.terminal_id) if role is ServerName.TERMINAL else (LOCAL,)

    def _certificate(self, role: ServerName) -> TlsFiles:
        return TlsFiles(self.authority.folder_of(CERTIFIED[role], *self._names(role)), self.authority.mesh)

    def _arguments(self, role: ServerName) -> list[str]:
        arguments = ["--tls-dir", str(self._certificate(role).folder), "--denied", str(self.authority.denied)]
        arguments += ["--grace-s", f"{GRACE_S:g}"]
        if self.sandbox:
            arguments += ["--mesh", SANDBOX, "--sandbox", str(self.sandbox)]
            if role is ServerName.PAYMENTS:
                arguments += ["--identity-guesses-per-hour", str(GUESSES_IN_A_SANDBOX)]
        if role is ServerName.PAYMENTS:
            arguments += ["--secret-file", str(self.authority.secret)]
        arguments += self._flags.get(role, ())
        if role is not ServerName.ORDERS:
            arguments += ["--orders", self._route(role, ServerName.ORDERS, self.addresses.orders)]
        if role is ServerName.TERMINAL:
            store = self.store
            arguments += ["--payments", self._route(role, ServerName.PAYMENTS, self.addresses.payments)]
            arguments += ["--store-id", store.store_id, "--terminal-id", store.terminal_id]
            arguments += ["--currency", store.currency]
            arguments += ["--prices-include-tax" if store.prices_include_tax else "--no-prices-include-tax"]
        return arguments
