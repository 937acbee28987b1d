"""Transfers between accounts, in integer minor units; each function runs inside the caller's transaction.

What is held first is a HOLD, which exactly one POST or VOID of the same amount ends.
"""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, case, insert, select, tuple_, union_all

from thirdparty_server.ledger.accounts import change_balance
from thirdparty_server.ledger.model import Deposit, Entry, Phase, Purpose, Transfer, wallet_owner
from thirdparty_server.ledger.tables import transfers
from tillmesh.auth.callers import actor
from tillmesh.runtime.money import Money
from tillmesh.storage.lists import After
from tillmesh.storage.records import AMOUNT, Records
from tillmesh.storage.row_order import is_settled
from tillmesh.storage.statements import Transaction

_ENTRIES = Records(Entry, transfers, parts={"amount": AMOUNT})
_DEBIT, _CREDIT = transfers.c.debit_account_id, transfers.c.credit_account_id
_INSERT_TRANSFER = insert(transfers).returning(transfers.c.transfer_id)
_FIND_DEPOSIT = select(transfers).where(
    transfers.c.purpose == Purpose.DEPOSIT, transfers.c.reference == bindparam("key"), transfers.c.phase == Phase.SINGLE
)


_ORDER = transfers.c.xact_id, transfers.c.transfer_id
AFTER = tuple_(bindparam("after_xact_id", type_=BigInteger), bindparam("after_transfer_id", type_=BigInteger))
"""The place of a transfer, to read on from."""


def next_transfers(*conditions: ColumnElement[bool]) -> Select[Any]:
    """The places of the settled transfers that follow one: a range of an index, however many there are."""
    following = select(*_ORDER).where(*conditions, tuple_(*_ORDER) > AFTER, is_settled(transfers))
    return following.order_by(*_ORDER).limit(bindparam("at_most"))


def _next_of_account() -> Select[Any]:
    """The ids of the next transfers of an account, from the next of each of its sides."""
    sides = [next_transfers(side == bindparam("key")) for side in (_DEBIT, _CREDIT)]
    both = union_all(*(select(side.subquery()) for side in sides)).subquery()
    return select(both.c.transfer_id).order_by(both.c.xact_id, both.c.transfer_id).limit(bindparam("at_most"))


_GAINS = bindparam("key") == _CREDIT
_LIST_ENTRIES = (
    select(
        *_ORDER,
        transfers.c.phase,
        transfers.c.purpose,
        transfers.c.reference,
        case((_GAINS, _DEBIT), else_=_CREDIT).label("counterparty_account_id"),
        transfers.c.currency,
        case((_GAINS, transfers.c.amount_minor), else_=-transfers.c.amount_minor).label("amount_minor"),
        transfers.c.actor,
        transfers.c.at_ms,
    )
    .where(transfers.c.transfer_id.in_(_next_of_account()))
    .order_by(*_ORDER)
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
    """An account's statement, oldest first: what is settled of it."""
    xact_id, transfer_id = after or (0, 0)
    wanted = {"key": account_id, "after_xact_id": xact_id, "after_transfer_id": transfer_id, "at_most": at_most}
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
