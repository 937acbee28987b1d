"""Records with a history: every move of one along its lifecycle leaves a row, chained by hashes to the row before.

A row's hash is the SHA-256 of the hash of the row before it and of its own content. The record's own row carries the
hash of its last history row: so appending asks for no row, and a tail that was cut off is missed.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from hashlib import sha256
from typing import Any, Generic, TypeVar

import orjson
from sqlalchemy import Table, bindparam, insert, select

from tillmesh.auth.callers import actor
from tillmesh.runtime.lifecycle import HistoryEntry, Stateful
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.history_table import key_of
from tillmesh.storage.lists import After
from tillmesh.storage.records import Part, Records
from tillmesh.storage.statements import Row, Transaction

Record = TypeVar("Record", bound=Stateful)
Entry = TypeVar("Entry", bound=HistoryEntry)


def next_hash(previous: bytes, content: Mapping[str, str | int | None]) -> bytes:
    """Hash of a history row: SHA-256 over `previous` and the row's other columns as canonical JSON (RFC 8785).

    A NULL is left out, so a nullable column that a table gets later changes no hash of the rows before.
    """
    known = {name: value for name, value in content.items() if value is not None}
    return sha256(previous + orjson.dumps(known, option=orjson.OPT_SORT_KEYS)).digest()


class History(Generic[Record, Entry]):
    """Writes records and their history in one, and reads the history.

    The fields of an entry without a default are those of the record after the move, unless a fact says otherwise;
    those with a default have it, likewise.
    """

    def __init__(
        self, records: Records[Record], entry: type[Entry], table: Table, parts: Mapping[str, Part] | None = None
    ) -> None:
        self._records, self._entry = records, entry
        self._entries = Records(entry, table, parts=parts)
        common = {field.name for field in fields(HistoryEntry)}
        self._of_record = [f.name for f in fields(entry) if f.name not in common and f.default is MISSING]
        key, number = key_of(table), table.c.number
        self._insert = insert(table).inline()  # nobody asks for the id of the row
        self._list = (
            select(table)
            .where(key == bindparam("key"), number > bindparam("after_number"))
            .order_by(number)
            .limit(bindparam("at_most"))
        )

    def begin(self, transaction: Transaction, record: Record, event: str, **facts: Any) -> Record:
        """Adds a new record."""
        return self._write(transaction, None, record, event, facts)

    def advance(
        self, transaction: Transaction, before: Record, after: Record, event: str, now_ms: int, **facts: Any
    ) -> Record:
        """Replaces `before` by `after`, which has the state that the event leads to; raises as `Records.change`."""
        moved = replace(after, event_count=before.event_count + 1, updated_at_ms=now_ms)
        return self._write(transaction, before, moved, event, facts)

    def list(self, transaction: Transaction, key: str, after: After, at_most: int) -> list[Entry]:
        """A record's history, oldest first."""
        wanted = {"key": key, "after_number": after[0] if after else 0, "at_most": at_most}
        return [self._entries.of(row) for row in transaction.execute(self._list, wanted)]

    def entry(self, row: Row) -> Entry:
        """The entry that a row of the table is."""
        return self._entries.of(row)

    def _write(
        self, transaction: Transaction, before: Record | None, after: Record, event: str, facts: dict[str, Any]
    ) -> Record:
        entry = self._entry(
            number=after.event_count,
            event=event,
            from_state=before.state if before else None,
            to_state=after.state,
            actor=actor(),
            trace_id=trace_id.get(),
            at_ms=after.updated_at_ms,
            **{name: getattr(after, name) for name in self._of_record if name not in facts},
            **facts,
        )
        content = self._entries.values(entry)
        recorded = replace(after, history_hash=next_hash((before or after).history_hash, content))
        if before:
            self._records.change(transaction, before, recorded)
        else:
            self._records.insert(transaction, recorded)
        transaction.execute(self._insert, {**content, "chain_hash": recorded.history_hash})
        return recorded
