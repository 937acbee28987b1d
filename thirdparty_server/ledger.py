"""A double-entry ledger in integer minor units; each function runs inside the caller's transaction.

What is held first is a HOLD, which exactly one POST or VOID of the same amount
ends. Only accounts with a limit (wallets, a store's returns) keep their balance
in their row. The others are summed when asked for, so that all tills of a store
never queue for one row.
"""

from collections.abc import Sequence

from sqlalchemy import Column, Select, bindparam, case, func, insert, or_, select, union_all, update

from thirdparty_server.model import Account, AccountKind, AccountRef, Entry, Phase, Purpose, TrialBalance
from thirdparty_server.tables import accounts, transfers
from tillmesh.runtime.money import Money
from tillmesh.runtime.statements import Connection

MOVING = (Phase.SINGLE, Phase.POST)
ENDING = (Phase.POST, Phase.VOID)


class Overdrawn(Exception):
    """A guarded account has not got what was to be taken; nothing was written."""


_FIND_ACCOUNT = select(accounts).where(accounts.c.account_id == bindparam("key"))
_INSERT_ACCOUNT = insert(accounts)
_INSERT_TRANSFER = insert(transfers).returning(transfers.c.transfer_id)
_FIND_TRANSFER = select(transfers).where(transfers.c.transfer_id == bindparam("key"))
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
_GAIN = case((transfers.c.credit_account_id == bindparam("key"), 1), else_=-1) * transfers.c.amount_minor
_SUM_OF_ACCOUNT = select(func.coalesce(func.sum(_GAIN), 0)).where(
    transfers.c.phase.in_(MOVING),
    or_(transfers.c.debit_account_id == bindparam("key"), transfers.c.credit_account_id == bindparam("key")),
)


def open_account(connection: Connection, ref: AccountRef, credit_limit_minor: int = 0) -> None:
    """Opens an account unless it is open; the limit is for guarded ones only."""
    if connection.execute(_FIND_ACCOUNT, {"key": ref.account_id}).first() is None:
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
    if row is None:
        return None
    guarded = row["credit_limit_minor"] is not None
    posted = row["posted_minor"] if guarded else connection.execute(_SUM_OF_ACCOUNT, {"key": account_id}).scalar_one()
    return Account(
        account_id, AccountKind(row["kind"]), row["currency"], int(posted), row["held_minor"], row["credit_limit_minor"]
    )


def set_credit_limit(connection: Connection, ref: AccountRef, limit_minor: int) -> None:
    """Changes how far below zero a guarded account may go; the caller has checked that it is not there yet."""
    change = update(accounts).where(accounts.c.account_id == ref.account_id).values(credit_limit_minor=limit_minor)
    connection.execute(change)


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
    query = select(accounts.c.account_id).where(accounts.c.account_id > after_id)
    ids = connection.execute(query.order_by(accounts.c.account_id).limit(at_most)).scalars()
    return [account for account_id in ids if (account := find_account(connection, account_id))]


def list_entries(connection: Connection, account_id: str, after_id: int, at_most: int) -> list[Entry]:
    """An account's statement, oldest first."""
    query = (
        select(transfers)
        .where(
            or_(transfers.c.debit_account_id == account_id, transfers.c.credit_account_id == account_id),
            transfers.c.transfer_id > after_id,
        )
        .order_by(transfers.c.transfer_id)
        .limit(at_most)
    )
    entries = []
    for row in connection.execute(query):
        gains = row["credit_account_id"] == account_id
        entry = Entry(
            transfer_id=row["transfer_id"],
            phase=Phase(row["phase"]),
            purpose=Purpose(row["purpose"]),
            reference=row["reference"],
            counterparty_account_id=row["debit_account_id"] if gains else row["credit_account_id"],
            amount=Money(row["currency"], row["amount_minor"] if gains else -row["amount_minor"]),
            at_ms=row["at_ms"],
        )
        entries.append(entry)
    return entries


def trial_balances(connection: Connection) -> list[TrialBalance]:
    """Adds up every currency, and compares each kept balance with the sum of its transfers."""
    debit, credit = transfers.c.debit_account_id, transfers.c.credit_account_id
    posted_sums = _sums(connection, _effect(credit, 1, MOVING), _effect(debit, -1, MOVING))
    held_sums = _sums(connection, _effect(debit, 1, [Phase.HOLD]), _effect(debit, -1, ENDING))
    balances: dict[str, TrialBalance] = {}
    for row in connection.execute(select(accounts).order_by(accounts.c.currency, accounts.c.account_id)):
        posted, held = posted_sums.get(row["account_id"], 0), held_sums.get(row["account_id"], 0)
        guarded = row["credit_limit_minor"] is not None
        balance = balances.setdefault(row["currency"], TrialBalance(row["currency"]))
        balance.add(AccountKind(row["kind"]), row["posted_minor"] if guarded else posted, row["held_minor"])
        if guarded and (row["posted_minor"], row["held_minor"]) != (posted, held):
            balance.differing_account_ids.append(row["account_id"])
    return list(balances.values())


def _effect(account: Column[str], sign: int, phases: Sequence[Phase]) -> Select[str, int]:
    """What each transfer of some phases adds to one of its two accounts."""
    minor = (sign * transfers.c.amount_minor).label("minor")
    return select(account.label("account_id"), minor).where(transfers.c.phase.in_(phases))


def _sums(connection: Connection, *effects: Select[str, int]) -> dict[str, int]:
    """Effects added up by account."""
    both = union_all(*effects).subquery()
    summed = select(both.c.account_id, func.sum(both.c.minor).label("minor")).group_by(both.c.account_id)
    return {row["account_id"]: int(row["minor"]) for row in connection.execute(summed)}


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
        "at_ms": now_ms,
    }
    return int(connection.execute(_INSERT_TRANSFER, values).scalar_one())
