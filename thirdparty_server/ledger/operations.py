"""Accounts and deposits: one function for each RPC, each one transaction."""

from thirdparty_server.errors import Reason
from thirdparty_server.ledger import accounts, entries
from thirdparty_server.ledger.model import Account, AccountRef, Deposit, Purpose, external, wallet_owner
from tillmesh.auth.callers import require_payer
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import Transaction


def get_account(transaction: Transaction, account_id: str) -> Account:
    """The account as it is now."""
    require_payer(wallet_owner(account_id))
    account = accounts.find_account(transaction, account_id)
    if account is None:
        raise Reason.ACCOUNT_NOT_FOUND(account_id=account_id)
    return account


def create_deposit(
    transaction: Transaction, *, deposit_id: str, credit: AccountRef, amount: Money, now_ms: int
) -> Deposit:
    """Puts money from outside into a wallet's account."""
    debit = external(amount.currency)
    accounts.open_account(transaction, debit)
    entries.transfer(transaction, debit, credit, amount, Purpose.DEPOSIT, deposit_id, now_ms)
    return get_deposit(transaction, deposit_id)


def get_deposit(transaction: Transaction, deposit_id: str) -> Deposit:
    """The deposit of that id, which was made."""
    deposit = entries.find_deposit(transaction, deposit_id)
    assert deposit is not None, "what is remembered of a deposit was written with its transfer"
    return deposit
