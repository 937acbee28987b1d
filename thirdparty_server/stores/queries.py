"""Queries about stores. A change is compare-and-set on the version."""

import orjson
from sqlalchemy import select

from thirdparty_server.stores.model import Store
from thirdparty_server.stores.tables import stores
from tillmesh.runtime.money import Money
from tillmesh.storage.lists import by_key
from tillmesh.storage.records import Part, Records, as_text
from tillmesh.storage.statements import Row, Transaction


def _limit(row: Row) -> Money | None:
    minor = row["unreferenced_refund_limit_minor"]
    return None if minor is None else Money(row["currency"], minor)


STORES = Records(
    Store,
    stores,
    parts={
        "address_lines": as_text(
            "address_lines", lambda text: tuple(orjson.loads(text)), lambda lines: orjson.dumps(lines).decode()
        ),
        "unreferenced_refund_limit": Part(
            _limit, lambda limit: {"unreferenced_refund_limit_minor": limit and limit.minor}
        ),
    },
    guard=("version",),
)


def list_stores(transaction: Transaction, after_id: str, at_most: int) -> list[Store]:
    """Stores by id, those after the given one."""
    query = by_key(select(stores), stores.c.store_id, after_id, at_most)
    return [STORES.of(row) for row in transaction.execute(query)]
