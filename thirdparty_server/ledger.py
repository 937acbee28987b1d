"""A double-entry ledger in integer minor units; each function runs inside the caller's transaction.

What is held first is a HOLD, which exactly one POST or VOID of the same amount
ends. Only accounts with a limit (wallets, a store's returns) keep their balance
in their row. The others are summed when asked for, so that all tills of a store
never queue for one row: a roll-up, which roll_ups.py brings forward, and the
transfers after it.
"""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    ScalarSelect,
    Select,
    bindparam,
    case,
    func,
    insert,
    select,
    union_all,
    update,
)

from thirdparty_server.model import (
    Account,
    AccountKind,
    AccountRef,
    Deposit,
    Entry,
    Phase,
    Purpose,
    wallet_owner,
)
from thirdparty_server.tables import account_sums, accounts, transfers
from tillmesh.auth.callers import actor
from tillmesh.runtime.money import Money
from tillmesh.storage.database import require_one_row
from tillmesh.storage.statements import Connection, Row

MOVING = (Phase.SINGLE, Phase.POST)
ENDING = (Phase.POST, Phase.VOID)
"""Phases that move money, and those that end a hold."""
_DEBIT, _CREDIT = transfers.c.debit_account_id, transfers.c.credit_account_id


class Overdrawn(Exception):
    """A guarded account would be below its limit; nothing was written."""


_IS_OPEN = select(accounts.c.account_id).where(accounts.c.account_id == bindparam("key"))
_INSERT_ACCOUNT = insert(accounts)
_INSERT_TRANSFER = insert(transfers).returning(transfers.c.transfer_id)
_FIND_TRANSFER = select(transfers).where(transfers.c.transfer_id == bindparam("key"))
_FIND_DEPOSIT = select(transfers).where(
    transfers.c.purpose == Purpose.DEPOSIT, transfers.c.reference == bindparam("key"), transfers.c.phase == Phase.SINGLE
)
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


_SUMMED = func.coalesce(account_sums.c.posted_minor, 0) + _since_roll_up(_CREDIT) - _since_roll_up(_DEBIT)
_ACCOUNTS = select(
    accounts.c.account_id,
    accounts.c.kind,
    accounts.c.currency,
    accounts.c.credit_limit_minor,
    accounts.c.held_minor,
    case((accounts.c.credit_limit_minor.is_not(None), accounts.c.posted_minor), else_=_SUMMED).label("posted_minor"),
).select_from(accounts.outerjoin(account_sums))
_FIND_ACCOUNT = _ACCOUNTS.where(accounts.c.account_id == bindparam("key"))
_LIST_ACCOUNTS = (
    _ACCOUNTS.where(accounts.c.account_id > bindparam("after_id"))
    .order_by(accounts.c.account_id)
    .limit(bindparam("at_most"))
)


def _transfers_of_account(*conditions: ColumnElement[bool]) -> Select[Any]:
    """The next transfers of an account after an id.

    Their ids are a range of each side's index: nothing else is read to find them, however many there are.
    """
    sides = [
        _first(transfers, side == bindparam("key"), transfers.c.transfer_id > bindparam("after_id"), *conditions)
        for side in (_DEBIT, _CREDIT)
    ]
    both = union_all(*(select(side.subquery()) for side in sides)).subquery()
    return select(transfers).where(transfers.c.transfer_id.in_(_first(both)))


def _first(rows: FromClause, *conditions: ColumnElement[bool]) -> Select[int]:
    """The smallest transfer ids."""
    return select(rows.c.transfer_id).where(*conditions).order_by(rows.c.transfer_id).limit(bindparam("at_most"))


_LIST_ENTRIES = _transfers_of_account().order_by(transfers.c.transfer_id)
_next = _transfers_of_account(transfers.c.transfer_id <= bindparam("up_to_id")).subquery()
_gain = case((_next.c.credit_account_id == bindparam("key"), 1), else_=-1) * _next.c.amount_minor
_SUM_NEXT = select(
    func.count().label("number"),
    func.max(_next.c.transfer_id).label("through_id"),
    func.sum(case((_next.c.phase.in_(MOVING), _gain), else_=0)).label("minor"),
)
_NEWEST_TRANSFER = select(func.coalesce(func.max(transfers.c.transfer_id), 0))
_LIST_SUMMED = (
    select(accounts.c.account_id)
    .where(accounts.c.credit_limit_minor.is_(None), accounts.c.account_id > bindparam("after_id"))
    .order_by(accounts.c.account_id)
    .limit(bindparam("at_most"))
)
_FIND_ROLL_UP = select(account_sums).where(account_sums.c.account_id == bindparam("key"))
_INSERT_ROLL_UP = insert(account_sums)
_BRING_FORWARD = (
    update(account_sums)
    .where(account_sums.c.account_id == bindparam("key"), account_sums.c.through_transfer_id == bindparam("read_id"))
    .values(through_transfer_id=bindparam("through_id"), posted_minor=account_sums.c.posted_minor + bindparam("minor"))
)


