"""Ways in which the streams could go wrong; see `mutants`."""

import asyncio
from collections.abc import Awaitable
from contextlib import aclosing
from typing import Any

from tillmesh.rpc.servicer import Servicer
from tillmesh.rpc.streams import Streams
from tillmesh.storage.feeds import place_of
from tillmesh.storage.sqlite import SqliteDatabase

Patch = tuple[Any, str, Any]


def tells_before_the_commit() -> list[Patch]:
    """Whoever looks for what is new sees what a transaction has written, whatever becomes of it."""
    real_run, real_flush = SqliteDatabase.run, SqliteDatabase._flush

    def run(self: Any, operation: Any, /, *args: Any, **kwargs: Any) -> Awaitable[Any]:
        if getattr(operation, "__name__", "") not in ("_look", "read"):
            return real_run(self, operation, *args, **kwargs)
        seen = asyncio.get_running_loop().create_future()
        seen.set_result(operation(self._transaction, *args, **kwargs))
        return seen

    def flush(self: Any) -> None:
        real_flush(self)
        if self._committing:
            self.changed.set()

    return [(SqliteDatabase, "run", run), (SqliteDatabase, "_flush", flush)]


def jumps_to_the_news() -> list[Patch]:
    """A stream does not ask whether it has read all that was before what it hears of."""
    real = Streams._tell

    def tell(self: Any, rows: Any, newest: Any) -> None:
        real(self, rows, newest)
        for ears in self._ears.values():
            for ear in ears:
                if ear.heard.is_set() and rows:
                    ear._before = place_of(rows[-1])

    return [(Streams, "_tell", tell)]


def cursor_lags() -> list[Patch]:
    """Who comes back gets the last event once more."""
    real = Servicer._watched

    async def watched(self: Any, feed: Any, request: Any, *rest: Any) -> Any:
        cursor = request.cursor
        async with aclosing(real(self, feed, request, *rest)) as answers:
            async for rows, behind in answers:
                yield rows, cursor if rows and cursor else behind
                cursor = behind

    return [(Servicer, "_watched", watched)]
