"""A copy of what the servers list, in an SQLite file on disk: where the lists, each in its own order, are joined.

Memory is bounded by the page cache, however many records there are.
"""

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from tillmesh.cli.reconcile.differences import Difference
from tillmesh.client.connections import PAGE_SIZE

CACHE_KIB = 32_768
Value = str | int
Item = TypeVar("Item")

_SCHEMA = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -{CACHE_KIB};
PRAGMA temp_store = FILE;
CREATE TABLE orders (order_id TEXT PRIMARY KEY, store_id, payer, amount, currency, version, epoch, state, payment_id,
  lease_ms, terminal_id, changed_ms) WITHOUT ROWID;
CREATE TABLE payments (payment_id TEXT PRIMARY KEY, order_id, store_id, payer, identity_id, amount, currency,
  order_version, epoch, state, refunded, changed_ms) WITHOUT ROWID;
CREATE TABLE refunds (refund_id TEXT PRIMARY KEY, payment_id, store_id, terminal_id, amount, currency, changed_ms)
  WITHOUT ROWID;
CREATE TABLE booked (reference, purpose, account_id, other_account_id, currency, moves, moved, held, changed_ms,
  PRIMARY KEY (reference, purpose)) WITHOUT ROWID;
CREATE TABLE balances (currency PRIMARY KEY, sum);
CREATE TABLE differing (account_id PRIMARY KEY);
CREATE TABLE terminals (terminal, store_id, terminal_id, PRIMARY KEY (terminal, store_id, terminal_id)) WITHOUT ROWID;
CREATE TABLE checkouts (checkout_id, terminal, payment_id, paid_by, amount, currency, order_version, state, changed_ms,
  PRIMARY KEY (checkout_id, terminal)) WITHOUT ROWID;
CREATE TABLE till_refunds (refund_id, terminal, checkout_id, amount, currency, state, changed_ms,
  PRIMARY KEY (refund_id, terminal)) WITHOUT ROWID;
CREATE TABLE found (name, order_id, payment_id, refund_id, terminal, seen, told DEFAULT 0);
"""
_INDEXES = """
CREATE INDEX payments_by_order ON payments (order_id);
CREATE INDEX orders_by_payment ON orders (payment_id);
CREATE INDEX refunds_by_payment ON refunds (payment_id);
"""
_BOOK = """INSERT INTO booked VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET moves = moves + excluded.moves, moved = moved + excluded.moved, held = held + excluded.held,
  changed_ms = max(changed_ms, excluded.changed_ms)"""
_FOUND = "name, order_id, payment_id, refund_id, terminal"


class Found(NamedTuple):
    """A difference: the ids of its records as far as it has them, and how they stand."""

    difference: Difference
    order_id: str | None
    payment_id: str | None
    refund_id: str | None
    terminal: str | None
    seen: str


class Copy:
    """What was read so far, and the differences in it."""

    def __init__(self, connection: sqlite3.Connection, settled_ms: int) -> None:
        self._connection = connection
        self._settled = {"settled_ms": settled_ms}
        connection.executescript(_SCHEMA)

    def keep(self, table: str, row: tuple[Value, ...]) -> None:
        """Keeps a record, instead of what was read of it before."""
        marks = ", ".join("?" * len(row))
        self._connection.execute(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", row)

    def book(self, row: tuple[Value, ...]) -> None:
        """Adds an entry to what the ledger says of its payment or refund."""
        self._connection.execute(_BOOK, row)

    def forget(self, table: str) -> None:
        """Empties a table that is to be read anew."""
        self._connection.execute(f"DELETE FROM {table}")

    def suspect(self) -> int:
        """Looks for differences; returns how many records have to be read anew."""
        self._connection.executescript(_INDEXES)
        for difference in Difference:
            self._connection.execute(
                f"INSERT INTO found ({_FOUND}, seen) SELECT '{difference.name}', * FROM ({difference.query})",
                self._settled,
            )
        ((count,),) = self._connection.execute("SELECT count(*) FROM found")
        return int(count)

    def suspects(self) -> Iterator[tuple[int, Found]]:
        """Each with its number."""
        last = 0
        while row := self._connection.execute(
            f"SELECT rowid, {_FOUND}, seen FROM found WHERE rowid > ? ORDER BY rowid LIMIT 1", (last,)
        ).fetchone():
            last, name, *rest = row
            yield last, Found(Difference[name], *rest)

    def confirm(self, number: int, suspect: Found) -> None:
        """Tells a suspected difference if it is still there in what was read anew."""
        ids = dict(zip(("o", "p", "r", "t"), suspect[1:5], strict=True))
        balance = ids == dict.fromkeys(ids)
        same = "column5 IS :seen" if balance else "column1 IS :o AND column2 IS :p AND column3 IS :r AND column4 IS :t"
        columns = "column1, column2, column3, column4, column5"
        now = self._connection.execute(
            f"WITH rule ({columns}) AS ({suspect.difference.query}) SELECT column5 FROM rule WHERE {same}",
            self._settled | ids | {"seen": suspect.seen},
        ).fetchone()
        if now:
            self._connection.execute("UPDATE found SET told = 1, seen = ? WHERE rowid = ?", (*now, number))

    def counts(self) -> dict[Difference, int]:
        """How many there are of each."""
        rows = self._connection.execute("SELECT name, count(*) FROM found WHERE told GROUP BY name ORDER BY min(rowid)")
        return {Difference[name]: count for name, count in rows}

    def told(self, at_most: int = -1) -> Iterator[Found]:
        """The differences, by kind; -1 for all."""
        rows = self._connection.execute(
            f"SELECT {_FOUND}, seen FROM found WHERE told ORDER BY rowid LIMIT ?", (at_most,)
        )
        for name, *rest in rows:
            yield Found(Difference[name], *rest)


@contextmanager
def open_copy(settled_ms: int) -> Iterator[Copy]:
    """An empty copy in the folder for temporary files, which is gone at the end."""
    with (
        tempfile.TemporaryDirectory(prefix="tillmesh-reconcile-") as folder,
        closing(sqlite3.connect(Path(folder) / "copy.db", isolation_level=None)) as connection,
    ):
        yield Copy(connection, settled_ms)


async def keep_all(items: AsyncIterator[Item], keep: Callable[[Item], None], advance: Callable[[int], None]) -> None:
    """Keeps each item as it comes, and holds none; `advance` hears of them a page at a time."""
    number = 0
    async for item in items:
        keep(item)
        number += 1
        if number % PAGE_SIZE == 0:
            advance(PAGE_SIZE)
    advance(number % PAGE_SIZE)