def open_account(connection: Connection, ref: AccountRef, credit_limit_minor: int = 0) -> None:
    """Opens an account unless it is open; the limit is for guarded ones only."""
    if connection.execute(_IS_OPEN, {"key": ref.account_id}).first() is None:
        values = {
            "account_id": ref.account_id,
            "kind": ref.kind,
            "currency": ref.currency,
            "credit_limit_minor": credit_limit_minor if ref.guarded else None,
            "posted_minor": 0,
            "held_minor": 0,
        }
        connection.execute(_INSERT_ACCOUNT, values)


def find_account(connection: Connection, account_id: str) -> Account | None:
    """An account with its balance as it is now."""
    row = connection.execute(_FIND_ACCOUNT, {"key": account_id}).one_or_none()
    return None if row is None else _account(row)


def set_credit_limit(connection: Connection, ref: AccountRef, limit_minor: int) -> None:
    """Changes how far below zero a guarded account may go; Overdrawn if it is further below already."""
    if connection.execute(_SET_LIMIT, {"key": ref.account_id, "limit_minor": limit_minor}).rowcount != 1:
        raise Overdrawn(ref.account_id)


def take_accounts(connection: Connection, refs: Iterable[AccountRef]) -> None:
    """Locks accounts in the order of their ids, for a transaction that changes several."""
    ids = sorted({ref.account_id for ref in refs})
    query = select(accounts.c.account_id).where(accounts.c.account_id.in_(ids)).order_by(accounts.c.account_id)
    connection.execute(query.with_for_update())


def transfer(
    connection: Connection,
    debit: AccountRef,
    credit: AccountRef,
    amount: Money,
    purpose: Purpose,
    reference: str,
    now_ms: int,
) -> None:
    """Moves money at once; Overdrawn if the debited account has not got it."""
    _add(connection, debit, posted=-amount.minor)
    _add(connection, credit, posted=amount.minor)
    _write(connection, Phase.SINGLE, debit.account_id, credit.account_id, amount, purpose, reference, now_ms)


def hold(
    connection: Connection,
    debit: AccountRef,
    credit: AccountRef,
    amount: Money,
    purpose: Purpose,
    reference: str,
    now_ms: int,
) -> int:
    """Sets money aside; returns the hold to post or void. Overdrawn if it is not there.

    A hold has no time-out of its own (rule 7).
    """
    _add(connection, debit, held=amount.minor)
    return _write(connection, Phase.HOLD, debit.account_id, credit.account_id, amount, purpose, reference, now_ms)


def post(connection: Connection, hold_id: int, debit: AccountRef, credit: AccountRef, now_ms: int) -> None:
    """Moves what a hold held."""
    amount = _end_hold(connection, hold_id, Phase.POST, now_ms)
    _add(connection, debit, posted=-amount.minor, held=-amount.minor)
    _add(connection, credit, posted=amount.minor)


def void(connection: Connection, hold_id: int, debit: AccountRef, now_ms: int) -> None:
    """Gives a hold back."""
    amount = _end_hold(connection, hold_id, Phase.VOID, now_ms)
    _add(connection, debit, held=-amount.minor)


def list_accounts(connection: Connection, after_id: str, at_most: int) -> list[Account]:
    """Accounts by id, those after the given one."""
    return [_account(row) for row in connection.execute(_LIST_ACCOUNTS, {"after_id": after_id, "at_most": at_most})]


def list_entries(connection: Connection, account_id: str, after_id: int, at_most: int) -> list[Entry]:
    """An account's statement, oldest first."""
    entries = []
    for row in connection.execute(_LIST_ENTRIES, {"key": account_id, "after_id": after_id, "at_most": at_most}):
        gains = row["credit_account_id"] == account_id
        entry = Entry(
            transfer_id=row["transfer_id"],
            phase=Phase(row["phase"]),
            purpose=Purpose(row["purpose"]),
            reference=row["reference"],
            counterparty_account_id=row["debit_account_id"] if gains else row["credit_account_id"],
            amount=Money(row["currency"], row["amount_minor"] if gains else -row["amount_minor"]),
            actor=row["actor"],
            at_ms=row["at_ms"],
        )
        entries.append(entry)
    return entries


