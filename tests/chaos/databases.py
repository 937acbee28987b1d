"""PostgreSQL is there and of no use: it answers nothing, or it refuses every write."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import sqlalchemy
from psycopg import sql

from tests.chaos.disks import Unwritable, refuse_writes, sold_more
from tests.chaos.load import logged_errors
from tests.chaos.reckoning import let_finish, reckon, wait_until_final
from tests.chaos.replicas import Replicas, answered
from tests.chaos.shopper import Shopper
from tests.postgres import OWNER, Cluster
from tillmesh.local.processes import ServerName
from tillmesh.sandbox.links import Fault, Link

SHOPPERS = 4
RELOAD = sql.SQL("SELECT pg_reload_conf()")
READ_ONLY = sql.SQL("ALTER SYSTEM SET default_transaction_read_only = on"), RELOAD
WRITABLE = sql.SQL("ALTER SYSTEM RESET default_transaction_read_only"), RELOAD


async def lose_databases(
    folder: Path,
    postgres: Cluster,
    rng: random.Random,
    hole_s: float,
    answers_between: int,
    done: Callable[[], None] = lambda: None,
) -> Unwritable:
    """Each role's connections swallow everything for so long; then PostgreSQL is read-only, for each role."""
    result = Unwritable()
    witness, found, closed = result.witness, result.reckoning, asyncio.Event()
    async with AsyncExitStack() as stack:
        links: dict[ServerName, Link] = {}
        urls: dict[ServerName, str] = {}
        for role in ServerName:
            name = sqlalchemy.make_url(stack.enter_context(postgres.database())).database
            links[role] = Link(rng, postgres.socket)
            await links[role].open()
            stack.push_async_callback(links[role].close)
            urls[role] = f"postgresql://{OWNER}@{links[role].address}/{name}"
        servers = await stack.enter_async_context(Replicas(folder, urls, rng, count=1))
        client = await stack.enter_async_context(servers.client())
        names = [f"shopper-{number}" for number in range(SHOPPERS)]
        shoppers = [asyncio.create_task(Shopper(name, client, witness, rng).shop(closed)) for name in names]
        await sold_more(witness, 1)
        for role in ServerName:
            links[role].break_by(Fault.BLACKHOLE)
            await asyncio.sleep(hole_s)
            links[role].heal(lose=rng.random() < 0.5)
            await answered(witness, answers_between)
            done()
        for role in ServerName:
            await refuse_writes(
                client, role, result, rng, lambda: postgres.sql(*READ_ONLY), lambda: postgres.sql(*WRITABLE)
            )
            done()
        healed_s = time.monotonic()
        closed.set()
        await let_finish(shoppers, found)
        found.stuck += await wait_until_final(client, healed_s)
        await reckon(client, witness, found)
        found.broken += logged_errors(servers.logs)
    return result
