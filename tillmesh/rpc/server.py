"""Start-up and graceful stop of a server process."""

import asyncio
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import structlog
import uvloop
from grpc import aio
from grpc_health.v1 import health

from tillmesh.auth.callers import Gate
from tillmesh.rpc.handlers import Access, SignIn, method_handlers, no_payers
from tillmesh.rpc.health import Probe, follow, no_database, say
from tillmesh.rpc.limits import Limits
from tillmesh.rpc.metrics_page import BacklogWatch, Read, cannot_listen, no_backlogs, served
from tillmesh.rpc.open_services import Handlers, open_handlers
from tillmesh.rpc.settings import ServerSettings
from tillmesh.rpc.transport import open_server
from tillmesh.runtime.metrics import LOG_LINES_DROPPED
from tillmesh.runtime.telemetry import Logs, configure_logs
from tillmesh.sandbox.faults import disturbed
from tillmesh.storage.file_lock import sole_user

MESSAGE_BYTES_MAX = 256 * 1024  # an order of 2,000 lines passes, with titles of usual length
FILES_BESIDE_CONNECTIONS = 100
PROBES_MAX = 16
"""Connections to the plain port for health; each is one of the files above."""
GARBAGE = 10_000
"""Objects more than were freed, at which Python looks for cycles; its own 700 are there after two calls."""
PROVOKED = ("Invalid encoding", "ExecuteBatchError")
"""Messages that a caller could make gRPC log without limit: metadata that is not UTF-8, and a caller that left."""
log = structlog.get_logger()


@dataclass
class Wiring:
    """The parts of a service that the runtime serves."""

    domain: str
    """Domain of its errors, "order.tillmesh"."""
    servicers: dict[str, object]
    """Servicer by full name of its proto service."""
    access: Mapping[str, Access]
    """The roles that may call its methods, likewise."""
    gate: Gate | None
    """Admits callers by their certificate. None lets everybody in."""
    loops: list[Callable[[], Coroutine[Any, Any, None]]] = field(default_factory=list)
    """Tasks that run beside the calls: sweepers, resolvers."""
    on_stop: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    """Resources to close at the end, in this order."""
    sign_in: SignIn = no_payers
    """Finds the identity of a phone."""
    probe: Probe = no_database
    """Returns once the database has answered; raises what calls would be refused with."""
    backlogs: Read = no_backlogs
    """Reads what there is to do from the database, for the metrics."""


def run(name: str, settings: ServerSettings, wire: Callable[[], Awaitable[Wiring]]) -> None:
    """Serves until SIGTERM or SIGINT. One line on standard output says where."""
    logs = configure_logs(name, settings.log_level)
    logging.getLogger("grpc").setLevel(logging.ERROR)
    logging.getLogger("grpc._cython.cygrpc").addFilter(lambda line: not line.getMessage().startswith(PROVOKED))
    try:
        if settings.end_with_stdin:
            threading.Thread(target=_stop_at_end_of_input, name="stdin", daemon=True).start()
        with sole_user(settings.database_url):
            uvloop.run(_serve(name, settings, wire, logs))
    except (OSError, RuntimeError, ValueError) as error:
        logs.tell(f"{name}: {error}")
        raise SystemExit(1) from None
    finally:
        logs.flush()


def _stop_at_end_of_input() -> None:
    """Asks this process to stop once nobody has the other end of its standard input: whoever started it has ended."""
    with suppress(OSError):
        while os.read(0, 1024):
            continue
    os.kill(os.getpid(), signal.SIGTERM)


