"""Starts servers as real processes, the way an operator does."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY

from tillmesh.local import processes
from tillmesh.runtime.errors import Refusal

DEADLINE_S = 300.0
"""How long a test waits for what it expects. Longer than the busiest machine needs, so that only what never happens
fails; less than pytest gives a test, so that the test itself says what did not happen."""


class _Patience(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, continuation: Any, details: grpc.ClientCallDetails, request: Any) -> Any:
        if details.timeout is None:
            details = details._replace(timeout=DEADLINE_S)  # type: ignore[attr-defined]
        return continuation(details, request)


def patient(channel: grpc.Channel) -> grpc.Channel:
    """The channel, with a deadline for calls that are made without one."""
    return grpc.intercept_channel(channel, _Patience())


class Server(processes.Server):
    """A server of a test."""

    def stop(self, within_s: float = DEADLINE_S) -> int:
        """Asks it to stop, as an init system does; returns its exit status."""
        return super().stop(within_s)

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """A connection to it."""
        with grpc.insecure_channel(self.address) as channel:
            yield patient(channel)


def start_server(
    module: str, folder: Path, *flags: str, listen: str = "127.0.0.1:0", log: Path | None = None
) -> Server:
    """Runs `python -m module` with its database in `folder`; returns once it serves.

    Started again with the same folder it has the same database; its log goes on in MODULE.log, if `log` is no other.
    """
    if "--tls-dir" not in flags:
        flags = ("--insecure", *flags)
    flags = ("--listen", listen, "--database-url", f"sqlite:///{folder / module}.db", *flags)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TILLMESH_")}
    log = log or folder / f"{module}.log"
    return Server.start(module, flags, log, within_s=DEADLINE_S, environment=environment)


@contextmanager
def running(module: str, folder: Path, *flags: str, log: Path | None = None) -> Iterator[Server]:
    """A server for the length of a block."""
    server = start_server(module, folder, *flags, log=log)
    try:
        yield server
    finally:
        server.kill()


def wait_until(condition: Callable[[], bool], within_s: float = DEADLINE_S) -> None:
    """Returns once `condition` holds; fails after a time in which it should have."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"this did not come true within {within_s} seconds"
        time.sleep(0.01)


def refusal_of(error: grpc.RpcError) -> Refusal:
    """The refusal that a client was told; fails where a server gave none."""
    assert isinstance(error, grpc.Call)
    details = dict(error.trailing_metadata()).get(GRPC_DETAILS_METADATA_KEY)
    assert isinstance(details, bytes), f"{error.code()}: {error.details()}"
    refusal = Refusal.from_status(status_pb2.Status.FromString(details))
    assert refusal is not None
    return refusal
