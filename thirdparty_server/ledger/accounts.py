"""Accounts and their balances.

Only accounts with a limit (wallets, a store's returns) keep their balance in their row. The others are summed when
asked for, so that all tills of a store never queue for one row: what is added up already, and the transfers after it.
"""

from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    ScalarSelect,
    bindparam,
    case,
    cast,
    func,
    select,
    tuple_,
    update,
)

from thirdparty_server.errors import Reason
from thirdparty_server.ledger.model import (
    BALANCE_MAX,
    ENDING,
    ISSUED_MAX,
    MOVING,
    Account,
    AccountKind,
    AccountRef,
    Phase,
)
from thirdparty_server.ledger.tables import account_sums, accounts, ledger_progress, transfers
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money
from tillmesh.storage.lists import After, by_key
from tillmesh.storage.records import Records
from tillmesh.storage.statements import Transaction

_ACCOUNTS = Records(Account, accounts)


def _progress(column: Column[int]) -> ColumnElement[int]:
    """How far the transfers are added up; 0 before the first time."""
    return func.coalesce(select(column).scalar_subquery(), 0)


ADDED_UP = tuple_(_progress(ledger_progress.c.through_xact_id), _progress(ledger_progress.c.through_transfer_id))
"""The place of the transfer up to which all are in the sums."""


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


def _sum(minor: Column[int], condition: ColumnElement[bool]) -> ColumnElement[int]:
    """What is added up already; 0 before the first time."""
    return func.coalesce(select(minor).where(condition).scalar_subquery(), 0)


def _since(side: Column[str], minor: ColumnElement[int]) -> ScalarSelect[int]:
    """Sums transfers of one side of an account since they were added up. Reads a range of the index of that side."""
    return (
        select(func.coalesce(func.sum(minor), 0))
        .where(side == accounts.c.account_id, tuple_(transfers.c.xact_id, transfers.c.transfer_id) > ADDED_UP)
        .correlate(accounts)
        .scalar_subquery()
    )


_DEBIT, _CREDIT = transfers.c.debit_account_id, transfers.c.credit_account_id
_MOVED = case((transfers.c.phase.in_(MOVING), transfers.c.amount_minor), else_=0)
_HELD = case(
    (transfers.c.phase == Phase.HOLD, transfers.c.amount_minor),
    (transfers.c.phase.in_(ENDING), -transfers.c.amount_minor),
    else_=0,
)
_OF_ACCOUNT = account_sums.c.account_id == accounts.c.account_id
POSTED_SUM = cast(
    _sum(account_sums.c.posted_minor, _OF_ACCOUNT) + _since(_CREDIT, _MOVED) - _since(_DEBIT, _MOVED), BigInteger
)
HELD_SUM = cast(_sum(account_sums.c.held_minor, _OF_ACCOUNT) + _since(_DEBIT, _HELD), BigInteger)
"""What the transfers of an account come to, for a query of accounts. Joined, PostgreSQL would read all sums."""
IS_KEPT = accounts.c.credit_limit_minor.is_not(None)
_WITH_BALANCE = select(
    accounts.c.account_id,
    accounts.c.kind,
    accounts.c.currency,
    accounts.c.credit_limit_minor,
    accounts.c.held_minor,
    case((IS_KEPT, accounts.c.posted_minor), else_=POSTED_SUM).label("posted_minor"),
)
_FIND_ACCOUNT = _WITH_BALANCE.where(accounts.c.account_id == bindparam("key"))
_NEWEST_ID = select(func.coalesce(func.max(transfers.c.transfer_id), 0)).scalar_subquery()
_ISSUED_BEFORE = select(
    _sum(account_sums.c.posted_minor, account_sums.c.account_id == bindparam("key")).label("posted_minor"),
    (_NEWEST_ID - _progress(ledger_progress.c.through_transfer_id)).label("transfers_since"),
)


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

    Overdrawn if too little would be left; BALANCE_LIMIT_EXCEEDED or LEDGER_LIMIT_EXCEEDED for more money than can be.
    """
    if ref.guarded:
        values = {"key": ref.account_id, "posted": posted, "held": held, "posted_before_max": BALANCE_MAX - posted}
        if transaction.execute(_ADD_TO_BALANCE, values).rowcount != 1:
            if posted > 0:  # what only gains is never overdrawn
                raise Reason.BALANCE_LIMIT_EXCEEDED(account_id=ref.account_id, most=Money(ref.currency, BALANCE_MAX))
            raise Overdrawn(ref.account_id)
    elif ref.kind is AccountKind.EXTERNAL and not _may_issue(transaction, ref.account_id, -posted):
        raise Reason.LEDGER_LIMIT_EXCEEDED(most=Money(ref.currency, ISSUED_MAX))


def _may_issue(transaction: Transaction, account_id: str, minor: int) -> bool:
    """True if that much more may come from outside.

    The sum is read only where the transfers since it was last added up could have used up what was left. Transactions
    that run at once do not see each other: for them there is the other half of what a sum can be.
    """
    before = transaction.execute(_ISSUED_BEFORE, {"key": account_id}).one()
    left_at_least: int = ISSUED_MAX + before["posted_minor"] - before["transfers_since"] * MINOR_UNITS_MAX
    if minor <= left_at_least:
        return True
    found = find_account(transaction, account_id)
    return minor <= ISSUED_MAX + (found.posted_minor if found else 0)
