"""Server processes of this machine, each with its own database and log."""

import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import IO

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.client.failures import Failure

START_WITHIN_S = 60.0
LAST_LINES = 5


class ServerName(StrEnum):
    """The three servers, named as their packages are; in the order in which they start."""

    ORDERS = "order_service"
    PAYMENTS = "thirdparty_server"
    TERMINAL = "store_terminal"


CERTIFIED = {ServerName.ORDERS: Role.ORDERS, ServerName.PAYMENTS: Role.PAYMENTS, ServerName.TERMINAL: Role.TERMINAL}


class Process:
    """One server process; `arguments` are those beside the address and the database."""

    def __init__(
        self, role: ServerName, data_dir: Path, listen: str, arguments: Callable[[], list[str]], certificate: TlsFiles
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
        command = [sys.executable, "-m", self.role.value, "--listen", self.address, "--end-with-stdin"]
        command += ["--database-url", f"sqlite:///{self.database.resolve()}", *self._arguments()]
        with self.log.open("a") as log:
            # A session of its own: Ctrl-C is for the mesh, which stops its processes in order. Where the mesh cannot,
            # killed or interrupted in the midst of this, the system closes standard input, and that stops the process.
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._wait_for_address(deadline)
        self._wait_for_health(deadline)

    def end(self) -> str | None:
        """How the process ended, in one line; None while it runs."""
        status = self._popen.poll() if self._popen else None
        if status is None:
            return None
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        return f"{self.role} {how}"

    def failure(self) -> str | None:
        """The same with its last words."""
        end = self.end()
        return f"{end}{self._last_words()}" if end else None

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
            if self._popen.stdin:
                self._popen.stdin.close()
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

    def _not_started(self) -> Failure:
        if self._popen:
            try:
                self._popen.wait(1)
            except subprocess.TimeoutExpired:
                return Failure(f"{self.role} did not start within {START_WITHIN_S:.0f} s{self._last_words()}")
        return Failure(f"{self.failure()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        said = "".join(f"\n  {line}" for line in lines) if lines else " nothing"
        return f"; the end of {self.log} says:{said}"
