"""After a backup was restored a reader misses nothing, or hears that it has to list first."""

import asyncio
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from order_service.tables import METADATA
from tests.cli.command_line import tillmesh
from tests.clocks import ManualClock
from tests.orders.shop import Shop
from tests.orders.test_watch import looking, told, watch
from tests.postgres import Cluster, running_cluster
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.rpc.streams import OLDEST
from tillmesh.runtime.errors import Refusal

Restore = Callable[[], str]


async def heard(shop: Shop, cursor: str, count: int) -> str:
    """The cursor behind so many events."""
    async with watch(shop, cursor) as reader:
        await reader.read(count)
        return reader.cursor


@asynccontextmanager
async def opened(url: str, clock: ManualClock) -> AsyncIterator[Shop]:
    shop = Shop(url, clock)
    async with looking(shop):
        yield shop
    await shop.database.close()


async def check(url: str, back_up: Callable[[], Restore], clock: ManualClock) -> None:
    """Two events, a backup, two events that are lost with it, and three after it was restored."""
    async with opened(url, clock) as shop:
        await shop.create("kept-1")
        await shop.create("kept-2")
        at_backup = await heard(shop, OLDEST, 2)
        restore = await asyncio.to_thread(back_up)
        await shop.create("lost-1")
        await shop.create("lost-2")
        after_backup = await heard(shop, at_backup, 2)
    async with opened(restore(), clock) as shop:
        for number in range(3):  # also once other rows stand where the lost ones stood
            with pytest.raises(Refusal, match="CURSOR_EXPIRED"):
                await anext(shop.service.WatchOrders(api.WatchOrdersRequest(cursor=after_backup)))
            await shop.create(f"new-{number}")
        async with watch(shop, at_backup) as reader:
            assert told(await reader.read(3)) == [(f"new-{number}", "CREATED") for number in range(3)]


async def test_a_sqlite_file_that_is_put_back(tmp_path: Path, clock: ManualClock) -> None:
    file, copy = tmp_path / "orders.db", tmp_path / "copy.db"

    def back_up() -> Restore:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)

        def restore() -> str:
            for log in file.parent.glob("orders.db-*"):
                log.unlink()
            shutil.copy(copy, file)
            return f"sqlite:///{file}"

        return restore

    await check(f"sqlite:///{file}", back_up, clock)


@pytest.mark.process
async def test_a_dump_that_is_restored_into_another_cluster_and_restamped(
    postgres: Cluster, clock: ManualClock
) -> None:
    with postgres.database(METADATA) as url, running_cluster() as other:

        def back_up() -> Restore:
            dump = subprocess.run([postgres.binaries / "pg_dump", "--no-owner", url], check=True, capture_output=True)

            def restore() -> str:
                with psycopg.connect(other.url("postgres"), autocommit=True) as connection:
                    connection.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier("restored")))
                restored = other.url("restored")
                psql = [str(other.binaries / "psql"), "--quiet", "--set", "ON_ERROR_STOP=1", restored]
                subprocess.run(psql, input=dump.stdout, check=True, capture_output=True)
                tillmesh("db", "restamp", "--orders", restored)
                return restored

            return restore

        await check(url, back_up, clock)
