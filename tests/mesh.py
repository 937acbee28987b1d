"""The three servers as processes, wired to each other."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.processes import Server, running


@dataclass(frozen=True)
class Mesh:
    """Three running servers."""

    orders: Server
    payments: Server
    terminal: Server


@contextmanager
def running_mesh(folder: Path) -> Iterator[Mesh]:
    """A mesh of one store, for the length of a block."""
    with ExitStack() as stack:
        orders = stack.enter_context(running("order_service", folder))
        payments = stack.enter_context(running("thirdparty_server", folder, "--orders", orders.address))
        wires = ("--orders", orders.address, "--payments", payments.address)
        till = ("--store-id", "store-1", "--terminal-id", "till-1", "--currency", "GBP")
        terminal = stack.enter_context(running("store_terminal", folder, *till, *wires))
        yield Mesh(orders, payments, terminal)
