"""Verifies the histories of a database: whatever was changed in one shows.

What this proves and what not is in docs/security.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, column, exists, inspect, null, select

from tillmesh.runtime.lifecycle import NO_HISTORY
from tillmesh.storage.history import next_hash

_ROWS_AT_A_TIME = 1000


@dataclass(frozen=True, slots=True)
class HistoryTable:
    """A table of chains: rows by (`key`, number), with chain_hash; `records` has event_count and history_hash."""

    name: str
    records: str
    key: str


@dataclass(frozen=True, slots=True)
class Chain:
    """The history of one record, as it was found; without findings it is whole."""

    key: str
    hashes: Sequence[bytes]
    """That of each row, in the order of their numbers."""
    findings: Sequence[str]


def read_chains(connection: Connection, table: HistoryTable) -> Iterator[Chain]:
    """Every chain of a table, verified: also of records without history, and of history without a record.

    Holds a chain at a time. Reads the columns that the table has, without their types: whoever tampers
    with SQLite may put any type into any of them.
    """
    names = [found["name"] for found in inspect(connection).get_columns(table.name)]
    history = sqlalchemy.table(table.name, *map(column, names))
    records = sqlalchemy.table(table.records, *map(column, (table.key, "event_count", "history_hash")))
    key = records.c[table.key]
    same = history.c[table.key] == key
    recorded = select(records, history).select_from(records.outerjoin(history, same)).order_by(key)
    orphans = select(history.c[table.key], null(), null(), history).where(~exists().where(same))
    for query in (recorded, orphans.order_by(history.c[table.key])):
        rows = connection.execute(query.order_by(history.c.number), execution_options={"yield_per": _ROWS_AT_A_TIME})
        for _, of_record in groupby(rows, key=itemgetter(0)):
            yield _verified(table, names, list(of_record))


def _verified(table: HistoryTable, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Chain:
    key, event_count, history_hash = rows[0][:3]
    entries: list[dict[str, Any]] = [dict(zip(names, row[3:], strict=True)) for row in rows]
    if entries[0]["number"] is None:
        return Chain(key, [], ["there is no history of it"])
    hashes = [entry.pop("chain_hash") for entry in entries]
    findings = list(_broken_links(entries, hashes))
    last = entries[-1]["number"]
    if event_count is None:
        findings.append(f"{table.records} has no such record")
    elif event_count != last:
        findings.append(f"its last row is {last}, but {event_count} in {table.records}")
    elif history_hash != hashes[-1]:
        findings.append(f"the hash of its last row is another in {table.records}")
    return Chain(key, hashes, findings)


def _broken_links(entries: Sequence[Mapping[str, Any]], hashes: Sequence[bytes]) -> Iterator[str]:
    in_order = True
    previous = NO_HISTORY
    for position, (entry, chain_hash) in enumerate(zip(entries, hashes, strict=True), 1):
        if in_order and entry["number"] != position:
            in_order = False
            yield f"row {entry['number']} stands where row {position} should"
        elif not _follows(previous, entry, chain_hash):
            yield f"row {entry['number']} was changed: its hash is not that of its content and the row before"
        previous = chain_hash


def _follows(previous: bytes, content: Mapping[str, Any], chain_hash: bytes) -> bool:
    try:
        return next_hash(previous, content) == chain_hash
    except TypeError:  # bytes where a text or a number was
        return False
