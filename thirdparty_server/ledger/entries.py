"""Transfers between accounts, in integer minor units; each function runs inside the caller's transaction.

What is held first is a HOLD, which exactly one POST or VOID of the same amount ends.
"""

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, bindparam, case, insert, select, union_all

from thirdparty_server.ledger.accounts import change_balance
from thirdparty_server.ledger.model import Deposit, Entry, Phase, Purpose, Transfer, wallet_owner
from thirdparty_server.ledger.tables import transfers
from tillmesh.auth.callers import actor
from tillmesh.runtime.money import Money
from tillmesh.storage.lists import After
from tillmesh.storage.records import AMOUNT, Records
from tillmesh.storage.statements import Transaction

_ENTRIES = Records(Entry, transfers, parts={"amount": AMOUNT})
_INSERT_TRANSFER = insert(transfers).returning(transfers.c.transfer_id)
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


_GAINS = transfers.c.credit_account_id == bindparam("key")
_LIST_ENTRIES = (
    transfers_of_account()
    .with_only_columns(
        transfers.c.transfer_id,
        transfers.c.phase,
        transfers.c.purpose,
        transfers.c.reference,
        case((_GAINS, transfers.c.debit_account_id), else_=transfers.c.credit_account_id).label(
            "counterparty_account_id"
        ),
        transfers.c.currency,
        case((_GAINS, transfers.c.amount_minor), else_=-transfers.c.amount_minor).label("amount_minor"),
        transfers.c.actor,
        transfers.c.at_ms,
    )
    .order_by(transfers.c.transfer_id)
)


def transfer(transaction: Transaction, what: Transfer, now_ms: int) -> None:
    """Moves money at once; Overdrawn if the debited account has not got it."""
    change_balance(transaction, what.debit, posted=-what.amount.minor)
    change_balance(transaction, what.credit, posted=what.amount.minor)
    _write(transaction, Phase.SINGLE, what, now_ms)


def hold(transaction: Transaction, what: Transfer, now_ms: int) -> int:
    """Sets money aside; returns the hold to post or void. Overdrawn if it is not there.

    A hold has no time-out of its own (rule 7).
    """
    change_balance(transaction, what.debit, held=what.amount.minor)
    return _write(transaction, Phase.HOLD, what, now_ms)


def post(transaction: Transaction, what: Transfer, hold_id: int, now_ms: int) -> None:
    """Moves what a hold held. The database refuses anything else than was held."""
    _write(transaction, Phase.POST, what, now_ms, hold_id)
    change_balance(transaction, what.debit, posted=-what.amount.minor, held=-what.amount.minor)
    change_balance(transaction, what.credit, posted=what.amount.minor)


def void(transaction: Transaction, what: Transfer, hold_id: int, now_ms: int) -> None:
    """Gives a hold back. The database refuses anything else than was held."""
    _write(transaction, Phase.VOID, what, now_ms, hold_id)
    change_balance(transaction, what.debit, held=-what.amount.minor)


def list_entries(transaction: Transaction, account_id: str, after: After, at_most: int) -> list[Entry]:
    """An account's statement, oldest first."""
    wanted = {"key": account_id, "after_id": after[0] if after else 0, "at_most": at_most}
    return [_ENTRIES.of(row) for row in transaction.execute(_LIST_ENTRIES, wanted)]


def get_deposit(transaction: Transaction, deposit_id: str) -> Deposit:
    """The deposit of that id, which was made: it is a transfer."""
    row = transaction.execute(_FIND_DEPOSIT, {"key": deposit_id}).one()
    identity_id = wallet_owner(row["credit_account_id"])
    assert identity_id is not None, "a deposit goes into a wallet"
    return Deposit(deposit_id, identity_id, Money(row["currency"], row["amount_minor"]), row["actor"], row["at_ms"])


def _write(transaction: Transaction, phase: Phase, what: Transfer, now_ms: int, hold_id: int | None = None) -> int:
    values = {
        "phase": phase,
        "debit_account_id": what.debit.account_id,
        "credit_account_id": what.credit.account_id,
        "currency": what.amount.currency,
        "amount_minor": what.amount.minor,
        "hold_id": hold_id,
        "purpose": what.purpose,
        "reference": what.reference,
        "actor": actor(),
        "at_ms": now_ms,
    }
    return int(transaction.execute(_INSERT_TRANSFER, values).scalar_one())
