"""Accounts and deposits: one function for each RPC, each one transaction."""

from thirdparty_server import ledger
from thirdparty_server.errors import Reason
from thirdparty_server.identity_operations import get_identity, get_wallet
from thirdparty_server.model import Account, Deposit, Purpose, external, wallet_owner
from tillmesh.auth.callers import require_payer
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import Connection


def get_account(connection: Connection, account_id: str) -> Account:
    """The account as it is now."""
    require_payer(wallet_owner(account_id))
    account = ledger.find_account(connection, account_id)
    if account is None:
        raise Reason.ACCOUNT_NOT_FOUND(account_id=account_id)
    return account


def create_deposit(connection: Connection, *, deposit_id: str, identity_id: str, amount: Money, now_ms: int) -> Deposit:
    """Puts money from outside into the identity's wallet of its currency."""
    get_identity(connection, identity_id)
    credit = get_wallet(connection, identity_id, amount.currency).account
    debit = external(amount.currency)
    ledger.open_account(connection, debit)
    ledger.transfer(connection, debit, credit, amount, Purpose.DEPOSIT, deposit_id, now_ms)
    return get_deposit(connection, deposit_id)


def get_deposit(connection: Connection, deposit_id: str) -> Deposit:
    """The deposit of that id, which was made."""
    deposit = ledger.find_deposit(connection, deposit_id)
    assert deposit is not None, "what is remembered of a deposit was written with its transfer"
    return deposit
