"""Checks that the stored versions of orders are those that their histories cover.

The chains themselves are verified by `runtime.history`, which knows nothing of orders.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import sqlalchemy
from sqlalchemy import ColumnElement, Connection, Select, TableClause, and_, column, exists, literal, not_, select

from order_service.lifecycle import OrderEvent
from order_service.model import content_hash
from tillmesh import line_rows
from tillmesh.origin import Origin
from tillmesh.payer import Payer, PayerKind

_MAKES_A_VERSION = ("CREATED", OrderEvent.LINES_REPLACED)
_ROWS_AT_A_TIME = 1000


def _untyped(name: str, *columns: str) -> TableClause:
    """A table without the types of its columns: whoever tampers with SQLite may put any type into any of them."""
    return sqlalchemy.table(name, *map(column, columns))


_HISTORY = _untyped(
    "order_history", "order_id", "number", "event", "version", "currency", "amount_minor", "content_hash", "at_ms"
)
_VERSIONS = _untyped(
    "order_versions", "order_id", "version", "lines", "prices_include_tax", "amount_minor", "salt", "created_at_ms"
)
_ORDERS = _untyped(
    "orders",
    "order_id",
    "version",
    "store_id",
    "payer_kind",
    "payer_value",
    "currency",
    "labels",
    "terminal_id",
    "lane",
    "cashier_id",
    "updated_at_ms",
)
_PRUNED = _untyped("pruned", "record_id", "through_number", "version", "content_hash", "content_at_ms")
_LATER = _PRUNED.alias("later")


def version_findings(connection: Connection, since_ms: int = 0) -> Iterator[tuple[str, str]]:
    """Yields what is wrong with the versions of orders, by order number. Holds a few rows at a time.

    After a given time only of orders that have changed since, and nothing of versions that no order has.
    """
    same = and_(_VERSIONS.c.order_id == _HISTORY.c.order_id, _VERSIONS.c.version == _HISTORY.c.version)
    covered = (
        select(*_named(_HISTORY), *_named(_VERSIONS), *_named(_ORDERS))
        .select_from(_HISTORY.outerjoin(_VERSIONS, same).outerjoin(_ORDERS, _ORDERS.c.order_id == _HISTORY.c.order_id))
        .where(_HISTORY.c.event.in_(_MAKES_A_VERSION))
        .order_by(_HISTORY.c.order_id, _HISTORY.c.number)
    )
    for row in _read(connection, _changed_since(covered, since_ms)):
        if row["order_versions.order_id"] is None:
            yield row["order_history.order_id"], f"version {row['order_history.version']} is missing"
        elif not is_covered(_part(row, "orders"), _part(row, "order_versions"), _part(row, "order_history")):
            yield row["order_history.order_id"], changed(row["order_history.version"])
    yield from _of_pruned_rows(connection, since_ms)
    if since_ms:
        return
    is_last = exists().where(
        _PRUNED.c.record_id == _VERSIONS.c.order_id,
        _PRUNED.c.version == _VERSIONS.c.version,
        _ORDERS.c.order_id == _VERSIONS.c.order_id,
        _ORDERS.c.version == _VERSIONS.c.version,
    )
    orphans = select(_VERSIONS.c.order_id, _VERSIONS.c.version).where(
        not_(exists().where(same, _HISTORY.c.event.in_(_MAKES_A_VERSION))), not_(is_last)
    )
    for row in _read(connection, orphans.order_by(_VERSIONS.c.order_id, _VERSIONS.c.version)):
        yield row["order_id"], f"version {row['version']} is in no row of the history"


def _of_pruned_rows(connection: Connection, since_ms: int) -> Iterator[tuple[str, str]]:
    """What is wrong with last versions whose rows were pruned: the entry of these rows covers them.

    Amount and currency are those of the row that follows, which is of the same version.
    """
    is_latest = not_(
        exists().where(_LATER.c.record_id == _PRUNED.c.record_id, _LATER.c.through_number > _PRUNED.c.through_number)
    )
    following = and_(
        _HISTORY.c.order_id == _PRUNED.c.record_id, _HISTORY.c.number == _PRUNED.c.through_number + literal(1)
    )
    same = and_(_VERSIONS.c.order_id == _PRUNED.c.record_id, _VERSIONS.c.version == _PRUNED.c.version)
    covered = (
        select(*_named(_PRUNED), *_named(_HISTORY), *_named(_VERSIONS), *_named(_ORDERS))
        .select_from(
            _PRUNED.join(
                _ORDERS, and_(_ORDERS.c.order_id == _PRUNED.c.record_id, _ORDERS.c.version == _PRUNED.c.version)
            )
            .outerjoin(_HISTORY, following)
            .outerjoin(_VERSIONS, same)
        )
        .where(is_latest)
        .order_by(_PRUNED.c.record_id)
    )
    for row in _read(connection, _changed_since(covered, since_ms)):
        key, entry = row["pruned.record_id"], _part(row, "pruned")
        told = _part(row, "order_history") | {"content_hash": entry["content_hash"], "at_ms": entry["content_at_ms"]}
        if row["order_versions.order_id"] is None:
            yield key, f"version {entry['version']} is missing"
        elif not is_covered(_part(row, "orders"), _part(row, "order_versions"), told):
            yield key, changed(entry["version"])


def is_covered(order: Mapping[str, Any], version: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    """True if a row of the history is about a version as it is kept; each is given by its columns."""
    try:
        covered = content_hash(
            store_id=order["store_id"],
            payer=Payer(PayerKind(order["payer_kind"]), order["payer_value"]),
            labels=orjson.loads(order["labels"]),
            origin=Origin(order["terminal_id"], order["lane"], order["cashier_id"]),
            prices_include_tax=bool(version["prices_include_tax"]),
            lines=line_rows.from_text(version["lines"]),
            salt=version["salt"],
        )
    except (AttributeError, TypeError, ValueError):  # something else than what the columns are for
        return False
    kept = covered, order["currency"], version["amount_minor"], version["created_at_ms"]
    return kept == (entry["content_hash"], entry["currency"], entry["amount_minor"], entry["at_ms"])


def changed(version: Any) -> str:
    """What is found of a version that is another than the history covers."""
    return f"version {version} was changed: the history covers other lines, labels or texts"


def _changed_since(query: Select[Any], since_ms: int) -> Select[Any]:
    return query.where(_ORDERS.c.updated_at_ms >= since_ms) if since_ms else query


def _named(table: TableClause) -> list[ColumnElement[Any]]:
    return [each.label(f"{table.name}.{each.name}") for each in table.c]


def _part(row: Mapping[str, Any], table: str) -> dict[str, Any]:
    return {name.removeprefix(f"{table}."): value for name, value in row.items() if name.startswith(f"{table}.")}


def _read(connection: Connection, query: Any) -> Iterator[Mapping[str, Any]]:
    for row in connection.execute(query, execution_options={"yield_per": _ROWS_AT_A_TIME}).mappings():
        yield dict(row)
