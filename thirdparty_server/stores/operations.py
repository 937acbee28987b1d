"""Stores' records: one function for each RPC, each one transaction."""

from thirdparty_server.errors import Reason
from thirdparty_server.ledger import accounts
from thirdparty_server.ledger.model import store_returns
from thirdparty_server.stores import queries
from thirdparty_server.stores.model import Store
from thirdparty_server.updates import Update
from tillmesh.auth.callers import require_store
from tillmesh.rpc.fields import shown
from tillmesh.runtime.errors import FieldViolation, found, invalid
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import Transaction


def create_store(transaction: Transaction, store: Store) -> Store:
    """Records a store, and opens the account of what it gives back without a sale."""
    queries.STORES.insert(transaction, store)
    accounts.open_account(transaction, store_returns(store.store_id, store.currency), _limit_minor(store))
    return store


def get_store(transaction: Transaction, store_id: str) -> Store:
    """The record of a store as it is now."""
    require_store(store_id)
    return found(queries.STORES.find(transaction, store_id), Reason.STORE_NOT_FOUND, store_id=store_id)


def update_store(transaction: Transaction, store_id: str, update: Update) -> Store:
    """Changes the record of a store; its limit must be in its currency."""
    store = get_store(transaction, store_id)
    changed = update.of(f"Store {store_id}", store)
    limit = changed.unreferenced_refund_limit
    if limit and limit.currency != store.currency:
        field, rule = "store.unreferenced_refund_limit.currency_code", f"must be {store.currency}"
        raise invalid([FieldViolation(field, f"{rule}, was {shown(limit.currency)}")])
    if limit != store.unreferenced_refund_limit:
        _limit_returns(transaction, changed)
    queries.STORES.change(transaction, store, changed)
    return changed


def _limit_returns(transaction: Transaction, store: Store) -> None:
    account = store_returns(store.store_id, store.currency)
    try:
        accounts.set_credit_limit(transaction, account, _limit_minor(store))
    except accounts.Overdrawn:
        found = accounts.find_account(transaction, account.account_id)
        used = Money(store.currency, -found.posted_minor if found else 0)
        raise Reason.LIMIT_IN_USE(store_id=store.store_id, used=used) from None


def _limit_minor(store: Store) -> int:
    return store.unreferenced_refund_limit.minor if store.unreferenced_refund_limit else 0
