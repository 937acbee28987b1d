"""Removes what is old, a few hundred rows in a transaction, so that servers go on beside it.

Of the history of a final record all but the last row may go; ids, attempts, epochs and final states never do. A record
whose history is not as it was written is left alone, and named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from tillmesh.auth.callers import actor
from tillmesh.runtime.lifecycle import NO_HISTORY
from tillmesh.storage.chains import NOT_COVERED, broken_links
from tillmesh.storage.database import require_one_row
from tillmesh.storage.history import next_hash
from tillmesh.storage.history_table import PLACE, key_of
from tillmesh.storage.pruned import Pruned
from tillmesh.storage.statements import Row, Transaction

ROWS_A_PAGE = 300
RECORDS_A_PAGE = 50
Position = Sequence[Any]
START: Position = ()


@dataclass(slots=True)
class Page:
    """What one transaction removed, and where the next one goes on."""

    records: int = 0
    rows: int = 0
    left_alone: int = 0
    """Records with findings."""
    findings: list[str] = field(default_factory=list)
    """What is wrong with records that were left alone."""
    after: Position | None = None
    """None: nothing is left to do."""


class Prunable(Protocol):
    """A kind of rows that may be pruned; what is older than `before_ms` is old."""

    name: str

    def count(self, transaction: Transaction, before_ms: int) -> int:
        """How many old records there are to prune."""

    def prune(self, transaction: Transaction, before_ms: int, after: Position, now_ms: int) -> Page:
        """Prunes some of them, those that follow `after`."""


class Histories:
    """The histories of one kind of records; a service says in a subclass what else goes with them."""

    def __init__(self, records: Table, history: Table, pruned: Table, unpruned: ColumnElement[bool]) -> None:
        self.name = history.name
        (key,) = records.primary_key
        number = history.c.number
        of_record = key_of(history) == bindparam("key")
        old = [unpruned, records.c.updated_at_ms < bindparam("before_ms")]
        position = tuple_(records.c.updated_at_ms, key)
        last = bindparam("after_ms", type_=BigInteger), bindparam("after_key", type_=String)
        self._key, self._number = key.name, number.name
        self._count = select(func.count()).select_from(records).where(*old)
        self._old = select(records).where(*old, position > tuple_(*last)).order_by(*position).limit(RECORDS_A_PAGE)
        self._rows = (
            select(history)
            .where(of_record, number > bindparam("after"))
            .order_by(number)
            .limit(bindparam("at_most", type_=BigInteger))
        )
        self._last_entry = select(pruned).order_by(pruned.c.number.desc()).limit(1)
        self._entry = select(pruned).where(
            pruned.c.record_id == bindparam("key"), pruned.c.through_number == bindparam("through")
        )
        self._add_entry = insert(pruned)
        self._delete_rows = delete(history).where(of_record, number <= bindparam("through"))
        self._mark = (
            update(records)
            .where(key == bindparam("key"), records.c.event_count == bindparam("read_count"))
            .values(pruned_through=bindparam("through"))
        )
        self._delete_record = delete(records).where(key == bindparam("key"))

    def count(self, transaction: Transaction, before_ms: int) -> int:
        """How many final records have an old history."""
        return int(transaction.execute(self._count, {"before_ms": before_ms}).scalar_one())

    def prune(self, transaction: Transaction, before_ms: int, after: Position, now_ms: int) -> Page:
        """Prunes the histories of some records; of a long one some of its rows."""
        after_ms, after_key = after or (-1, "")
        wanted = {"before_ms": before_ms, "after_ms": after_ms, "after_key": after_key}
        page, old = Page(), transaction.execute(self._old, wanted).all()
        for record in old:
            rows = self._read(transaction, record, ROWS_A_PAGE - page.rows + 1)
            is_long = len(rows) > ROWS_A_PAGE - page.rows
            if is_long and page.after is not None:
                return page  # it gets a page of its own
            before = self._entry_before(transaction, record)
            if findings := self._findings(transaction, record, rows, before, whole=not is_long):
                page.findings += [f"{record[self._key]}: {finding}" for finding in findings]
                page.left_alone += 1
            else:
                page.rows += self._remove(transaction, record, rows, before, now_ms, whole=not is_long)
                if is_long:
                    page.after = after
                    return page
                page.records += 1
            page.after = (record["updated_at_ms"], record[self._key])
        if len(old) < RECORDS_A_PAGE:
            page.after = None
        return page

    def is_needless(self, record: Row) -> bool:
        """True for a record that may go itself, with all of its history."""
        return False

    def differences(self, transaction: Transaction, record: Row, rows: Sequence[Row]) -> list[str]:
        """What is not as these rows of its history say."""
        return []

    def covered(self, rows: Sequence[Row], entry: Row | None) -> Mapping[str, Any]:
        """Of rows that go, what nothing else proves; `entry` is that of the rows before them."""
        return {}

    def remove_others(self, transaction: Transaction, record: Row, entry: Row) -> None:
        """Removes what is of no use without those rows of its history that an entry is about."""

    def _read(self, transaction: Transaction, record: Row, at_most: int) -> list[Row]:
        values = {"key": record[self._key], "after": record["pruned_through"], "at_most": at_most}
        return transaction.execute(self._rows, values).all()

    def _entry_before(self, transaction: Transaction, record: Row) -> Row | None:
        values = {"key": record[self._key], "through": record["pruned_through"]}
        return transaction.execute(self._entry, values).one_or_none()

    def _findings(
        self, transaction: Transaction, record: Row, rows: Sequence[Row], before: Row | None, *, whole: bool
    ) -> list[str]:
        """What is wrong with a history; `rows` are those that are left, all of them or only the first."""
        through = record["pruned_through"]
        if (before is None) != (through == 0):
            return [f"nothing says that rows up to {through} were pruned"]
        contents = [{name: value for name, value in row.items() if name not in NOT_COVERED} for row in rows]
        hashes = [row["chain_hash"] for row in rows]
        head = bytes.fromhex(before["head"]) if before else NO_HISTORY
        found = list(broken_links(contents, hashes, through + 1, head))
        if whole and (not rows or (rows[-1][self._number], hashes[-1]) != _end(record)):
            found.append("its last row is not the one that the record says")
        return found or self.differences(transaction, record, rows)

    def _remove(
        self,
        transaction: Transaction,
        record: Row,
        rows: Sequence[Row],
        before: Row | None,
        now_ms: int,
        *,
        whole: bool,
    ) -> int:
        """Removes all rows but the last of these; the last as well where the record itself goes."""
        key, needless = record[self._key], whole and self.is_needless(record)
        gone = rows if needless else rows[:-1]
        through = gone[-1][self._number]
        covered = self.covered(gone, before)
        what = Pruned.RECORD if needless else Pruned.EVENTS
        entry = self._add(transaction, key, what, gone[-1], covered, now_ms)
        transaction.execute(self._delete_rows, {"key": key, "through": through})
        if needless:
            require_one_row(transaction.execute(self._delete_record, {"key": key}))
        else:
            values = {"key": key, "read_count": record["event_count"], "through": through}
            require_one_row(transaction.execute(self._mark, values))
        self.remove_others(transaction, record, entry)
        return len(gone)

    def _add(
        self, transaction: Transaction, key: str, what: Pruned, last: Row, covered: Mapping[str, Any], now_ms: int
    ) -> Row:
        """Adds an entry to the chain of what was pruned."""
        before = transaction.execute(self._last_entry).first()
        entry = {
            "number": before["number"] + 1 if before else 1,
            "record_id": key,
            "what": what,
            "through_number": last[self._number],
            "head": last["chain_hash"].hex(),
            **{f"through_{column}": last[column] for column in PLACE},
            **covered,
            "actor": actor(),
            "at_ms": now_ms,
        }
        chain_hash = next_hash(before["chain_hash"] if before else NO_HISTORY, entry)
        transaction.execute(self._add_entry, {**entry, "chain_hash": chain_hash})
        return entry


class Leftovers:
    """Rows of a table that serve nobody once they are old: `old` says which, and may use the parameter `before_ms`."""

    def __init__(self, key: Column[str], old: ColumnElement[bool]) -> None:
        self.name = key.table.name
        self._count = select(func.count()).select_from(key.table).where(old)
        self._page = (
            select(key.label("key"), old.label("is_old"))
            .where(key > bindparam("after", type_=String))
            .order_by(key)
            .limit(ROWS_A_PAGE)
        )
        self._delete = delete(key.table).where(key == bindparam("key"))

    def count(self, transaction: Transaction, before_ms: int) -> int:
        """How many rows are old."""
        return int(transaction.execute(self._count, {"before_ms": before_ms}).scalar_one())

    def prune(self, transaction: Transaction, before_ms: int, after: Position, now_ms: int) -> Page:
        """Looks at some rows, and removes those that are old."""
        (after_key,) = after or ("",)
        rows = transaction.execute(self._page, {"before_ms": before_ms, "after": after_key}).all()
        old = [{"key": row["key"]} for row in rows if row["is_old"]]
        if old:
            transaction.execute_many(self._delete, old)
        last = (rows[-1]["key"],) if len(rows) == ROWS_A_PAGE else None
        return Page(records=len(old), rows=len(old), after=last)


def _end(record: Row) -> tuple[int, bytes]:
    return record["event_count"], record["history_hash"]
