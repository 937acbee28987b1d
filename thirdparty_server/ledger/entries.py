"""Transfers between accounts, in integer minor units; each function runs inside the caller's transaction.

What is held first is a HOLD, which exactly one POST or VOID of the same amount ends.
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, bindparam, insert, select, union_all

from thirdparty_server.ledger.accounts import change_balance
from thirdparty_server.ledger.model import AccountRef, Deposit, Entry, Phase, Purpose, wallet_owner
from thirdparty_server.ledger.tables import transfers
from tillmesh.auth.callers import actor
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import Transaction

_INSERT_TRANSFER = insert(transfers).returning(transfers.c.transfer_id)
_FIND_TRANSFER = select(transfers).where(transfers.c.transfer_id == bindparam("key"))
_FIND_DEPOSIT = select(transfers).where(
    transfers.c.purpose == Purpose.DEPOSIT, transfers.c.reference == bindparam("key"), transfers.c.phase == Phase.SINGLE
)


def transfers_of_account(*conditions: ColumnElement[bool]) -> Select[Any]:
    """The next transfers of an account after an id.

    Their ids are a range of each side's index: nothing else is read to find them, however many there are.
    """
    sides = [
        _first(transfers, side == bindparam("key"), transfers.c.transfer_id > bindparam("after_id"), *conditions)
        for side in (transfers.c.debit_account_id, transfers.c.credit_account_id)
    ]
    both = union_all(*(select(side.subquery()) for side in sides)).subquery()
    return select(transfers).where(transfers.c.transfer_id.in_(_first(both)))


def _first(rows: FromClause, *conditions: ColumnElement[bool]) -> Select[int]:
    """The smallest transfer ids."""
    return select(rows.c.transfer_id).where(*conditions).order_by(rows.c.transfer_id).limit(bindparam("at_most"))


_LIST_ENTRIES = transfers_of_account().order_by(transfers.c.transfer_id)


def transfer(
    transaction: Transaction,
    debit: AccountRef,
    credit: AccountRef,
    amount: Money,
    purpose: Purpose,
    reference: str,
    now_ms: int,
) -> None:
    """Moves money at once; Overdrawn if the debited account has not got it."""
    change_balance(transaction, debit, posted=-amount.minor)
    change_balance(transaction, credit, posted=amount.minor)
    _write(transaction, Phase.SINGLE, debit.account_id, credit.account_id, amount, purpose, reference, now_ms)


def hold(
    transaction: Transaction,
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
    change_balance(transaction, debit, held=amount.minor)
    return _write(transaction, Phase.HOLD, debit.account_id, credit.account_id, amount, purpose, reference, now_ms)


def post(transaction: Transaction, hold_id: int, debit: AccountRef, credit: AccountRef, now_ms: int) -> None:
    """Moves what a hold held."""
    amount = _end_hold(transaction, hold_id, Phase.POST, now_ms)
    change_balance(transaction, debit, posted=-amount.minor, held=-amount.minor)
    change_balance(transaction, credit, posted=amount.minor)


def void(transaction: Transaction, hold_id: int, debit: AccountRef, now_ms: int) -> None:
    """Gives a hold back."""
    amount = _end_hold(transaction, hold_id, Phase.VOID, now_ms)
    change_balance(transaction, debit, held=-amount.minor)


def list_entries(transaction: Transaction, account_id: str, after_id: int, at_most: int) -> list[Entry]:
    """An account's statement, oldest first."""
    entries = []
    for row in transaction.execute(_LIST_ENTRIES, {"key": account_id, "after_id": after_id, "at_most": at_most}):
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


def find_deposit(transaction: Transaction, deposit_id: str) -> Deposit | None:
    """The deposit of that id, which is a transfer."""
    row = transaction.execute(_FIND_DEPOSIT, {"key": deposit_id}).one_or_none()
    if row is None:
        return None
    identity_id = wallet_owner(row["credit_account_id"])
    assert identity_id is not None, "a deposit goes into a wallet"
    return Deposit(deposit_id, identity_id, Money(row["currency"], row["amount_minor"]), row["actor"], row["at_ms"])


def _end_hold(transaction: Transaction, hold_id: int, phase: Phase, now_ms: int) -> Money:
    row = transaction.execute(_FIND_TRANSFER, {"key": hold_id}).one()
    amount = Money(row["currency"], row["amount_minor"])
    debit, credit, purpose = row["debit_account_id"], row["credit_account_id"], Purpose(row["purpose"])
    _write(transaction, phase, debit, credit, amount, purpose, row["reference"], now_ms, hold_id)
    return amount


def _write(
    transaction: Transaction,
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
    return int(transaction.execute(_INSERT_TRANSFER, values).scalar_one())
