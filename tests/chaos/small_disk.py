"""A shipped server whose disk is full from SIGUSR1 until SIGUSR2.

`python -m tests.chaos.small_disk FLAGS ROLE` starts it: the role's own wiring, on a database whose
largest size can be set from outside.
"""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Engine, event

from order_service.server import OrderSettings
from order_service.server import wire as wire_orders
from store_terminal.server import TerminalSettings
from store_terminal.server import wire as wire_terminal
from thirdparty_server.server import PaymentSettings
from thirdparty_server.server import wire as wire_payments
from tillmesh.rpc.server import Wiring, run
from tillmesh.rpc.settings import ServerSettings, load_settings

NAME = "tests.chaos.small_disk"
PAGES_NOW = 1  # SQLite never sets the limit below the size that the database has
PAGES_MAX = 1 << 30
SERVERS: dict[str, tuple[type[ServerSettings], Callable[[Any], Awaitable[Wiring]]]] = {
    "order_service": (OrderSettings, wire_orders),
    "thirdparty_server": (PaymentSettings, wire_payments),
    "store_terminal": (TerminalSettings, wire_terminal),
}


def main(flags: list[str], role: str) -> None:
    """Starts the server of that role."""
    settings_type, wire = SERVERS[role]
    settings = load_settings(settings_type, flags)
    connections: list[Any] = []
    event.listen(Engine, "connect", lambda connection, _record: connections.append(connection))

    def limit(pages: int) -> None:
        for connection in connections:
            connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()

    async def wire_small() -> Wiring:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, limit, PAGES_NOW)
        loop.add_signal_handler(signal.SIGUSR2, limit, PAGES_MAX)
        return await wire(settings)

    run(NAME, settings, wire_small)


if __name__ == "__main__":
    main(sys.argv[1:-1], sys.argv[-1])
