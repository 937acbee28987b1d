"""Three real processes, each with its own database, in one data directory."""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tillmesh.auth.callers import Role as Certified
from tillmesh.auth.tls import TlsFiles
from tillmesh.cli.authority import Authority
from tillmesh.cli.client import Addresses
from tillmesh.cli.failures import CliError

START_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0
LAST_LINES = 5


class Role(StrEnum):
    """The three servers, named as their packages are; in the order in which they start."""

    ORDERS = "order_service"
    PAYMENTS = "thirdparty_server"
    TERMINAL = "store_terminal"


CERTIFIED = {Role.ORDERS: Certified.ORDERS, Role.PAYMENTS: Certified.PAYMENTS, Role.TERMINAL: Certified.TERMINAL}
LOCAL, COMMAND_LINE = "local", "cli"


@dataclass(frozen=True)
class Store:
    """The store that the mesh's terminal stands in."""

    store_id: str = "store-1"
    terminal_id: str = "till-1"
    currency: str = "GBP"
    prices_include_tax: bool = True


class Process:
    """One server process; `arguments` are those beside the address and the database."""

    def __init__(
        self, role: Role, data_dir: Path, listen: str, arguments: Callable[[], list[str]], certificate: TlsFiles
    ) -> None:
        self.role = role
        self.address = listen
        self.database = data_dir / f"{role}.db"
        self.log = data_dir / f"{role}.log"
        self.certificate = certificate
        self._arguments = arguments
        self._popen: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 where nothing runs."""
        return self._popen.pid if self._popen else 0

    def start(self, deadline: float) -> None:
        """Starts the process and waits until its health service says SERVING."""
        command = [sys.executable, "-m", self.role.value, "--listen", self.address]
        command += ["--database-url", f"sqlite:///{self.database.resolve()}", *self._arguments()]
        with self.log.open("a") as log:
            # A session of its own: Ctrl-C is for the mesh, which stops its processes in order.
            self._popen = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        self._wait_for_address(deadline)
        self._wait_for_health(deadline)

    def failure(self) -> str | None:
        """The reason why the process has ended; None while it runs."""
        status = self._popen.poll() if self._popen else None
        if status is None:
            return None
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        return f"{self.role} {how}{self._last_words()}"

    def terminate(self) -> None:
        """Asks the process to stop."""
        if self._popen:
            self._popen.terminate()

    def kill(self) -> None:
        """Ends the process with kill -9 and waits until it is gone."""
        if self._popen:
            self._popen.kill()
            self._forget()

    def wait(self, deadline: float) -> None:
        """Waits for the end of a process that was asked to stop; kills it at the deadline."""
        if self._popen is None:
            return
        try:
            self._popen.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._popen.kill()
        self._forget()

    def _forget(self) -> None:
        if self._popen:
            self._popen.wait()
            self._stdout().close()
            self._popen = None

    def _stdout(self) -> IO[str]:
        assert self._popen is not None
        assert self._popen.stdout is not None
        return self._popen.stdout

    def _wait_for_address(self, deadline: float) -> None:
        """Reads "NAME is serving on HOST:PORT"; the port is the system's choice where 0 was asked for."""
        ready, _, _ = select.select([self._stdout()], [], [], max(0.0, deadline - time.monotonic()))
        line = self._stdout().readline() if ready else ""
        if " is serving on " not in line:
            raise self._not_started()
        self.address = line.split()[-1]

    def _wait_for_health(self, deadline: float) -> None:
        with self.certificate.open_blocking_channel(self.address, CERTIFIED[self.role]) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(),
                    timeout=max(0.1, deadline - time.monotonic()),
                    wait_for_ready=True,
                )
            except grpc.RpcError:
                raise self._not_started() from None
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise self._not_started()

    def _not_started(self) -> CliError:
        if self._popen:
            try:
                self._popen.wait(1)
            except subprocess.TimeoutExpired:
                return CliError(f"{self.role} did not start within {START_WITHIN_S:.0f} s{self._last_words()}")
        return CliError(f"{self.failure()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        said = "".join(f"\n  {line}" for line in lines) if lines else " nothing"
        return f"; the end of {self.log} says:{said}"


def take_data_dir(data_dir: Path) -> IO[str]:
    """The data directory for oneself, until what is returned is closed: two would write each other's databases."""
    lock = (data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        where = os.fspath(data_dir)
        raise CliError(f"A mesh is running in {where} already; stop it, or take another --data-dir.") from None
    return lock


class Mesh:
    """An order service, a payment server and a store terminal that know each other.

    `ports` are those of the three in the order of `Role`; 0 takes a free one. `flags` are more flags
    for one of them. Use it as a context manager: it is started on entry and stopped on exit.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        store: Store = Store(),
        ports: tuple[int, int, int] = (0, 0, 0),
        flags: Mapping[Role, Sequence[str]] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.store = store
        self.authority = Authority(data_dir / "tls")
        self._flags = flags or {}
        self._lock: IO[str] | None = None
        self.processes = {
            role: Process(role, data_dir, f"127.0.0.1:{port}", partial(self._arguments, role), self._certificate(role))
            for role, port in zip(Role, ports, strict=True)
        }

    @property
    def addresses(self) -> Addresses:
        """Where the three listen."""
        orders, payments, terminal = (self.processes[role].address for role in Role)
        return Addresses(orders, payments, terminal, self.authority.folder)

    def renew_certificates(self) -> None:
        """Makes every certificate anew; the servers take them up without a restart."""
        self.authority.create()
        for role in Role:
            self.authority.issue(CERTIFIED[role], *self._names(role))
        self.authority.issue(Certified.DEVICE, self.store.store_id, COMMAND_LINE)
        self.authority.issue(Certified.PLATFORM, COMMAND_LINE)

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
        self.renew_certificates()
        deadline = time.monotonic() + START_WITHIN_S
        try:
            for process in self.processes.values():
                process.start(deadline)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops the three, the terminal first: gracefully, then by force."""
        deadline = time.monotonic() + STOP_WITHIN_S
        for process in reversed(self.processes.values()):
            process.terminate()
            process.wait(deadline)
        if self._lock:
            self._lock.close()
            self._lock = None

    def kill(self, role: Role) -> None:
        """Ends one of the three with kill -9."""
        self.processes[role].kill()

    def restart(self, role: Role) -> None:
        """Starts one again, at its old address and with its old database."""
        self.processes[role].start(time.monotonic() + START_WITHIN_S)

    def failure(self) -> str | None:
        """The process that ended, and why. None while all run."""
        failures = (process.failure() for process in self.processes.values())
        return next((failure for failure in failures if failure), None)

    def _names(self, role: Role) -> tuple[str, ...]:
        return (self.store.store_id, self.store.terminal_id) if role is Role.TERMINAL else (LOCAL,)

    def _certificate(self, role: Role) -> TlsFiles:
        return TlsFiles(self.authority.folder_of(CERTIFIED[role], *self._names(role)), self.authority.mesh)

    def _arguments(self, role: Role) -> list[str]:
        arguments = ["--tls-dir", str(self._certificate(role).folder), "--denied", str(self.authority.denied)]
        if role is Role.PAYMENTS:
            arguments += ["--secret-file", str(self.authority.secret)]
        arguments += self._flags.get(role, ())
        if role is not Role.ORDERS:
            arguments += ["--orders", self.addresses.orders]
        if role is Role.TERMINAL:
            store = self.store
            arguments += ["--payments", self.addresses.payments, "--currency", store.currency]
            arguments += ["--store-id", store.store_id, "--terminal-id", store.terminal_id]
            arguments += ["--prices-include-tax" if store.prices_include_tax else "--no-prices-include-tax"]
        return arguments
