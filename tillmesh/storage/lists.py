"""Pages of a table: newest first, or by key."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Select, Table, tuple_

Before = Sequence[Any] | None
"""Where a page of a newest-first list starts: (created_at_ms, id) of the row before it."""


def newest_first(query: Select[Any], key: Column[str], before: Before, at_most: int) -> Select[Any]:
    """The rows of a query by creation time and key, newest first, those before the given row."""
    created_at_ms = key.table.c.created_at_ms
    if before:
        query = query.where(tuple_(created_at_ms, key) < tuple(before))
    return query.order_by(created_at_ms.desc(), key.desc()).limit(at_most)


def by_key(query: Select[Any], key: Column[str], after: str, at_most: int) -> Select[Any]:
    """The rows of a query by key, those after the given one."""
    return query.where(key > after).order_by(key).limit(at_most)


def matching(query: Select[Any], table: Table, **filters: Any) -> Select[Any]:
    """The rows of a query that fit the filters which are not empty, each on the column of its name."""
    return query.where(*(table.c[name] == value for name, value in filters.items() if value))
