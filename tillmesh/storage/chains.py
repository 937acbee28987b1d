"""Verifies the histories of a database: whatever was changed in one shows.

What this proves and what not is in docs/security.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, TableClause, and_, column, exists, func, inspect, null, select

from tillmesh.runtime.lifecycle import NO_HISTORY
from tillmesh.storage.history import next_hash
from tillmesh.storage.history_table import PLACE
from tillmesh.storage.pruned import Pruned

NOT_COVERED = frozenset({*PLACE, "chain_hash"})
"""The columns of a history that a row's hash does not cover."""
_ROWS_AT_A_TIME = 1000
_PRUNED = sqlalchemy.table("pruned", *map(column, ("record_id", "what", "through_number", "head")))


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
    pruned: int = 0
    """How many rows were pruned before the first one."""

    @property
    def rows(self) -> int:
        """How many rows it has, those that were pruned among them."""
        return self.pruned + len(self.hashes)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the chain of what was pruned says of one record: its rows up to that one, which has that hash, are gone."""

    number: int
    chain_hash: bytes
    key: str
    through: int
    head: bytes


def read_chains(connection: Connection, table: HistoryTable, since_ms: int = 0) -> Iterator[Chain]:
    """Every chain of a table, verified: also of records without history, and of history without a record.

    After a given time only those of records that have changed since. Holds a chain at a time. Reads the columns that
    the table has, without their types: whoever tampers with SQLite may put any type into any of them.
    """
    history, names = _untyped(connection, table.name)
    records = sqlalchemy.table(table.records, *map(column, (table.key, "event_count", "history_hash", "updated_at_ms")))
    key = records.c[table.key]
    same = history.c[table.key] == key
    each = _PRUNED.alias("each")
    latest = select(func.max(each.c.through_number)).where(each.c.record_id == key).scalar_subquery()
    gone = and_(_PRUNED.c.record_id == key, _PRUNED.c.through_number == latest)
    found = key, records.c.event_count, records.c.history_hash, _PRUNED.c.through_number, _PRUNED.c.head
    recorded = select(*found, history).select_from(records.outerjoin(_PRUNED, gone).outerjoin(history, same))
    if since_ms:
        queries = [recorded.where(records.c.updated_at_ms >= since_ms).order_by(key)]
    else:
        nothing = [null()] * 4
        orphans = select(history.c[table.key], *nothing, history).where(~exists().where(same))
        queries = [recorded.order_by(key), orphans.order_by(history.c[table.key])]
    for query in queries:
        rows = connection.execute(query.order_by(history.c.number), execution_options={"yield_per": _ROWS_AT_A_TIME})
        for _, of_record in groupby(rows, key=itemgetter(0)):
            yield _verified(table, names, list(of_record))


def read_pruned(connection: Connection, findings: list[str]) -> Iterator[Entry]:
    """Every entry of the chain of what was pruned; adds what is wrong with it to the findings."""
    table, names = _untyped(connection, "pruned")
    number, previous = 0, NO_HISTORY
    query = select(table).order_by(table.c.number)
    for row in connection.execute(query, execution_options={"yield_per": _ROWS_AT_A_TIME}):
        entry: dict[str, Any] = dict(zip(names, row, strict=True))
        chain_hash = entry.pop("chain_hash")
        findings += broken_links([entry], [chain_hash], number + 1, previous)
        number, previous = _number(entry["number"]), chain_hash
        yield Entry(number, chain_hash, entry["record_id"], _number(entry["through_number"]), _hash(entry["head"]))


def pruned_findings(connection: Connection, table: HistoryTable) -> Iterator[tuple[str, str]]:
    """Yields what is wrong with the records that entries are about, by key."""
    records = sqlalchemy.table(table.records, column(table.key))
    whole = _PRUNED.alias("whole")
    is_there = exists().where(records.c[table.key] == _PRUNED.c.record_id)
    is_gone = exists().where(whole.c.record_id == _PRUNED.c.record_id, whole.c.what == Pruned.RECORD)
    of_record = select(_PRUNED.c.record_id).distinct().order_by(_PRUNED.c.record_id)
    for key in connection.execute(of_record.where(_PRUNED.c.what == Pruned.RECORD, is_there)).scalars():
        yield key, f"it was pruned with its history, but {table.records} has it"
    for key in connection.execute(of_record.where(~is_there, ~is_gone)).scalars():
        yield key, f"part of its history was pruned, but {table.records} has no such record"


def broken_links(
    entries: Sequence[Mapping[str, Any]], hashes: Sequence[bytes], first: int, previous: bytes
) -> Iterator[str]:
    """What is wrong with rows that should begin with that number and follow a row of that hash."""
    in_order = True
    for number, (entry, chain_hash) in enumerate(zip(entries, hashes, strict=True), first):
        if in_order and entry["number"] != number:
            in_order = False
            yield f"row {entry['number']} stands where row {number} should"
        elif not _follows(previous, entry, chain_hash):
            yield f"row {entry['number']} was changed: its hash is not that of its content and the row before"
        previous = chain_hash


def _untyped(connection: Connection, name: str) -> tuple[TableClause, list[str]]:
    names = [found["name"] for found in inspect(connection).get_columns(name)]
    return sqlalchemy.table(name, *map(column, names)), names


def _verified(table: HistoryTable, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Chain:
    key, event_count, history_hash, through, head = rows[0][:5]
    found: list[dict[str, Any]] = [dict(zip(names, row[5:], strict=True)) for row in rows]
    if found[0]["number"] is None:
        return Chain(key, [], ["there is no history of it"])
    hashes = [row["chain_hash"] for row in found]
    entries = [{name: value for name, value in row.items() if name not in NOT_COVERED} for row in found]
    pruned = _number(through)
    findings = list(broken_links(entries, hashes, pruned + 1, _hash(head) if pruned else NO_HISTORY))
    last = entries[-1]["number"]
    if event_count is None:
        findings.append(f"{table.records} has no such record")
    elif event_count != last:
        findings.append(f"its last row is {last}, but {event_count} in {table.records}")
    elif history_hash != hashes[-1]:
        findings.append(f"the hash of its last row is another in {table.records}")
    return Chain(key, hashes, findings, pruned)


def _number(value: Any) -> int:
    """A number as it was found; 0 for what is none."""
    return value if isinstance(value, int) else 0


def _hash(value: Any) -> bytes:
    """A hash that was found as hex; nothing for what is none."""
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError):
        return b""


def _follows(previous: bytes, content: Mapping[str, Any], chain_hash: bytes) -> bool:
    try:
        return next_hash(previous, content) == chain_hash
    except TypeError:  # bytes where a text or a number was
        return False
