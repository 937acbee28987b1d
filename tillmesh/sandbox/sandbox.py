"""A running sandbox: the three servers, who keeps them running, the simulated payers, and the service for tests."""

import asyncio
import math
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from grpc_health.v1 import health

from tillmesh.client.connections import Client
from tillmesh.client.failures import Failure
from tillmesh.local.keeper import Keeper
from tillmesh.local.mesh import Mesh, Route, StoreOptions, direct
from tillmesh.local.processes import ServerName
from tillmesh.rpc.handlers import Access, method_handlers
from tillmesh.rpc.health import say
from tillmesh.rpc.limits import Limits
from tillmesh.rpc.open_services import open_handlers
from tillmesh.rpc.server import bind
from tillmesh.rpc.transport import open_server
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.secret import Secret
from tillmesh.sandbox.clock import SandboxClock
from tillmesh.sandbox.payers import SimulatedPayer
from tillmesh.sandbox.people import People, log
from tillmesh.sandbox.service import DOMAIN, SERVICE, SandboxServicer

LOOK_EVERY_S = 0.1
MESSAGE_BYTES_MAX = 64 * 1024
CONNECTIONS_MAX = 100
HANDSHAKE_S = 20.0
DEFAULT_STORE = StoreOptions()
Outcome = TypeVar("Outcome")
METHODS = ("ListPayers", "ShowPayCode", "MoveClock", "RestartServer", "Reset")


class Sandbox:
    """A mesh for tests. Use it as a context manager: it is started on entry and stopped on exit.

    `ports` are those of the mesh, `port` that of the service; 0 takes a free one. What it does beside the servers, it
    does in a thread of its own: other threads call its coroutines with `do`. `databases` and `route` are those of the
    mesh. `say` tells a person one line.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        store: StoreOptions = DEFAULT_STORE,
        ports: tuple[int, int, int] = (0, 0, 0),
        port: int = 0,
        flags: Mapping[ServerName, Sequence[str]] | None = None,
        databases: Mapping[ServerName, str] | None = None,
        route: Route = direct,
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self.mesh = Mesh(
            data_dir, store=store, ports=ports, flags=flags, sandbox=True, databases=databases, route=route
        )
        self.clock: SandboxClock
        self.address = f"127.0.0.1:{port}"
        """Of the service."""
        self._say = say
        self._changing = asyncio.Lock()
        self._serving: Future[None] = Future()
        self._begun = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._living: asyncio.Task[Any] | None
        self._leaving: asyncio.Future[None]
        self._thread = threading.Thread(target=self._run, name="sandbox")

    def __enter__(self) -> Self:
        self.mesh.start()
        try:
            assert self.mesh.sandbox is not None
            self.clock = SandboxClock(self.mesh.sandbox)
            self._keeper = Keeper(self.mesh, self._say)
            self._thread.start()
            self._serving.result()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        try:
            if self._thread.ident is not None:
                self._begun.wait()
                with suppress(RuntimeError):  # the loop is closed already where the thread has failed
                    self._loop.call_soon_threadsafe(self._leave)
                self._thread.join()
        finally:
            self.mesh.stop()

    def _leave(self) -> None:
        self._leaving = asyncio.ensure_future(self._leave_in_order())

    async def _leave_in_order(self) -> None:
        """Ends once no change is under way: half of one would wait for servers that are gone."""
        async with self._changing:
            if self._living:
                self._living.cancel()

    def do(self, deed: Coroutine[Any, Any, Outcome]) -> Outcome:
        """Runs one of the coroutines below to its end, from any thread but the sandbox's own."""
        return asyncio.run_coroutine_threadsafe(deed, self._loop).result()

    async def show_code(self, payer: SimulatedPayer) -> Secret:
        """The pay code that a payer's phone shows now."""
        return await self._people.show_code(payer)

    async def restart(self, server: ServerName, away_s: float) -> bool:
        """Ends a server, and starts it again after that time; False if it is away already."""

        async def restart() -> bool:
            async with self._changing:
                if not self.mesh.processes[server].pid:
                    return False
                await asyncio.to_thread(self._keeper.keep_away, server, away_s)
            return True

        return await _to_its_end(restart())

    async def end(self, server: ServerName, *, gently: bool) -> None:
        """Ends a server until `start` starts it: with kill -9, or gently."""
        async with self._changing:
            await asyncio.to_thread(self._keeper.keep_away, server, math.inf, gently=gently)

    async def start(self, server: ServerName) -> None:
        """Starts a server, at its address and with its data, unless it runs."""
        async with self._changing:
            if not self.mesh.processes[server].pid:
                await asyncio.to_thread(self._keeper.bring_back, server)

    async def reset(self) -> None:
        """Starts anew, without any data."""
        await _to_its_end(self._reset())

    async def _reset(self) -> None:
        async with self._changing:
            await self._people.stop()
            self.clock.set_right()
            try:
                await asyncio.to_thread(self._keeper.start_empty)
                await self._people.prepare()
            finally:
                await self._people.start()

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except asyncio.CancelledError:
            return  # it was told to end
        except BaseException as error:
            if self._serving.done():
                self._say(f"The sandbox's payers have ended: {error!r}")
                raise
            self._serving.set_exception(error)
        finally:
            self._begun.set()

    async def _live(self) -> None:
        self._loop, self._living = asyncio.get_running_loop(), asyncio.current_task()
        self._begun.set()
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(Client(self.mesh.addresses))
            self._people = People(client, self.mesh.store, self.clock)
            await self._prepare()
            stack.push_async_callback(self._people.stop)
            await self._people.start()
            await self._serve(stack)
            self._serving.set_result(None)
            await self._keep()

    async def _prepare(self) -> None:
        try:
            await self._people.prepare()
        except Refusal as refusal:
            raise Failure(
                f"{self.mesh.data_dir} has a sandbox with other payers or another currency: {refusal.text} "
                "Delete that folder, or take another --data-dir."
            ) from refusal

    async def _serve(self, stack: AsyncExitStack) -> None:
        server = open_server(MESSAGE_BYTES_MAX, CONNECTIONS_MAX, HANDSHAKE_S, False)
        limits, healthy = Limits(), health.aio.HealthServicer()
        access: Access = {method: frozenset() for method in METHODS}  # there is no gate: everybody may call
        handlers = method_handlers(SERVICE, SandboxServicer(self), DOMAIN, access, None, limits, calls=log)
        server.add_registered_method_handlers(SERVICE, handlers)
        for service, others in open_handlers(healthy, [SERVICE], DOMAIN, limits).items():
            server.add_registered_method_handlers(service, others)
        try:
            port = bind(server, self.address, "--sandbox-port")
        except OSError as error:
            raise Failure(f"The sandbox {error}") from error
        self.address = f"127.0.0.1:{port}"
        await server.start()
        stack.push_async_callback(server.stop, 0)
        await say(healthy, [SERVICE], True)

    async def _keep(self) -> None:
        """Starts again what has ended."""
        while True:
            async with self._changing:
                await asyncio.to_thread(self._keeper.look)
            await asyncio.sleep(LOOK_EVERY_S)


async def _to_its_end(change: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Goes on although its caller leaves: half of a change would leave servers or payers away."""
    return await asyncio.shield(asyncio.ensure_future(change))
