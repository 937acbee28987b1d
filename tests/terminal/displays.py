"""Customer displays: they watch checkouts, and ask for nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from store_terminal.outbox.queries import find_cursor
from tests.clocks import ManualClock
from tests.processes import DEADLINE_S
from tests.terminal.inside import Inside, now_ms, terminal
from tests.terminal.till import said
from tests.watching import Reader
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api


class Display(Reader):
    """Watches some checkouts of a terminal."""

    def __init__(self, inside: Inside, cursor: str = "", **filters: Any) -> None:
        super().__init__(inside.service.WatchCheckouts(api.WatchCheckoutsRequest(cursor=cursor, **filters)))

    @property
    def events(self) -> list[str]:
        """What it heard."""
        names = checkout_pb2.CheckoutEvent.Type
        return [names.Name(update.event.type).removeprefix("TYPE_") for update in self.updates]

    async def shows(self, event: str, what: str, reason: str = "") -> checkout_pb2.Checkout:
        """The checkout, once it was told of that event, with that state, verdict and reason."""

        def reached() -> bool:
            last = self.updates[-1].checkout if self.updates else checkout_pb2.Checkout()
            return self.events[-1:] == [event] and (said(last), last.verdict_reason) == (what, reason)

        await self.until(reached)
        shown: checkout_pb2.Checkout = self.updates[-1].checkout
        return shown


@asynccontextmanager
async def hearing(database_url: str, orders: str, payments: str) -> AsyncIterator[Inside]:
    """A terminal that works as the process does, once it watches."""
    async with terminal(database_url, orders, payments, ManualClock(now_ms()), resumes=True) as inside:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                if await inside.database.run(find_cursor):
                    break
                await asyncio.sleep(0.01)
        yield inside
