"""Shows the metrics to Prometheus, over plain HTTP on this machine, in a thread that no call waits for."""

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from socketserver import TCPServer
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog
from prometheus_client import make_wsgi_app

from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.metrics import BACKLOG_READ, BOUND_SECONDS, OLDEST_SECONDS, REGISTRY, UNFINISHED
from tillmesh.storage.backlogs import Backlogs

SILENT_S = 5.0
"""A client that sends nothing for so long is left: scrapes come one after the other."""
READ_EVERY_S = 10.0
Read = Callable[[], Awaitable[Backlogs]]
"""Reads what a server has to do from its database."""
log = structlog.get_logger()


class _Handler(WSGIRequestHandler):
    timeout = SILENT_S

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a scrape every few seconds is no news."""


class _Server(WSGIServer):
    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """As the base class does, without asking a name server who this machine is."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # IP
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that left, or sent what is no HTTP."""
        log.info("scrape_failed", client=str(client_address))


def cannot_listen(address: str, error: Exception, flag: str) -> OSError:
    """Why an address cannot be had, and the flag that names another."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return OSError(f"cannot listen on {address} ({why}): free it, or name another address with {flag}")


@contextmanager
def served(address: str) -> Iterator[str]:
    """Serves the metrics at HOST:PORT for the length of a block; the address is that of the port that was taken."""
    host, _, port = address.rpartition(":")
    try:
        server = _Server(host.strip("[]"), int(port))
    except OSError as error:
        raise cannot_listen(address, error, "--metrics-listen") from None
    server.set_app(make_wsgi_app(REGISTRY))
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


async def no_backlogs() -> Backlogs:
    """The `Read` of a server without a database."""
    return Backlogs({}, None, 0)


class BacklogWatch:
    """Takes what a server has to do into the metrics."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._open: int | None = None
        self._open_since_s = 0.0

    async def run(self) -> None:
        """Looks until it is cancelled; while the database is away the metrics say when it was last read."""
        while True:
            try:
                await self.look()
            except Refusal as refusal:
                log.info("backlogs_not_read", reason=refusal.reason)
            await asyncio.sleep(READ_EVERY_S)

    async def look(self) -> None:
        """Reads once."""
        found = await self._read()
        for gauge in (UNFINISHED, OLDEST_SECONDS):
            gauge.clear()
        for kind, states in found.counts.items():
            for state, count in states.items():
                UNFINISHED.labels(kind, state).set(count.records)
                OLDEST_SECONDS.labels(kind, state).set(max(0, found.at_ms - count.oldest_ms) / 1_000)
        now_s = time.monotonic()
        if found.oldest_open is None or found.oldest_open != self._open:
            self._open, self._open_since_s = found.oldest_open, now_s
        BOUND_SECONDS.set(0 if self._open is None else now_s - self._open_since_s)
        BACKLOG_READ.set_to_current_time()
