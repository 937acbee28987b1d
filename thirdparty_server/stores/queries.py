"""Queries about stores. A change is compare-and-set on the version."""

from typing import Any

import orjson
from sqlalchemy import bindparam, insert, select, update

from thirdparty_server.stores.model import Store, StoreState
from thirdparty_server.stores.tables import stores
from tillmesh.storage.database import require_one_row
from tillmesh.storage.lists import by_key
from tillmesh.storage.statements import Row, Transaction

_FIND_STORE = select(stores).where(stores.c.store_id == bindparam("key"))
_INSERT_STORE = insert(stores)
_CHANGE_STORE = (
    update(stores)
    .where(stores.c.store_id == bindparam("key"), stores.c.version == bindparam("version_read"))
    .values(version=stores.c.version + 1)
)


def find_store(transaction: Transaction, store_id: str) -> Store | None:
    """The record of a store."""
    row = transaction.execute(_FIND_STORE, {"key": store_id}).one_or_none()
    return None if row is None else _store(row)


def insert_store(transaction: Transaction, store: Store) -> None:
    """Records a store."""
    values = {
        "store_id": store.store_id,
        "currency": store.currency,
        "version": store.version,
        "created_at_ms": store.created_at_ms,
        **_changeable(store),
    }
    transaction.execute(_INSERT_STORE, values)


def change_store(transaction: Transaction, store: Store) -> None:
    """Writes what may change, as the next version of the one that was read."""
    values = {"key": store.store_id, "version_read": store.version, **_changeable(store)}
    require_one_row(transaction.execute(_CHANGE_STORE, values))


def list_stores(transaction: Transaction, after_id: str, at_most: int) -> list[Store]:
    """Stores by id, those after the given one."""
    rows = by_key(transaction, stores, stores.c, stores.c.store_id, after_id, at_most)
    return [_store(row) for row in rows]


def _changeable(store: Store) -> dict[str, Any]:
    return {
        "name": store.name,
        "address_lines": orjson.dumps(store.address_lines).decode(),
        "tax_number": store.tax_number,
        "time_zone": store.time_zone,
        "unreferenced_refund_limit_minor": store.unreferenced_refund_limit_minor,
        "state": store.state,
    }


def _store(row: Row) -> Store:
    values = dict(row)
    values["address_lines"] = tuple(orjson.loads(row["address_lines"]))
    values["state"] = StoreState(row["state"])
    return Store(**values)
