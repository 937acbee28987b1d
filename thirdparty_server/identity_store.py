"""Queries about identities, wallets and stores. A change is compare-and-set on the version."""

from collections.abc import Sequence
from typing import Any

import orjson
from sqlalchemy import Column, ColumnElement, Table, and_, bindparam, case, insert, or_, select, update

from thirdparty_server.model import Identity, Store, StoreState, Wallet
from thirdparty_server.tables import identities, stores, wallets
from tillmesh.storage.database import require_one_row
from tillmesh.storage.statements import Connection, Row

_IDENTITY = (
    identities.c.identity_id,
    identities.c.display_name,
    identities.c.version,
    identities.c.created_at_ms,
)
_FIND_IDENTITY = select(*_IDENTITY).where(identities.c.identity_id == bindparam("key"))
_INSERT_IDENTITY = insert(identities)
_CHANGE_IDENTITY = (
    update(identities)
    .where(identities.c.identity_id == bindparam("key"), identities.c.version == bindparam("version_read"))
    .values(version=identities.c.version + 1)
)
_WALLET = (
    wallets.c.identity_id,
    wallets.c.currency,
    wallets.c.threshold_minor,
    wallets.c.unconfirmed_per_day_max,
    wallets.c.version,
    wallets.c.created_at_ms,
)
_OF_WALLET = and_(wallets.c.identity_id == bindparam("key"), wallets.c.currency == bindparam("of_currency"))
_FIND_WALLET = select(*_WALLET).where(_OF_WALLET)
_INSERT_WALLET = insert(wallets)
_CHANGE_WALLET = (
    update(wallets)
    .where(_OF_WALLET, wallets.c.version == bindparam("version_read"))
    .values(version=wallets.c.version + 1)
)
# A day that is over is never counted anew: a clock that stepped back gives nobody more.
_NEW_DAY = wallets.c.unconfirmed_day < bindparam("day")
_COUNT_UNCONFIRMED = (
    update(wallets)
    .where(
        _OF_WALLET,
        or_(
            wallets.c.unconfirmed_per_day_max.is_(None),
            and_(_NEW_DAY, wallets.c.unconfirmed_per_day_max > 0),
            and_(~_NEW_DAY, wallets.c.unconfirmed_count < wallets.c.unconfirmed_per_day_max),
        ),
    )
    .values(
        unconfirmed_count=case((_NEW_DAY, 1), else_=wallets.c.unconfirmed_count + 1),
        unconfirmed_day=case((_NEW_DAY, bindparam("day")), else_=wallets.c.unconfirmed_day),
    )
)
_FIND_STORE = select(stores).where(stores.c.store_id == bindparam("key"))
_INSERT_STORE = insert(stores)
_CHANGE_STORE = (
    update(stores)
    .where(stores.c.store_id == bindparam("key"), stores.c.version == bindparam("version_read"))
    .values(version=stores.c.version + 1)
)


def find_identity(connection: Connection, identity_id: str) -> Identity | None:
    """The identity of that id."""
    row = connection.execute(_FIND_IDENTITY, {"key": identity_id}).one_or_none()
    return None if row is None else Identity(**row)


def insert_identity(connection: Connection, identity: Identity) -> None:
    """Registers an identity without a PIN."""
    values = {
        "identity_id": identity.identity_id,
        "display_name": identity.display_name,
        "version": identity.version,
        "pin_failures": 0,
        "created_at_ms": identity.created_at_ms,
    }
    connection.execute(_INSERT_IDENTITY, values)


def change_identity(connection: Connection, identity: Identity) -> None:
    """Writes what may change, as the next version of the one that was read."""
    values = {
        "key": identity.identity_id,
        "version_read": identity.version,
        "display_name": identity.display_name,
    }
    require_one_row(connection.execute(_CHANGE_IDENTITY, values))


def list_identities(connection: Connection, after_id: str, at_most: int) -> list[Identity]:
    """Identities by id, those after the given one."""
    rows = _by_key(connection, identities, _IDENTITY, identities.c.identity_id, after_id, at_most)
    return [Identity(**row) for row in rows]


def find_wallet(connection: Connection, identity_id: str, currency: str) -> Wallet | None:
    """The identity's wallet in that currency."""
    row = connection.execute(_FIND_WALLET, {"key": identity_id, "of_currency": currency}).one_or_none()
    return None if row is None else Wallet(**row)


def insert_wallet(connection: Connection, wallet: Wallet) -> None:
    """Records a wallet; its account must be open."""
    values = {
        "identity_id": wallet.identity_id,
        "currency": wallet.currency,
        "account_id": wallet.account.account_id,
        "threshold_minor": wallet.threshold_minor,
        "unconfirmed_per_day_max": wallet.unconfirmed_per_day_max,
        "unconfirmed_day": 0,
        "unconfirmed_count": 0,
        "version": wallet.version,
        "created_at_ms": wallet.created_at_ms,
    }
    connection.execute(_INSERT_WALLET, values)


def change_wallet(connection: Connection, wallet: Wallet) -> None:
    """Writes what may change, as the next version of the one that was read."""
    values = {
        "key": wallet.identity_id,
        "of_currency": wallet.currency,
        "version_read": wallet.version,
        "threshold_minor": wallet.threshold_minor,
        "unconfirmed_per_day_max": wallet.unconfirmed_per_day_max,
    }
    require_one_row(connection.execute(_CHANGE_WALLET, values))


def list_wallets(connection: Connection, identity_id: str, after_currency: str, at_most: int) -> list[Wallet]:
    """An identity's wallets by currency, those after the given one."""
    own = wallets.c.identity_id == identity_id
    rows = _by_key(connection, wallets, _WALLET, wallets.c.currency, after_currency, at_most, own)
    return [Wallet(**row) for row in rows]


def count_unconfirmed(connection: Connection, wallet: Wallet, day: int) -> bool:
    """Counts a payment without the payer's yes; False if the day (since 1970, UTC) has had all of them."""
    values = {"key": wallet.identity_id, "of_currency": wallet.currency, "day": day}
    return connection.execute(_COUNT_UNCONFIRMED, values).rowcount == 1


def find_store(connection: Connection, store_id: str) -> Store | None:
    """The record of a store."""
    row = connection.execute(_FIND_STORE, {"key": store_id}).one_or_none()
    return None if row is None else _store(row)


def insert_store(connection: Connection, store: Store) -> None:
    """Records a store."""
    values = {
        "store_id": store.store_id,
        "currency": store.currency,
        "version": store.version,
        "created_at_ms": store.created_at_ms,
        **_changeable(store),
    }
    connection.execute(_INSERT_STORE, values)


def change_store(connection: Connection, store: Store) -> None:
    """Writes what may change, as the next version of the one that was read."""
    values = {"key": store.store_id, "version_read": store.version, **_changeable(store)}
    require_one_row(connection.execute(_CHANGE_STORE, values))


def list_stores(connection: Connection, after_id: str, at_most: int) -> list[Store]:
    """Stores by id, those after the given one."""
    rows = _by_key(connection, stores, stores.c, stores.c.store_id, after_id, at_most)
    return [_store(row) for row in rows]


def _by_key(
    connection: Connection,
    table: Table,
    columns: Any,
    key: Column[str],
    after: str,
    at_most: int,
    *conditions: ColumnElement[bool],
) -> Sequence[Row]:
    query = select(*columns).select_from(table).where(key > after, *conditions).order_by(key).limit(at_most)
    return connection.execute(query).all()


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
