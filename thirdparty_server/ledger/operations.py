"""Accounts and deposits: one function for each RPC, each one transaction."""

from collections.abc import Callable

from thirdparty_server.errors import Reason
from thirdparty_server.ledger import accounts, entries
from thirdparty_server.ledger.model import (
    ACCOUNTS,
    Account,
    AccountRef,
    Deposit,
    Entry,
    Purpose,
    Transfer,
    external,
    wallet_owner,
)
from tillmesh.auth.callers import require_payer
from tillmesh.runtime.errors import found
from tillmesh.storage.batches import takes_turns
from tillmesh.storage.lists import After
from tillmesh.storage.statements import Transaction

FindAccount = Callable[[Transaction, str, str], AccountRef]
"""The account of an identity's wallet in a currency; it refuses what there is not."""


def get_account(transaction: Transaction, account_id: str) -> Account:
    """The account as it is now."""
    require_payer(wallet_owner(account_id))
    return found(accounts.find_account(transaction, account_id), Reason.ACCOUNT_NOT_FOUND, account_id=account_id)


def list_entries(transaction: Transaction, account_id: str, after: After, at_most: int) -> list[Entry]:
    """The account's statement, oldest first."""
    get_account(transaction, account_id)
    return entries.list_entries(transaction, account_id, after, at_most)


@takes_turns(ACCOUNTS)
def create_deposit(transaction: Transaction, deposit: Deposit, wallet_account: FindAccount) -> Deposit:
    """Puts money from outside into a wallet's account."""
    amount = deposit.amount
    debit, credit = external(amount.currency), wallet_account(transaction, deposit.identity_id, amount.currency)
    accounts.open_account(transaction, debit)
    moved = Transfer(debit, credit, amount, Purpose.DEPOSIT, deposit.deposit_id)
    entries.transfer(transaction, moved, deposit.created_at_ms)
    return deposit
