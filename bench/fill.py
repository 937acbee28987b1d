"""Fills databases with a past: rows that the servers themselves wrote, copied within the database.

So they are as in life, whatever columns a table has: orders with their payments, histories, requests and
transfers. Copies have ids of their own and happened earlier; only their hashes are still those of what was
copied. All are of one store and its till, which makes the indexes by store as uneven as they can be.
"""

import asyncio
from collections.abc import Callable, Mapping

import sqlalchemy
from sqlalchemy import Column, Connection, MetaData, Table, func, select, text

from thirdparty_server.ledger.sums import add_up
from tillmesh.storage.database import open_database
from tillmesh.storage.history_table import ROW_ID

IDS = {
    "order_id",
    "payment_id",
    "checkout_id",
    "request_id",
    "refund_id",
    "payer_value",
    "reference",
    "resource",
    "unanswered",
    "paid_by",
}
NUMBERS = {"transfer_id", "hold_id"}
TRANSFERS_A_STEP = 10_000
AGE_MS = 60_000
"""By which each copy is older than the one before it."""

SQLITE_IN_A_HURRY = ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE", "cache_size = -400000")
"""Nothing is lost if it crashes, as then it is filled anew; the servers set theirs again when they start."""


def fill(url: str, metadata: MetaData, copies: int, copied: Callable[[], None]) -> None:
    """Adds so many copies of all records to a database that no server is using."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            for pragma in SQLITE_IN_A_HURRY:
                connection.exec_driver_sql(f"PRAGMA {pragma}")
        tables = [table for table in metadata.sorted_tables if _has_own_ids(table)]
        for table in tables:
            connection.execute(text(f"CREATE TEMPORARY TABLE first_{table.name} AS SELECT * FROM {table.name}"))
        indexes = [index for table in tables for index in table.indexes]
        for index in indexes:  # made anew, in order, once all rows are there
            index.drop(connection)
        stride = _last_transfer(connection, metadata.tables)
        statements = [text(_copy(table)) for table in tables]
        for copy in range(1, copies + 1):
            values = {"suffix": f".{copy}", "offset": copy * stride, "age_ms": copy * AGE_MS}
            for statement in statements:
                connection.execute(statement, values)
            copied()
        for index in indexes:
            index.create(connection)
        _settle(connection, metadata.tables, copies)
        connection.commit()
    engine.dispose()
    if "ledger_progress" in metadata.tables:
        asyncio.run(_add_up(url, metadata))


async def _add_up(url: str, metadata: MetaData) -> None:
    """Adds the transfers up, as a server does all the time."""
    database = open_database(url, metadata)
    while await database.run(add_up, TRANSFERS_A_STEP):
        pass
    await database.close()


def _has_own_ids(table: Table) -> bool:
    return "key" in table.info or any(column.name in IDS | NUMBERS for column in table.primary_key)


def _last_transfer(connection: Connection, tables: Mapping[str, Table]) -> int:
    if "transfers" not in tables:
        return 0
    return connection.execute(select(func.max(tables["transfers"].c.transfer_id))).scalar_one() or 0


def _copy(table: Table) -> str:
    columns = [column for column in table.columns if column.computed is None and column.name != ROW_ID]
    names = ", ".join(column.name for column in columns)
    return f"INSERT INTO {table.name} ({names}) SELECT {', '.join(map(_copied, columns))} FROM first_{table.name}"


def _copied(column: Column[object]) -> str:
    """The value of a column in a copied row. Empty stays empty."""
    name = column.name
    if name in IDS:
        return f"CASE {name} WHEN '' THEN '' ELSE {name} || :suffix END"
    if name in NUMBERS:
        return f"{name} + :offset"
    if name.endswith("at_ms"):
        return f"CASE {name} WHEN 0 THEN 0 ELSE {name} - :age_ms END"
    return name


def _settle(connection: Connection, tables: Mapping[str, Table], copies: int) -> None:
    """Balances are what their transfers add up to; statistics and sequences know of the new rows."""
    if "accounts" in tables:
        accounts = tables["accounts"]
        connection.execute(accounts.update().values(posted_minor=accounts.c.posted_minor * (copies + 1)))
    if connection.dialect.name == "postgresql":
        if "transfers" in tables:
            last = _last_transfer(connection, tables)
            connection.execute(
                text("SELECT setval(pg_get_serial_sequence('transfers', 'transfer_id'), :last)"), {"last": last}
            )
        connection.execute(text("ANALYZE"))