async def _serve(name: str, settings: ServerSettings, wire: Callable[[], Awaitable[Wiring]], logs: Logs) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        wiring = await wire()
        if settings.sandbox:
            wiring.servicers = disturbed(wiring.servicers, name, settings.clock(), settings.sandbox)
            log.warning("sandbox", folder=str(settings.sandbox))
        for close in reversed(wiring.on_stop):
            stack.push_async_callback(close)
        healthy, limits = health.aio.HealthServicer(), settings.limits()
        for_all = open_handlers(healthy, list(wiring.servicers), wiring.domain, limits)
        if settings.otlp_endpoint:
            from tillmesh.rpc.otlp import exporting  # it takes a while, and memory

            stack.enter_context(exporting(name, settings.otlp_endpoint))
        if settings.metrics_listen:
            LOG_LINES_DROPPED.set_function(logs.lines_dropped)
            address = stack.enter_context(served(settings.metrics_listen))
            wiring.loops.append(BacklogWatch(wiring.backlogs).run)
            log.info("serving_metrics", address=address)
        if settings.health_listen:
            await _serve_health(settings.health_listen, settings, for_all[health.SERVICE_NAME], stack)
        server = _build(wiring, settings, limits, for_all)
        tls = settings.tls()
        port = bind(server, settings.listen, "--listen", tls.server_credentials() if tls else None)
        gc.set_threshold(GARBAGE)
        gc.freeze()  # what is there now stays: no collection needs to look at it again
        await server.start()
        stack.push_async_callback(server.stop, settings.grace_s)
        tasks = [asyncio.create_task(loop()) for loop in wiring.loops]
        stack.push_async_callback(_cancel, tasks)
        stack.push_async_callback(healthy.enter_graceful_shutdown)
        host = settings.listen.rpartition(":")[0]
        services = list(wiring.servicers)
        await say(healthy, services, True)  # the database has just been opened
        tasks.append(asyncio.create_task(follow(healthy, services, wiring.probe)))
        _announce(f"{name} is serving on {host}:{port}")
        log.info("serving", address=f"{host}:{port}")
        serving = asyncio.create_task(server.wait_for_termination())  # not to be cancelled: that would undo a stop
        await _until_stopped(stop, [*tasks, serving])
        log.info("stopping")


def _announce(line: str) -> None:
    """Says it on standard output; a server whose standard output is a full disk serves all the same."""
    try:
        os.write(sys.stdout.fileno(), f"{line}\n".encode())
    except OSError as error:
        log.warning("address_not_told", error=str(error))


async def _serve_health(listen: str, settings: ServerSettings, handlers: Handlers, stack: AsyncExitStack) -> None:
    """Serves health on a plain port as well, which goes after all else."""
    server = _open(settings, PROBES_MAX)
    server.add_registered_method_handlers(health.SERVICE_NAME, handlers)
    port = bind(server, listen, "--health-listen")
    await server.start()
    stack.push_async_callback(server.stop, settings.grace_s)
    log.info("serving_health", address=f"{listen.rpartition(':')[0]}:{port}")


def bind(server: aio.Server, address: str, flag: str, credentials: grpc.ServerCredentials | None = None) -> int:
    """Takes an address, and returns its port; OSError says why it cannot be had, and the flag that names another."""
    try:
        _try_to_take(address)
        return server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except (OSError, RuntimeError) as error:
        raise cannot_listen(address, error, flag) from None


def _try_to_take(address: str) -> None:
    """Raises the system's reason, which gRPC keeps to itself and writes to standard error."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        return
    family, *_, place = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does: a restart does not wait
        trial.bind(place)


def _build(wiring: Wiring, settings: ServerSettings, limits: Limits, for_all: dict[str, Handlers]) -> aio.Server:
    _make_room_for(settings.connections_max)
    server = _open(settings, settings.connections_max)
    for service, servicer in wiring.servicers.items():
        access = wiring.access[service]
        handlers = method_handlers(service, servicer, wiring.domain, access, wiring.gate, limits, wiring.sign_in)
        server.add_registered_method_handlers(service, handlers)
    for service, handlers in for_all.items():
        server.add_registered_method_handlers(service, handlers)
    return server


def _open(settings: ServerSettings, connections_max: int) -> aio.Server:
    return open_server(MESSAGE_BYTES_MAX, connections_max, settings.handshake_s, settings.unguarded_transport)


def _make_room_for(connections: int) -> None:
    """Lets the process open as many files; ValueError where the system does not."""
    wanted = connections + FILES_BESIDE_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise ValueError(f"--connections-max {connections} needs {wanted} open files, the system allows {hard}")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def _until_stopped(stop: asyncio.Event, loops: list["asyncio.Task[Any]"]) -> None:
    """Waits to be stopped; a loop that ends by itself ends the process, or orders would stay locked unseen."""
    stopped = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([stopped, *loops], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in done - {stopped}:
        log.error("loop_ended", exc_info=task.exception())
        raise RuntimeError(f"a background loop ended: {task.exception()!r}")


async def _cancel(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
