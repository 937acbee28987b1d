"""Identities, deposits, limits and refunds: one function for each RPC, each one transaction."""

from dataclasses import replace

from thirdparty_server import ledger, operations, payer_store, store
from thirdparty_server.errors import Reason
from thirdparty_server.model import (
    Account,
    AccountRef,
    Identity,
    Purpose,
    Refund,
    external,
    store_returns,
    wallet,
    wallet_owner,
)
from tillmesh.runtime.callers import require_payer, require_store
from tillmesh.runtime.fields import Fields
from tillmesh.runtime.money import Money
from tillmesh.runtime.statements import Connection


def create_identity(connection: Connection, identity: Identity) -> Identity:
    """Registers an identity and opens its bound account."""
    taken = store.find_identity(connection, identity.identity_id)
    if taken or payer_store.find_reference(connection, identity.identity_id):
        raise Reason.IDENTITY_EXISTS(identity_id=identity.identity_id)
    ledger.open_account(connection, wallet(identity.identity_id, identity.currency))
    store.insert_identity(connection, identity)
    return identity


def get_identity(connection: Connection, identity_id: str) -> Identity:
    """The identity as it is now."""
    require_payer(identity_id)
    identity = store.find_identity(connection, identity_id)
    if identity is None:
        raise Reason.IDENTITY_NOT_FOUND(identity_id=identity_id)
    return identity


def update_identity(
    connection: Connection,
    *,
    identity_id: str,
    display_name: str,
    instant_limit: Money | None,
    instant_count_max: int | None,
) -> Identity:
    """Replaces display name and instant limits."""
    identity = get_identity(connection, identity_id)
    if instant_limit:
        _require_currency(wallet(identity_id, identity.currency), instant_limit)
    limit_minor = instant_limit.minor if instant_limit else None
    changed = replace(
        identity, display_name=display_name, instant_limit_minor=limit_minor, instant_count_max=instant_count_max
    )
    store.change_identity(connection, changed)
    return changed


def get_account(connection: Connection, account_id: str) -> Account:
    """The account as it is now."""
    require_payer(wallet_owner(account_id))
    account = ledger.find_account(connection, account_id)
    if account is None:
        raise Reason.ACCOUNT_NOT_FOUND(account_id=account_id)
    return account


def create_deposit(connection: Connection, *, request_id: str, identity_id: str, amount: Money, now_ms: int) -> Account:
    """Puts money from outside into a wallet."""
    identity = get_identity(connection, identity_id)
    credit = wallet(identity_id, identity.currency)
    _require_currency(credit, amount)
    debit = external(identity.currency)
    ledger.open_account(connection, debit)
    ledger.transfer(connection, debit, credit, amount, Purpose.DEPOSIT, request_id, now_ms)
    return get_account(connection, credit.account_id)


def set_return_limit(connection: Connection, *, store_id: str, limit: Money) -> Account:
    """Sets how much a store may give back for returns without their sale."""
    ref = store_returns(store_id, limit.currency)
    ledger.open_account(connection, ref)
    used = Money(limit.currency, -get_account(connection, ref.account_id).posted_minor)
    if limit.minor < used.minor:
        raise Reason.LIMIT_IN_USE(store_id=store_id, used=used)
    ledger.set_credit_limit(connection, ref, limit.minor)
    return get_account(connection, ref.account_id)


def create_refund(connection: Connection, *, refund: Refund, everything: bool, now_ms: int) -> Refund:
    """Gives money back for a payment; `everything` takes what is left of it as the amount."""
    payment = operations.take_payment(connection, refund.payment_id)
    fields = Fields()
    fields.require(refund.store_id in ("", payment.store_id), "store_id", f"must be {payment.store_id} or empty")
    fields.require(refund.payer_id in ("", payment.payer_id), "payer_id", f"must be {payment.payer_id} or empty")
    fields.check()
    if everything:
        left_minor = payment.amount.minor - payment.refunded_minor
        refund = replace(refund, amount=Money(payment.amount.currency, left_minor))
    refund = replace(refund, store_id=payment.store_id, payer_id=payment.payer_id)
    operations.refund_payment(connection, payment, refund_id=refund.refund_id, amount=refund.amount, now_ms=now_ms)
    store.insert_refund(connection, refund)
    return refund


def create_return(connection: Connection, *, refund: Refund, default_limit_minor: int, now_ms: int) -> Refund:
    """Gives money back without a sale, from the store's account within the store's limit."""
    require_store(refund.store_id)
    identity = get_identity(connection, refund.payer_id)
    credit = wallet(refund.payer_id, identity.currency)
    _require_currency(credit, refund.amount)
    debit = store_returns(refund.store_id, identity.currency)
    ledger.open_account(connection, debit, default_limit_minor)
    try:
        ledger.transfer(connection, debit, credit, refund.amount, Purpose.RETURN, refund.refund_id, now_ms)
    except ledger.Overdrawn:
        left = get_account(connection, debit.account_id).left
        raise Reason.RETURN_LIMIT_EXCEEDED(store_id=refund.store_id, left=left, wanted=refund.amount) from None
    store.insert_refund(connection, refund)
    return refund


def get_refund(connection: Connection, refund_id: str) -> Refund:
    """The refund of that id."""
    refund = store.find_refund(connection, refund_id)
    require_store(refund.store_id if refund else None)
    if refund is None:
        raise Reason.REFUND_NOT_FOUND(refund_id=refund_id)
    return refund


def _require_currency(account: AccountRef, amount: Money) -> None:
    if account.currency != amount.currency:
        raise Reason.CURRENCY_MISMATCH(account_id=account.account_id, currency=account.currency, wanted=amount.currency)
