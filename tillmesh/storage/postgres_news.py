"""How the processes that use a PostgreSQL database tell each other that they wrote something.

A notification says nothing but that. One that is lost costs time alone: those who wait look now and then anyway.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
import structlog
from sqlalchemy import URL

CHANNEL = "tillmesh_changed"
AGAIN_S = 1.0
log = structlog.get_logger()


async def hear_others(url: URL, options: Mapping[str, Any], replica: str, heard: Callable[[], None]) -> None:
    """Calls `heard` whenever another process may have written something, until it is cancelled."""
    while True:
        try:
            await _hear(url, options, replica, heard)
        except (psycopg.Error, OSError) as error:
            log.info("not_listening", error=" ".join(str(error).split()))
        await asyncio.sleep(AGAIN_S)


async def _hear(url: URL, options: Mapping[str, Any], replica: str, heard: Callable[[], None]) -> None:
    named = url.set(drivername="postgresql").render_as_string(hide_password=False)
    async with await psycopg.AsyncConnection.connect(named, autocommit=True, **options) as connection:
        await connection.execute(f"LISTEN {CHANNEL}")
        heard()  # of what was told before it listened
        async for told in connection.notifies():
            if told.payload != replica:
                heard()
