"""Records in tables: frozen dataclasses, read and written by the names of their columns."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from sqlalchemy import Table, bindparam, insert, select, update

from tillmesh.runtime.money import Money
from tillmesh.storage.database import require_one_row
from tillmesh.storage.statements import Row, Transaction

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Part:
    """A field that is not simply the column of its name."""

    load: Callable[[Row], Any]
    """From a row to the value."""
    dump: Callable[[Any], Mapping[str, Any]]
    """From the value to its columns."""


AMOUNT = Part(
    lambda row: Money(row["currency"], row["amount_minor"]),
    lambda amount: {"currency": amount.currency, "amount_minor": amount.minor},
)
"""An amount in the columns `currency` and `amount_minor`."""


def as_text(column: str, load: Callable[[str], Any], dump: Callable[[Any], str]) -> Part:
    """A value that its column has as text."""
    return Part(lambda row: load(row[column]), lambda value: {column: dump(value)})


def as_long_text(column: str, load: Callable[[str], Any], dump: Callable[[Any], str]) -> Part:
    """A value that its column has as text, with the length of the text in `COLUMN_length`."""

    def dumped(value: Any) -> Mapping[str, Any]:
        text = dump(value)
        return {column: text, f"{column}_length": len(text)}

    return Part(lambda row: load(row[column]), dumped)


def amount_in(column: str) -> Part:
    """An amount in the columns `currency` and another one; none where that is NULL."""
    return Part(
        lambda row: None if row[column] is None else Money(row["currency"], row[column]),
        lambda amount: {column: amount and amount.minor},
    )


class Records(Generic[Record]):
    """The records of one table.

    `parts` are the fields that are not the column of their name. A column that the table lacks is only read, from a
    query that has it. A change is compare-and-set on the columns of `guard`; it does not write those that are `fixed`:
    they never change, and indexes have them. `initial` are the columns of a new row that no field has.
    """

    def __init__(
        self,
        record: type[Record],
        table: Table,
        *,
        parts: Mapping[str, Part] | None = None,
        guard: Sequence[str] = (),
        fixed: Sequence[str] = (),
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        self._record, self._parts, self._guard, self._initial = record, parts or {}, guard, initial or {}
        hints = get_type_hints(record)
        self._plain = [name for name in _names_of(record) if name not in self._parts]
        self._enums = {name: enum for name in self._plain if (enum := _enum_in(hints[name]))}
        self._columns = frozenset(table.c.keys())
        self._key = [column.name for column in table.primary_key]
        self._changing = self._columns - {*self._key, *fixed}
        at_key = [table.c[name] == bindparam(f"key_{name}") for name in self._key]
        as_read = [table.c[name] == bindparam(f"read_{name}") for name in guard]
        self._find, self._insert = select(table).where(*at_key), insert(table)
        self._change = update(table).where(*at_key, *as_read)

    def of(self, row: Row) -> Record:
        """The record of a row."""
        values = {name: row[name] for name in self._plain}
        for name, enum in self._enums.items():
            if values[name] is not None:
                values[name] = enum(values[name])
        for name, part in self._parts.items():
            values[name] = part.load(row)
        return self._record(**values)

    def values(self, record: Record) -> dict[str, Any]:
        """A record by the columns of its table."""
        values = {name: getattr(record, name) for name in self._plain}
        for name, part in self._parts.items():
            values.update(part.dump(getattr(record, name)))
        return {name: value for name, value in values.items() if name in self._columns}

    def find(self, transaction: Transaction, *key: str | int) -> Record | None:
        """The record with that primary key."""
        at_key = {f"key_{name}": value for name, value in zip(self._key, key, strict=True)}
        row = transaction.execute(self._find, at_key).one_or_none()
        return None if row is None else self.of(row)

    def insert(self, transaction: Transaction, record: Record) -> None:
        """Adds a record; its primary key must be free."""
        transaction.execute(self._insert, {**self._initial, **self.values(record)})

    def change(self, transaction: Transaction, before: Record, after: Record) -> None:
        """Replaces `before` by `after` if nobody changed it since it was read; else CONCURRENT_CHANGE.

        Parts that are still the same object are not written again: they may be long texts.
        """
        values = {name: getattr(after, name) for name in self._plain}
        for name, part in self._parts.items():
            if (new := getattr(after, name)) is not getattr(before, name):
                values.update(part.dump(new))
        values = {name: value for name, value in values.items() if name in self._changing}
        values |= {f"key_{name}": getattr(before, name) for name in self._key}
        values |= {f"read_{name}": getattr(before, name) for name in self._guard}
        require_one_row(transaction.execute(self._change, values))


def _names_of(record: Any) -> list[str]:
    return [field.name for field in fields(record)]


def _enum_in(hint: Any) -> type[StrEnum] | None:
    """The enum that a field holds, or may hold."""
    return next(
        (kind for kind in (hint, *get_args(hint)) if isinstance(kind, type) and issubclass(kind, StrEnum)), None
    )
