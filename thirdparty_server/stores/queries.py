"""Queries about stores. A change is compare-and-set on the version."""

import orjson
from sqlalchemy import select

from thirdparty_server.stores.model import Store
from thirdparty_server.stores.tables import stores
from tillmesh.storage.lists import After, by_key
from tillmesh.storage.records import Records, amount_in, as_text
from tillmesh.storage.statements import Transaction

STORES = Records(
    Store,
    stores,
    parts={
        "address_lines": as_text(
            "address_lines", lambda text: tuple(orjson.loads(text)), lambda lines: orjson.dumps(lines).decode()
        ),
        "unreferenced_refund_limit": amount_in("unreferenced_refund_limit_minor"),
    },
    guard=("version",),
)


def list_stores(transaction: Transaction, after: After, at_most: int) -> list[Store]:
    """Stores by id, those after the given one."""
    query = by_key(select(stores), stores.c.store_id, after, at_most)
    return [STORES.of(row) for row in transaction.execute(query)]
