"""A sandbox as tests see it: addresses, certificates, payers, clock and faults."""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import grpc
from grpc import aio

from tillmesh.auth.callers import SANDBOX, Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.client import Till
from tillmesh.local.databases import temporary_databases
from tillmesh.local.mesh import StoreOptions
from tillmesh.local.processes import ServerName
from tillmesh.rpc.peers import CHANNEL_OPTIONS
from tillmesh.sandbox.payers import BY_IDENTITY
from tillmesh.sandbox.sandbox import Sandbox
from tillmesh.testing.faults import TILL, Faults, Links
from tillmesh.testing.logs import Logs


@dataclass(frozen=True)
class Endpoint:
    """A server, and with whose certificate a test calls it."""

    address: str
    """HOST:PORT."""
    server_name: str
    """The name in the server's certificate, for clients that verify it: it is not that of the address."""
    certificates: Path
    """Folder of the caller's `ca.pem`, `cert.pem` and `key.pem`."""
    _role: Role

    @cached_property
    def channel(self) -> grpc.Channel:
        """A channel for blocking calls, open until the process ends."""
        return self._files.open_blocking_channel(self.address, self._role, CHANNEL_OPTIONS)

    def open_aio_channel(self) -> aio.Channel:
        """A channel for asynchronous calls, which belongs to the running event loop. Use it in `async with`."""
        return self._files.open_channel(self.address, self._role, CHANNEL_OPTIONS)

    @property
    def _files(self) -> TlsFiles:
        return TlsFiles(self.certificates, SANDBOX)


class RunningSandbox:
    """A sandbox that runs as long as its fixture. Its servers stay at their addresses whatever a test does to them."""

    def __init__(self, sandbox: Sandbox, links: Links) -> None:
        self._sandbox = sandbox
        mesh = sandbox.mesh
        to_terminal = links.route(TILL, ServerName.TERMINAL, mesh.addresses.terminal)
        self.store = mesh.store
        """Names of store and terminal, and the currency."""
        self.orders = self._endpoint(mesh.addresses.orders, Role.ORDERS, Role.PLATFORM)
        """The order service, for an internal service of the platform."""
        self.payments = self._endpoint(mesh.addresses.payments, Role.PAYMENTS, Role.PLATFORM)
        """The payment server, likewise."""
        self.terminal = self._endpoint(to_terminal, Role.TERMINAL, Role.DEVICE)
        """The store terminal, for a till."""
        self.service = sandbox.address
        """Address of tillmesh.api.sandbox.v1.SandboxService, without certificates, for tests in any language."""
        self.faults = Faults(sandbox, links)
        self.logs = Logs([process.log for process in mesh.processes.values()])

    def pay_code(self, payer: str) -> str:
        """The pay code that a simulated payer's phone shows now, such as that of "sandbox-paid"."""
        return self._sandbox.do(self._sandbox.show_code(BY_IDENTITY[payer])).value.decode()

    def till(self, journal: Path | None = None) -> AbstractAsyncContextManager[Till]:
        """A till of `tillmesh.client`, for `async with`; with a new journal unless you name that of one before."""
        journal = journal or self._sandbox.mesh.data_dir / f"{uuid4()}.journal"
        return Till.connect(self.terminal.address, certificates=self.terminal.certificates, journal=journal)

    def now(self) -> datetime:
        """The time by the clock of all servers."""
        return datetime.fromtimestamp(self._sandbox.clock.now_ms() / 1_000, UTC)

    def move_clock(self, seconds: float) -> None:
        """Moves that clock forward; the servers notice within seconds."""
        self._sandbox.clock.move(int(seconds * 1_000))

    def reset(self) -> None:
        """Deletes all data, the catalogue too, and sets the clock right; returns once all servers serve."""
        self._sandbox.do(self._sandbox.reset())

    def _endpoint(self, address: str, server: Role, caller: Role) -> Endpoint:
        files = self._sandbox.mesh.addresses.files(caller)
        assert files is not None
        return Endpoint(address, f"{server}.{SANDBOX}", files.folder, server)


@contextmanager
def run_sandbox(folder: Path, store: StoreOptions, postgresql: str) -> Iterator[RunningSandbox]:
    """A sandbox for the length of a block; with a URL of PostgreSQL, its databases are there."""
    links = Links()
    with ExitStack() as stack:
        databases = stack.enter_context(temporary_databases(postgresql, *ServerName)) if postgresql else {}
        stack.enter_context(links.running())
        sandbox = Sandbox(
            folder,
            store=store,
            databases={role: databases[role] for role in ServerName if databases},
            route=links.route,
        )
        yield RunningSandbox(stack.enter_context(sandbox), links)
