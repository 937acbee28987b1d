"""Accounts and their balances.

Only accounts with a limit (wallets, a store's returns) keep their balance in their row. The others are summed when
asked for, so that all tills of a store never queue for one row: a roll-up, and the transfers after it.
"""

from collections.abc import Iterable

from sqlalchemy import BigInteger, Column, ScalarSelect, bindparam, case, cast, func, select, update

from thirdparty_server.errors import Reason
from thirdparty_server.ledger.model import BALANCE_MAX, MOVING, Account, AccountRef
from thirdparty_server.ledger.tables import account_sums, accounts, transfers
from tillmesh.runtime.money import Money
from tillmesh.storage.lists import After, by_key
from tillmesh.storage.records import Records
from tillmesh.storage.statements import Transaction

_ACCOUNTS = Records(Account, accounts)


class Overdrawn(Exception):
    """A guarded account would be below its limit; nothing was written."""


_SET_LIMIT = (
    update(accounts)
    .where(
        accounts.c.account_id == bindparam("key"),
        accounts.c.posted_minor - accounts.c.held_minor >= -bindparam("limit_minor", type_=BigInteger),
    )
    .values(credit_limit_minor=bindparam("limit_minor", type_=BigInteger))
)
_ADD_TO_BALANCE = (
    update(accounts)
    .where(
        accounts.c.account_id == bindparam("key"),
        accounts.c.posted_minor + bindparam("posted") - accounts.c.held_minor - bindparam("held")
        >= -accounts.c.credit_limit_minor,
        # In this order nothing here leaves the range of an integer, which PostgreSQL refuses and SQLite rounds.
        accounts.c.posted_minor <= bindparam("posted_before_max", type_=BigInteger),
    )
    .values(
        posted_minor=accounts.c.posted_minor + bindparam("posted"),
        held_minor=accounts.c.held_minor + bindparam("held"),
    )
)


def _since_roll_up(side: Column[str]) -> ScalarSelect[int]:
    """Sums one side of an account's transfers since its roll-up. Reads a range of the index of that side."""
    return (
        select(func.coalesce(func.sum(transfers.c.amount_minor), 0))
        .where(
            side == accounts.c.account_id,
            transfers.c.transfer_id > func.coalesce(account_sums.c.through_transfer_id, 0),
            transfers.c.phase.in_(MOVING),
        )
        .correlate(accounts, account_sums)
        .scalar_subquery()
    )


_SUMMED = (
    func.coalesce(account_sums.c.posted_minor, 0)
    + _since_roll_up(transfers.c.credit_account_id)
    - _since_roll_up(transfers.c.debit_account_id)
)
_KEPT = accounts.c.credit_limit_minor.is_not(None)
_WITH_BALANCE = select(
    accounts.c.account_id,
    accounts.c.kind,
    accounts.c.currency,
    accounts.c.credit_limit_minor,
    accounts.c.held_minor,
    case((_KEPT, accounts.c.posted_minor), else_=cast(_SUMMED, BigInteger)).label("posted_minor"),
).select_from(accounts.outerjoin(account_sums))
_FIND_ACCOUNT = _WITH_BALANCE.where(accounts.c.account_id == bindparam("key"))


def open_account(transaction: Transaction, ref: AccountRef, credit_limit_minor: int = 0) -> None:
    """Opens an account unless it is open; the limit is for guarded ones only."""
    if _ACCOUNTS.find(transaction, ref.account_id) is None:
        limit_minor = credit_limit_minor if ref.guarded else None
        _ACCOUNTS.insert(transaction, Account(ref.account_id, ref.kind, ref.currency, limit_minor))


def find_account(transaction: Transaction, account_id: str) -> Account | None:
    """An account with its balance as it is now."""
    row = transaction.execute(_FIND_ACCOUNT, {"key": account_id}).one_or_none()
    return None if row is None else _ACCOUNTS.of(row)


def set_credit_limit(transaction: Transaction, ref: AccountRef, limit_minor: int) -> None:
    """Changes how far below zero a guarded account may go; Overdrawn if it is further below already."""
    if transaction.execute(_SET_LIMIT, {"key": ref.account_id, "limit_minor": limit_minor}).rowcount != 1:
        raise Overdrawn(ref.account_id)


def take_accounts(transaction: Transaction, refs: Iterable[AccountRef]) -> None:
    """Locks accounts in the order of their ids, for a transaction that changes several."""
    ids = sorted({ref.account_id for ref in refs})
    query = select(accounts.c.account_id).where(accounts.c.account_id.in_(ids)).order_by(accounts.c.account_id)
    transaction.execute(query.with_for_update())


def list_accounts(transaction: Transaction, after: After, at_most: int) -> list[Account]:
    """Accounts by id, those after the given one."""
    query = by_key(_WITH_BALANCE, accounts.c.account_id, after, at_most)
    return [_ACCOUNTS.of(row) for row in transaction.execute(query)]


def change_balance(transaction: Transaction, ref: AccountRef, posted: int = 0, held: int = 0) -> None:
    """Changes a kept balance, within its limit, in one conditional update.

    Overdrawn if too little would be left; BALANCE_LIMIT_EXCEEDED for money that would be more than a balance can be.
    """
    if ref.guarded:
        values = {"key": ref.account_id, "posted": posted, "held": held, "posted_before_max": BALANCE_MAX - posted}
        if transaction.execute(_ADD_TO_BALANCE, values).rowcount != 1:
            if posted > 0:  # what only gains is never overdrawn
                raise Reason.BALANCE_LIMIT_EXCEEDED(account_id=ref.account_id, most=Money(ref.currency, BALANCE_MAX))
            raise Overdrawn(ref.account_id)
