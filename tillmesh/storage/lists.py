"""Pages of a table: newest first, or by key."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, Table, tuple_

from tillmesh.payer import Payer
from tillmesh.storage.columns import has_payer

After = Sequence[Any] | None
"""The key of the row before a page; None for the first page. Newest first it is (created_at_ms, id)."""


def newest_first(query: Select[Any], key: Column[str], after: After, at_most: int) -> Select[Any]:
    """The rows of a query by creation time and key, newest first, those that follow the given row."""
    created_at_ms = key.table.c.created_at_ms
    if after:
        query = query.where(tuple_(created_at_ms, key) < tuple(after))
    return query.order_by(created_at_ms.desc(), key.desc()).limit(at_most)


def by_key(query: Select[Any], key: ColumnElement[Any], after: After, at_most: int) -> Select[Any]:
    """The rows of a query by key, those that follow the given one."""
    if after:
        query = query.where(key > after[0])
    return query.order_by(key).limit(at_most)


def matching(query: Select[Any], table: Table, payer: Payer | None = None, **filters: Any) -> Select[Any]:
    """The rows of a query of that payer, and of the filters that are set, each on the column of its name.

    A filter may be one value, or a list of those that fit.
    """
    if payer:
        query = query.where(has_payer(table, payer))
    for name, value in filters.items():
        if value:
            column = table.c[name]
            query = query.where(column.in_(value) if isinstance(value, list) else column == value)
    return query
