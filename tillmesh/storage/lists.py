"""Pages of a table: newest first with filters, or by key."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import (
    BigInteger,
    BindParameter,
    Column,
    ColumnElement,
    Select,
    String,
    and_,
    bindparam,
    literal_column,
    select,
    true,
    tuple_,
)

from tillmesh.payer import Payer
from tillmesh.storage.statements import Row, Transaction

Record = TypeVar("Record")
Other = TypeVar("Other")
After = Sequence[Any] | None
"""The key of the row before a page; None for the first page. Newest first it is (created_at_ms, id)."""
Filters = Mapping[str, Sequence[Any]]
"""By the name of a column, the values that fit."""

ROWS_MAX = 1_000
"""The most rows that a page looks at. Where its filters let few of them through, it is short, or even empty."""
PAYER_COLUMNS = ("payer_kind", "payer_value")
LENGTH_MAX = 96 * 1024
"""The most characters that the long texts of a page have, unless its only record has more."""
KEYS_MAX = 256
"""The most keys of one statement."""
_FROM_START = (2**63 - 1, "")


@dataclass(frozen=True, slots=True)
class Slice(Generic[Record]):
    """The records of a page."""

    records: list[Record]
    end: After
    """The key of the last row that the page looked at; None if the list ends there."""

    def map(self, record_of: Callable[[Record], Other]) -> "Slice[Other]":
        """The same page of records that are made of these."""
        return Slice([record_of(record) for record in self.records], self.end)


@dataclass(frozen=True, slots=True)
class Partial:
    """The condition of a partial index: a column has one of these values."""

    column: str
    values: Collection[str | bool]
    condition: ColumnElement[bool]
    """In the words of the index: SQLite compares the words."""


@dataclass(frozen=True, slots=True)
class By:
    """An index of a list: the columns of the filters that it is for, then creation time and key."""

    columns: tuple[str, ...] = ()
    partial: Partial | None = None

    def serves(self, filters: Filters) -> bool:
        """True if all rows that the filters let through are in the index, in one stretch of it."""
        if self.partial:
            wanted = filters.get(self.partial.column)
            if not wanted or not set(wanted) <= set(self.partial.values):
                return False
        return set(self.columns) <= set(filters)

    def left(self, filters: Filters) -> Filters:
        """The filters that only the rows themselves can answer."""
        left = {name: values for name, values in filters.items() if name not in self.columns}
        if self.partial and set(left[self.partial.column]) == set(self.partial.values):
            del left[self.partial.column]
        return left


class ByKey:
    """Reads many records by their keys in few statements, of which few are ever made."""

    def __init__(self, records: Select[Any], key: Column[str]) -> None:
        self._records, self._key = records, key
        self._statements: dict[int, Select[Any]] = {}

    def read(self, transaction: Transaction, keys: Sequence[str], **values: Any) -> dict[str, Row]:
        """The rows with these keys, by key; those that there are; with values for other parameters."""
        rows: dict[str, Row] = {}
        for start in range(0, len(keys), KEYS_MAX):
            some = keys[start : start + KEYS_MAX]
            places = 1 << (len(some) - 1).bit_length()
            filled = [*some, *[some[-1]] * (places - len(some))]
            found = transaction.execute(self._of(places), {**values, **_values({"key": filled})})
            rows |= {row[self._key.name]: row for row in found}
        return rows

    def _of(self, places: int) -> Select[Any]:
        if places not in self._statements:
            self._statements[places] = self._records.where(self._key.in_(_places("key", places)))
        return self._statements[places]


class NewestFirst:
    """A list of records, newest first, with filters.

    A page costs the same however long the list is: it looks at no more than ROWS_MAX rows of an index. It reads no
    more than it shows: how long the texts of a record are stands in its columns `lengths`.
    """

    def __init__(
        self, records: Select[Any], key: Column[str], indexes: Sequence[By], lengths: Sequence[str] = ()
    ) -> None:
        """`records` selects whole records. The first index that serves the filters is read; the last has all rows."""
        self._records = ByKey(records, key)
        self._key, self._indexes, self._lengths = key, indexes, lengths
        self._looks: dict[Any, Select[Any]] = {}

    def read(
        self, transaction: Transaction, after: After, at_most: int, payer: Payer | None = None, **filters: Any
    ) -> Slice[Row]:
        """At most so many rows that follow the given one; a filter that is None or empty does not count.

        A filter may be one value, or a list of those that fit.
        """
        wanted = _by_column(payer, filters)
        index = next(index for index in self._indexes if index.serves(wanted))
        left = index.left(wanted)
        look = self._look(index, left)
        values = _values({name: wanted[name] for name in (*index.columns, *left)})
        keys: list[str] = []
        length, end = 0, after
        for looked_at in (at_most + 1, ROWS_MAX - at_most - 1):
            at_ms, key = end or _FROM_START
            place = {"after_ms": at_ms, "after_key": key, "looked_at": looked_at}
            rows = transaction.execute(look, {**values, **place}).all()
            for row in rows:
                if row["fits"]:
                    length += row["length"]
                    if len(keys) == at_most or (keys and length > LENGTH_MAX):
                        return Slice(self._read(transaction, keys), end)
                    keys.append(row["key"])
                end = row["at_ms"], row["key"]
            if len(rows) < looked_at:
                return Slice(self._read(transaction, keys), None)
            if len(keys) == at_most:
                break
        return Slice(self._read(transaction, keys), end)

    def _look(self, index: By, left: Filters) -> Select[Any]:
        """Looks at the next rows of an index. What else is to fit is no condition, or it would look until enough do."""
        shape = index.columns, index.partial is None, *((name, len(values)) for name, values in left.items())
        if shape not in self._looks:
            columns = self._key.table.c
            place = columns.created_at_ms.label("at_ms"), self._key.label("key")
            after = bindparam("after_ms", type_=BigInteger), bindparam("after_key", type_=String)
            fits = [columns[name].in_(_places(name, len(values))) for name, values in left.items()]
            length: ColumnElement[int] = sum((columns[name] for name in self._lengths), start=literal_column("0"))
            query = select(*place, length.label("length"), and_(true(), *fits).label("fits"))
            query = query.where(*(columns[name] == bindparam(f"{name}_0") for name in index.columns))
            query = query.where(tuple_(columns.created_at_ms, self._key) < tuple_(*after))
            if index.partial:
                query = query.where(index.partial.condition)
            query = query.order_by(columns.created_at_ms.desc(), self._key.desc()).limit(bindparam("looked_at"))
            self._looks[shape] = query
        return self._looks[shape]

    def _read(self, transaction: Transaction, keys: Sequence[str]) -> list[Row]:
        rows = self._records.read(transaction, keys)
        return [rows[key] for key in keys]


def by_key(query: Select[Any], key: ColumnElement[Any], after: After, at_most: int) -> Select[Any]:
    """The rows of a query by key, those that follow the given one."""
    if after:
        query = query.where(key > after[0])
    return query.order_by(key).limit(at_most)


def _by_column(payer: Payer | None, filters: Mapping[str, Any]) -> Filters:
    named = {"payer_kind": payer and payer.kind, "payer_value": payer and payer.value, **filters}
    return {
        name: sorted(set(value)) if isinstance(value, list) else (value,)
        for name, value in named.items()
        if value not in (None, "", [])
    }


def _places(name: str, count: int) -> list[BindParameter[Any]]:
    return [bindparam(f"{name}_{number}") for number in range(count)]


def _values(by_name: Filters) -> dict[str, Any]:
    """What `_places` are filled with."""
    return {f"{name}_{number}": value for name, values in by_name.items() for number, value in enumerate(values)}
