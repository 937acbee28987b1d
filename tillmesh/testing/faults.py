"""Servers that end and links that break, as a test says."""

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tillmesh.local.processes import ServerName
from tillmesh.sandbox.links import Fault, Link
from tillmesh.sandbox.sandbox import Sandbox

TILL = "till"
"""The side of a link that is no server."""


class Links:
    """The links of a sandbox, in a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._links: dict[tuple[str, ServerName], Link] = {}

    def route(self, caller: str, called: ServerName, address: str) -> str:
        """The address of the link between two, which is opened at first; `address` is that of the server."""
        if (caller, called) not in self._links:
            link = self._links[caller, called] = Link(random.Random(), address)
            self._do(link.open())
        return self._links[caller, called].address

    def between(self, caller: str, called: ServerName) -> "BreakableLink":
        """A link that is open."""
        link = self._links[caller, called]

        async def break_by(fault: Fault, delay_s: float | None = None) -> None:
            link.break_by(fault, delay_s)

        async def heal() -> None:
            if link.is_broken:
                link.heal(lose=True)

        return BreakableLink(lambda *fault: self._do(break_by(*fault)), lambda: self._do(heal()))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Passes bytes on for the length of a block."""
        thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        thread.start()
        try:
            yield
        finally:
            for link in self._links.values():
                self._do(link.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def _do(self, deed: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(deed, self._loop).result()


@dataclass(frozen=True)
class BreakableLink:
    """All connections from one side of the mesh to a server."""

    _break_by: Callable[..., None]
    _heal: Callable[[], None]

    def cut(self) -> None:
        """Ends all connections, and refuses new ones."""
        self._break_by(Fault.CUT)

    def stall(self) -> None:
        """Leaves the connections open, and lets nothing through."""
        self._break_by(Fault.BLACKHOLE)

    def delay(self, seconds: float) -> None:
        """Delays each piece of data, both ways; a call has at least one each way."""
        self._break_by(Fault.SLOW, seconds)

    def heal(self) -> None:
        """Works again. What was on the way is lost with its connection, and new connections work."""
        self._heal()


@dataclass(frozen=True)
class BreakableServer:
    """One of the three servers."""

    _sandbox: Sandbox
    _name: ServerName

    def stop(self) -> None:
        """Ends it gracefully, until `start`: it answers the calls under way first."""
        self._sandbox.do(self._sandbox.end(self._name, gently=True))

    def kill(self) -> None:
        """Ends it with kill -9, until `start`."""
        self._sandbox.do(self._sandbox.end(self._name, gently=False))

    def start(self) -> None:
        """Starts it again, at its address and with its data; returns once it serves."""
        self._sandbox.do(self._sandbox.start(self._name))

    def restart(self) -> None:
        """Ends it with kill -9 and starts it again; returns once it serves."""
        self.kill()
        self.start()


class Faults:
    """Everything in a sandbox that a test can break."""

    def __init__(self, sandbox: Sandbox, links: Links) -> None:
        orders, payments, terminal = ServerName
        self.orders = BreakableServer(sandbox, orders)
        self.payments = BreakableServer(sandbox, payments)
        self.terminal = BreakableServer(sandbox, terminal)
        self.till_to_terminal = links.between(TILL, terminal)
        self.terminal_to_orders = links.between(terminal, orders)
        self.terminal_to_payments = links.between(terminal, payments)
        self.payments_to_orders = links.between(payments, orders)

    def heal(self) -> None:
        """Makes all links whole, and starts what is ended."""
        for link in (
            self.till_to_terminal,
            self.terminal_to_orders,
            self.terminal_to_payments,
            self.payments_to_orders,
        ):
            link.heal()
        for server in (self.orders, self.payments, self.terminal):
            server.start()