def find_deposit(connection: Connection, deposit_id: str) -> Deposit | None:
    """The deposit of that id, which is a transfer."""
    row = connection.execute(_FIND_DEPOSIT, {"key": deposit_id}).one_or_none()
    if row is None:
        return None
    identity_id = wallet_owner(row["credit_account_id"])
    assert identity_id is not None, "a deposit goes into a wallet"
    return Deposit(deposit_id, identity_id, Money(row["currency"], row["amount_minor"]), row["actor"], row["at_ms"])


def newest_transfer_id(connection: Connection) -> int:
    """The largest id of a transfer so far; 0 before the first."""
    return int(connection.execute(_NEWEST_TRANSFER).scalar_one())


def list_summed_accounts(connection: Connection, after_id: str, at_most: int) -> list[str]:
    """Ids of accounts whose balance is a sum, those after the given one."""
    return list(connection.execute(_LIST_SUMMED, {"after_id": after_id, "at_most": at_most}).scalars())


def roll_up(connection: Connection, account_id: str, *, up_to_id: int, at_least: int, at_most: int) -> int:
    """Adds an account's next transfers, none after `up_to_id`, to its roll-up; returns how many.

    Does nothing for fewer than `at_least`. CONCURRENT_CHANGE if somebody else brought the
    roll-up forward meanwhile. Every transfer up to `up_to_id` must be committed, or it is never counted.
    """
    found = connection.execute(_FIND_ROLL_UP, {"key": account_id}).one_or_none()
    read_id = found["through_transfer_id"] if found else 0
    bounds = {"after_id": read_id, "up_to_id": up_to_id, "at_most": at_most}
    following = connection.execute(_SUM_NEXT, {"key": account_id, **bounds}).one()
    number = int(following["number"])
    if number < at_least:
        return 0
    through_id, minor = following["through_id"], int(following["minor"])
    if found:
        change = {"key": account_id, "read_id": read_id, "through_id": through_id, "minor": minor}
        require_one_row(connection.execute(_BRING_FORWARD, change))
    else:
        first = {"account_id": account_id, "through_transfer_id": through_id, "posted_minor": minor}
        connection.execute(_INSERT_ROLL_UP, first)
    return number


def _account(row: Row) -> Account:
    return Account(
        account_id=row["account_id"],
        kind=AccountKind(row["kind"]),
        currency=row["currency"],
        posted_minor=int(row["posted_minor"]),
        held_minor=row["held_minor"],
        credit_limit_minor=row["credit_limit_minor"],
    )


def _add(connection: Connection, ref: AccountRef, posted: int = 0, held: int = 0) -> None:
    """Changes a kept balance, within its limit, in one conditional update."""
    if ref.guarded:
        changed = connection.execute(_ADD_TO_BALANCE, {"key": ref.account_id, "posted": posted, "held": held})
        if changed.rowcount != 1:
            raise Overdrawn(ref.account_id)


def _end_hold(connection: Connection, hold_id: int, phase: Phase, now_ms: int) -> Money:
    row = connection.execute(_FIND_TRANSFER, {"key": hold_id}).one()
    amount = Money(row["currency"], row["amount_minor"])
    debit, credit, purpose = row["debit_account_id"], row["credit_account_id"], Purpose(row["purpose"])
    _write(connection, phase, debit, credit, amount, purpose, row["reference"], now_ms, hold_id)
    return amount


def _write(
    connection: Connection,
    phase: Phase,
    debit_account_id: str,
    credit_account_id: str,
    amount: Money,
    purpose: Purpose,
    reference: str,
    now_ms: int,
    hold_id: int | None = None,
) -> int:
    values = {
        "phase": phase,
        "debit_account_id": debit_account_id,
        "credit_account_id": credit_account_id,
        "currency": amount.currency,
        "amount_minor": amount.minor,
        "hold_id": hold_id,
        "purpose": purpose,
        "reference": reference,
        "actor": actor(),
        "at_ms": now_ms,
    }
    return int(connection.execute(_INSERT_TRANSFER, values).scalar_one())
