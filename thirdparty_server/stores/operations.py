"""Stores' records: one function for each RPC, each one transaction."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from thirdparty_server.errors import Reason
from thirdparty_server.ledger import accounts
from thirdparty_server.ledger.model import store_returns
from thirdparty_server.stores import queries
from thirdparty_server.stores.model import Store
from thirdparty_server.updates import require_version
from tillmesh.auth.callers import require_store
from tillmesh.rpc.fields import shown
from tillmesh.runtime.errors import FieldViolation, invalid
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import Transaction


def create_store(transaction: Transaction, *, store: Store) -> Store:
    """Records a store, and opens the account of what it gives back without a sale."""
    if queries.find_store(transaction, store.store_id):
        raise Reason.STORE_EXISTS(store_id=store.store_id)
    queries.insert_store(transaction, store)
    account = store_returns(store.store_id, store.currency)
    accounts.open_account(transaction, account, store.unreferenced_refund_limit_minor or 0)
    return store


def get_store(transaction: Transaction, store_id: str) -> Store:
    """The record of a store as it is now."""
    require_store(store_id)
    store = queries.find_store(transaction, store_id)
    if store is None:
        raise Reason.STORE_NOT_FOUND(store_id=store_id)
    return store


def update_store(
    transaction: Transaction, *, store_id: str, version: int, changes: Mapping[str, Any], limit_in: str
) -> Store:
    """Changes what is named in `changes`, if the store is still at that version; `limit_in` is a limit's currency."""
    store = get_store(transaction, store_id)
    require_version(f"Store {store_id}", store.version, version)
    if limit_in not in ("", store.currency):
        field, rule = "store.unreferenced_refund_limit.currency_code", f"must be {store.currency}"
        raise invalid([FieldViolation(field, f"{rule}, was {shown(limit_in)}")])
    changed = replace(store, **changes)
    queries.change_store(transaction, changed)
    if changed.unreferenced_refund_limit_minor != store.unreferenced_refund_limit_minor:
        _limit_returns(transaction, changed)
    return replace(changed, version=version + 1)


def _limit_returns(transaction: Transaction, store: Store) -> None:
    account = store_returns(store.store_id, store.currency)
    try:
        accounts.set_credit_limit(transaction, account, store.unreferenced_refund_limit_minor or 0)
    except accounts.Overdrawn:
        found = accounts.find_account(transaction, account.account_id)
        used = Money(store.currency, -found.posted_minor if found else 0)
        raise Reason.LIMIT_IN_USE(store_id=store.store_id, used=used) from None
