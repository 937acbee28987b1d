"""Identities, wallets, PINs, phones and sessions: each function is one transaction, or a part of one."""

import secrets
from dataclasses import replace

from thirdparty_server.errors import Reason
from thirdparty_server.ledger import accounts
from thirdparty_server.ledger.model import AccountRef
from thirdparty_server.payers import queries
from thirdparty_server.payers.model import Identity, Phone, PinTry, Wallet
from thirdparty_server.payers.pin_counting import require_same_pin
from thirdparty_server.payers.vault import token_hash
from thirdparty_server.updates import Update
from tillmesh import paycode
from tillmesh.auth.callers import require_payer
from tillmesh.runtime.errors import CommonReason, found
from tillmesh.runtime.secret import Secret
from tillmesh.storage.statements import Transaction


def set_pin(transaction: Transaction, identity_id: str, pin_hash: str) -> Identity:
    """Sets the PIN, unlocks it and ends all sessions."""
    identity = get_identity(transaction, identity_id)
    queries.set_pin(transaction, identity_id, pin_hash)
    return identity


# Phones and sessions.
def bind_phone(transaction: Transaction, request_id: str, identity_id: str, phone_uri: str, now_ms: int) -> Phone:
    """Binds a phone to an identity, with a new key and nobody signed in."""
    get_identity(transaction, identity_id)
    bound = queries.PHONES.find(transaction, phone_uri)
    if bound and bound.identity_id != identity_id:
        raise Reason.PHONE_BOUND(phone_uri=phone_uri)
    queries.delete_phone(transaction, phone_uri)
    phone = Phone(phone_uri, identity_id, _new_handle(transaction), request_id, now_ms)
    queries.PHONES.insert(transaction, phone)
    return phone


def get_phone(transaction: Transaction, phone_uri: str, identity_id: str) -> Phone:
    """The phone as it is bound to that identity now."""
    phone = queries.PHONES.find(transaction, phone_uri)
    own = phone if phone and phone.identity_id == identity_id else None
    return found(own, Reason.PHONE_NOT_FOUND, phone_uri=phone_uri)


def unbind_phone(transaction: Transaction, phone_uri: str) -> None:
    """Ends what a phone may do."""
    found(queries.PHONES.find(transaction, phone_uri), Reason.PHONE_NOT_FOUND, phone_uri=phone_uri)
    queries.delete_phone(transaction, phone_uri)


def renew_key(transaction: Transaction, request_id: str, phone_uri: str) -> Phone:
    """Gives the phone of a signed-in payer a new key, whose codes are neither used nor locked."""
    phone = replace(bound_phone(transaction, phone_uri), handle=_new_handle(transaction), key_id=request_id)
    queries.change_key(transaction, phone)
    return phone


def sign_in(transaction: Transaction, phone_uri: str, pin_try: PinTry, token: Secret, expires_at_ms: int) -> Identity:
    """Starts a session, unless PIN or phone are no longer what was tried."""
    require_same_pin(transaction, pin_try)
    if not queries.start_session(transaction, phone_uri, pin_try.identity_id, token_hash(token), expires_at_ms):
        raise Reason.PHONE_NOT_BOUND(phone_uri=phone_uri)
    identity = queries.IDENTITIES.find(transaction, pin_try.identity_id)
    assert identity is not None, "a phone is bound to an identity"
    return identity


def signed_in(transaction: Transaction, phone_uri: str, token: Secret, now_ms: int) -> str:
    """The identity that the token of this phone stands for."""
    identity_id = queries.find_session(transaction, phone_uri, token_hash(token), now_ms)
    return found(identity_id, CommonReason.SIGN_IN_REQUIRED)


def bound_phone(transaction: Transaction, phone_uri: str) -> Phone:
    """The phone, which must be bound to somebody."""
    return found(queries.PHONES.find(transaction, phone_uri), Reason.PHONE_NOT_BOUND, phone_uri=phone_uri)


def _new_handle(transaction: Transaction) -> str:
    while True:
        handle = f"{secrets.randbelow(10**paycode.HANDLE_DIGITS):0{paycode.HANDLE_DIGITS}}"
        if queries.find_phone_of_handle(transaction, handle) is None:
            return handle


# Identities and wallets.
def create_identity(transaction: Transaction, identity: Identity, first: Wallet) -> Identity:
    """Registers an identity and opens its first wallet."""
    queries.IDENTITIES.insert(transaction, identity)
    open_wallet(transaction, first)
    return identity


def get_identity(transaction: Transaction, identity_id: str) -> Identity:
    """The identity as it is now."""
    require_payer(identity_id)
    identity = queries.IDENTITIES.find(transaction, identity_id)
    return found(identity, Reason.IDENTITY_NOT_FOUND, identity_id=identity_id)


def update_identity(transaction: Transaction, identity_id: str, update: Update) -> Identity:
    """Changes an identity."""
    identity = get_identity(transaction, identity_id)
    changed = update.of(f"Identity {identity_id}", identity)
    queries.IDENTITIES.change(transaction, identity, changed)
    return changed


def open_wallet(transaction: Transaction, wallet: Wallet) -> Wallet:
    """Opens a wallet in a currency in which the identity has none."""
    identity_id, currency = wallet.identity_id, wallet.currency
    get_identity(transaction, identity_id)
    if queries.WALLETS.find(transaction, identity_id, currency):
        raise Reason.WALLET_EXISTS(identity_id=identity_id, currency=currency)
    accounts.open_account(transaction, wallet.account)
    queries.WALLETS.insert(transaction, wallet)
    return wallet


def get_wallet(transaction: Transaction, identity_id: str, currency: str) -> Wallet:
    """The identity's wallet in that currency as it is now."""
    require_payer(identity_id)
    wallet = queries.WALLETS.find(transaction, identity_id, currency)
    return found(wallet, Reason.WALLET_NOT_FOUND, identity_id=identity_id, currency=currency)


def wallet_account(transaction: Transaction, identity_id: str, currency: str) -> AccountRef:
    """The account of the identity's wallet in that currency."""
    get_identity(transaction, identity_id)
    return get_wallet(transaction, identity_id, currency).account


def update_wallet(transaction: Transaction, identity_id: str, currency: str, update: Update) -> Wallet:
    """Changes the limits of a wallet."""
    wallet = get_wallet(transaction, identity_id, currency)
    changed = update.of(f"Wallet {wallet.account.account_id}", wallet)
    queries.WALLETS.change(transaction, wallet, changed)
    return changed
