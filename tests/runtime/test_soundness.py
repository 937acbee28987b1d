"""A server starts as fast on a long history as on a short one, and finds later what it did not look at."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import DatabaseError

from order_service import operations, queries
from order_service.lifecycle import OrderState
from order_service.tables import METADATA
from tillmesh.storage.database import open_database, open_engine, parse_url
from tillmesh.storage.schema import prepare

ORDERS = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
INSERT INTO orders (
    order_id, store_id, payer_kind, payer_value, currency, amount_minor, labels, terminal_id, lane, cashier_id, version,
    state, epoch, payment_id, lease_ms, lease_expires_at_ms, event_count, history_hash, created_at_ms, updated_at_ms,
    lines_length, labels_length
)
SELECT printf('order-%09d', n), 's', 'IDENTITY', 'ada', 'GBP', 1, '{}', '', '', '', 1,
    CASE n % 10 WHEN 0 THEN 'OPEN' ELSE 'CANCELED' END, 0, '', 0, 0, 1, x'30', n, n, 2, 2
FROM numbers
"""
VERSIONS = "INSERT INTO order_versions SELECT order_id, 1, '[]', 1, 1, x'30', created_at_ms FROM orders"
FEW, MANY = 1_000, 50_000


def with_orders(folder: Path, number: int) -> Path:
    """A database that a server closed, with so many orders."""
    file = folder / f"{number}.db"
    engine = open_engine(parse_url(f"sqlite:///{file}"))
    prepare(engine, METADATA)
    engine.dispose()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(ORDERS, (number,))
        connection.execute(VERSIONS)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return file


def bytes_read() -> int:
    """That this process has read from files so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


async def read_to_start(file: Path) -> int:
    """Bytes that are read to open a database."""
    before = bytes_read()
    database = open_database(f"sqlite:///{file}", METADATA)
    read = bytes_read() - before
    await database.close()
    return read


async def test_a_start_reads_no_more_of_a_longer_history(tmp_path: Path) -> None:
    few, many = with_orders(tmp_path, FEW), with_orders(tmp_path, MANY)
    await read_to_start(few)  # also what Python reads but once
    of_few, of_many = await read_to_start(few), await read_to_start(many)
    assert many.stat().st_size > 20 * few.stat().st_size
    assert of_many < 2 * of_few  # a tree of more rows is a level or two higher


def order(number: int) -> str:
    return f"order-{number:09}"


def blank_rows(file: Path, number: int) -> None:
    """Overwrites the page that an order stands on."""
    content = file.read_bytes()
    at = content.index(order(number).encode() + b"sIDENTITY")  # the row itself, in no index
    start = at - at % 4096
    file.write_bytes(content[:start] + bytes(4096) + content[start + 4096 :])


async def test_damage_that_a_start_does_not_see_fails_what_reads_it_and_nothing_else(tmp_path: Path) -> None:
    file = with_orders(tmp_path, MANY)
    blank_rows(file, MANY // 2)
    database = open_database(f"sqlite:///{file}", METADATA)
    ended, read, damaged = await asyncio.gather(
        database.run(operations.cancel_order, order_id=order(10), version=1, now_ms=1),
        database.run(queries.find_order, order(20)),
        database.run(queries.find_order, order(MANY // 2)),
        return_exceptions=True,
    )
    assert isinstance(damaged, DatabaseError)
    assert read is not None
    await database.close()
    database = open_database(f"sqlite:///{file}", METADATA)
    found = await database.run(queries.find_order, order(10))
    assert found == ended
    assert found is not None
    assert found.state is OrderState.CANCELED
    await database.close()


@pytest.mark.parametrize("table", ["orders", "order_history"])
async def test_a_start_sees_that_a_table_has_lost_its_root(tmp_path: Path, table: str) -> None:
    file = with_orders(tmp_path, FEW)
    with closing(sqlite3.connect(file)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    with file.open("r+b") as content:
        content.seek((page - 1) * 4096)
        content.write(bytes(4096))
    with pytest.raises(ValueError, match=r"it is damaged .*; restore it from a backup"):
        open_database(f"sqlite:///{file}", METADATA)
