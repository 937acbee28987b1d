"""A terminal that does not watch orders, `python -m tests.terminal.deaf`: what it knows of them it has asked for.

Most tests are about what it asks, and when.
"""

import asyncio

from store_terminal.outbox.order_watch import OrderWatch
from store_terminal.server import main


async def hear_nothing(self: OrderWatch) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    OrderWatch.run = hear_nothing  # type: ignore[method-assign]
    main()
