"""Pages of a table: newest first, or by key."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, select, tuple_

from tillmesh.storage.statements import Row, Transaction


def by_key(
    transaction: Transaction,
    table: Table,
    columns: Any,
    key: Column[str],
    after: str,
    at_most: int,
    *conditions: ColumnElement[bool],
) -> Sequence[Row]:
    """Rows by a key, those after the given one."""
    query = select(*columns).select_from(table).where(key > after, *conditions).order_by(key).limit(at_most)
    return transaction.execute(query).all()


Newest = Sequence[Any] | None
"""Where a page of a newest-first list starts: (created_at_ms, id) of the row before it."""


def newest(
    transaction: Transaction,
    table: Table,
    key: ColumnElement[Any],
    filters: dict[str, Any],
    extra: Sequence[ColumnElement[bool]],
    before: Newest,
    at_most: int,
) -> Sequence[Row]:
    """Rows of a table that fit the filters which are not empty, newest first."""
    query = select(table).order_by(table.c.created_at_ms.desc(), key.desc()).limit(at_most)
    query = query.where(*(table.c[name] == value for name, value in filters.items() if value), *extra)
    if before:
        query = query.where(tuple_(table.c.created_at_ms, key) < tuple(before))
    return transaction.execute(query).all()
