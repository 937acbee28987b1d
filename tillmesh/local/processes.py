"""Server processes of this machine: how one is started, and what those of a mesh are."""

import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.client.failures import Failure
from tillmesh.local.databases import empty
from tillmesh.runtime.foreign_text import named

START_WITHIN_S = 60.0
LAST_LINES = 5


class ServerName(StrEnum):
    """The three servers, named as their packages are; in the order in which they start."""

    ORDERS = "order_service"
    PAYMENTS = "thirdparty_server"
    TERMINAL = "store_terminal"


CERTIFIED = {ServerName.ORDERS: Role.ORDERS, ServerName.PAYMENTS: Role.PAYMENTS, ServerName.TERMINAL: Role.TERMINAL}


@dataclass
class Server:
    """One run of a server process, which ends with the process that started it."""

    module: str
    process: subprocess.Popen[str]
    log: Path
    address: str = ""

    @classmethod
    def start(
        cls,
        module: str,
        flags: Sequence[str],
        log: Path,
        *,
        within_s: float = START_WITHIN_S,
        python: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Self:
        """Runs `python -m module` and returns once it says where it serves; its log goes on in `log`.

        `python` are flags of Python itself. Raises Failure with the server's last words if it does not serve.
        """
        command = [sys.executable, *python, "-m", module, "--end-with-stdin", *flags]
        with log.open("a") as errors:
            # A session of its own: Ctrl-C is for the starter, which stops its servers in order. Where it cannot, killed
            # or interrupted in the midst of this, the system closes standard input, and that stops the server.
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                env=environment,
            )
        server = cls(module, process, log)
        try:
            server._wait_for_address(within_s)
        except BaseException:
            server.kill()
            raise
        return server

    def end(self) -> str | None:
        """How the process ended, in one line; None while it runs."""
        status = self.process.poll()
        if status is None:
            return None
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        return f"{self.module} {how}"

    def failure(self) -> Failure | None:
        """The same with its last words."""
        end = self.end()
        return self._failed(end) if end else None

    def kill(self) -> None:
        """Ends the process with kill -9 and waits until it is gone."""
        self.process.kill()
        self.wait()

    def stop(self, within_s: float) -> int:
        """Asks the process to stop, as an init system does, and kills it if it does not; returns its exit status."""
        self.process.terminate()
        return self.wait(within_s)

    def wait(self, within_s: float | None = None) -> int:
        """Waits for the end of a process that was asked to stop; kills it after that time."""
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
        for pipe in (self.process.stdin, self._stdout()):
            if pipe:
                pipe.close()
        return self.process.wait()

    def not_started(self) -> Failure:
        """Why it does not serve."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        return self.failure() or self._failed(f"{self.module} did not start in time")

    def _stdout(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def _wait_for_address(self, within_s: float) -> None:
        """Reads "NAME is serving on HOST:PORT"; the port is the system's choice where 0 was asked for."""
        ready, _, _ = select.select([self._stdout()], [], [], max(0.0, within_s))
        line = self._stdout().readline() if ready else ""
        if " is serving on " not in line:
            raise self.not_started()
        self.address = line.split()[-1]

    def _failed(self, how: str) -> Failure:
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:] if self.log.is_file() else []
        return Failure(f"{how}; the end of {named(self.log)} says:{'' if lines else ' nothing'}", lines)


class Process:
    """A server of a mesh, run after run; `arguments` are those beside the address and the database.

    `database_url` is a database of its own at PostgreSQL; without it the data is in a file of the data directory.
    """

    def __init__(
        self,
        role: ServerName,
        data_dir: Path,
        listen: str,
        arguments: Callable[[], list[str]],
        certificate: TlsFiles,
        *,
        database_url: str | None = None,
    ) -> None:
        self.role = role
        self.address = listen
        self.database = data_dir / f"{role}.db"
        self.log = data_dir / f"{role}.log"
        self.certificate = certificate
        self._database_url = database_url or f"sqlite:///{self.database.resolve()}"
        self._arguments = arguments
        self._server: Server | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 where nothing runs."""
        return self._server.process.pid if self._server else 0

    def start(self, deadline: float) -> None:
        """Starts the process, at the address of the run before, and waits until its health service says SERVING."""
        flags = ["--listen", self.address, "--database-url", self._database_url, *self._arguments()]
        self._server = Server.start(self.role.value, flags, self.log, within_s=deadline - time.monotonic())
        self.address = self._server.address
        if not self._is_healthy(deadline):
            raise self._server.not_started()

    def end(self) -> str | None:
        """How the process ended, in one line; None while it runs."""
        return self._server.end() if self._server else None

    def failure(self) -> Failure | None:
        """The same with its last words."""
        return self._server.failure() if self._server else None

    def kill(self) -> None:
        """Ends the process with kill -9 and waits until it is gone."""
        if self._server:
            self._server.kill()
            self._server = None

    def remove_database(self) -> None:
        """Deletes all that an ended process kept."""
        empty(self._database_url)

    def stop(self, deadline: float) -> None:
        """Asks the process to stop; kills it at the deadline."""
        if self._server:
            self._server.stop(max(0.0, deadline - time.monotonic()))
            self._server = None

    def _is_healthy(self, deadline: float) -> bool:
        with self.certificate.open_blocking_channel(self.address, CERTIFIED[self.role]) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(),
                    timeout=max(0.1, deadline - time.monotonic()),
                    wait_for_ready=True,
                )
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
