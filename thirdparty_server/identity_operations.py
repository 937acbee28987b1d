"""Identities and wallets: one function for each RPC, each one transaction."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from thirdparty_server import identity_store, ledger
from thirdparty_server.errors import Reason
from thirdparty_server.model import Identity, Wallet
from tillmesh.auth.callers import require_payer
from tillmesh.storage.statements import Connection


def create_identity(connection: Connection, *, identity: Identity, first: Wallet) -> Identity:
    """Registers an identity and opens its first wallet."""
    if identity_store.find_identity(connection, identity.identity_id):
        raise Reason.IDENTITY_EXISTS(identity_id=identity.identity_id)
    identity_store.insert_identity(connection, identity)
    open_wallet(connection, wallet=first)
    return identity


def get_identity(connection: Connection, identity_id: str) -> Identity:
    """The identity as it is now."""
    require_payer(identity_id)
    identity = identity_store.find_identity(connection, identity_id)
    if identity is None:
        raise Reason.IDENTITY_NOT_FOUND(identity_id=identity_id)
    return identity


def update_identity(connection: Connection, *, identity_id: str, version: int, changes: Mapping[str, Any]) -> Identity:
    """Changes what is named in `changes`, if the identity is still at that version."""
    identity = get_identity(connection, identity_id)
    require_version(f"Identity {identity_id}", identity.version, version)
    changed = replace(identity, **changes)
    identity_store.change_identity(connection, changed)
    return replace(changed, version=version + 1)


def open_wallet(connection: Connection, *, wallet: Wallet) -> Wallet:
    """Opens a wallet in a currency in which the identity has none."""
    get_identity(connection, wallet.identity_id)
    if identity_store.find_wallet(connection, wallet.identity_id, wallet.currency):
        raise Reason.WALLET_EXISTS(identity_id=wallet.identity_id, currency=wallet.currency)
    ledger.open_account(connection, wallet.account)
    identity_store.insert_wallet(connection, wallet)
    return wallet


def get_wallet(connection: Connection, identity_id: str, currency: str) -> Wallet:
    """The identity's wallet in that currency as it is now."""
    require_payer(identity_id)
    wallet = identity_store.find_wallet(connection, identity_id, currency)
    if wallet is None:
        raise Reason.WALLET_NOT_FOUND(identity_id=identity_id, currency=currency)
    return wallet


def update_wallet(
    connection: Connection, *, identity_id: str, currency: str, version: int, changes: Mapping[str, Any]
) -> Wallet:
    """Changes what is named in `changes`, if the wallet is still at that version."""
    wallet = get_wallet(connection, identity_id, currency)
    require_version(f"Wallet {wallet.account.account_id}", wallet.version, version)
    changed = replace(wallet, **changes)
    identity_store.change_wallet(connection, changed)
    return replace(changed, version=version + 1)


def require_version(resource: str, version: int, wanted: int) -> None:
    """Raises VERSION_MISMATCH if the caller read another version."""
    if version != wanted:
        raise Reason.VERSION_MISMATCH(resource=resource, version=version, wanted=wanted)
