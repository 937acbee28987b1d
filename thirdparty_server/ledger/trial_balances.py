"""Adds the transfers up, currency by currency: the books balance, or it shows where they do not."""

from collections.abc import Sequence

from sqlalchemy import Column, Select, and_, func, select, union_all

from thirdparty_server.ledger.model import ENDING, MOVING, AccountKind, Phase, TrialBalance
from thirdparty_server.ledger.tables import account_sums, accounts, transfers
from tillmesh.storage.lists import After, by_key
from tillmesh.storage.statements import Transaction

DIFFERING_MAX = 100
"""The largest number of differing accounts that are named."""
_DEBIT, _CREDIT = transfers.c.debit_account_id, transfers.c.credit_account_id


def trial_balances(transaction: Transaction, after: After, at_most: int) -> list[TrialBalance]:
    """Adds up the next currencies from the transfers, and compares each kept balance and roll-up with them."""
    of_page = _currencies_after(transaction, after, at_most)
    posted_sums = _sums(transaction, of_page, _effect(_CREDIT, 1, MOVING), _effect(_DEBIT, -1, MOVING))
    held_sums = _sums(transaction, of_page, _effect(_DEBIT, 1, [Phase.HOLD]), _effect(_DEBIT, -1, ENDING))
    rolled_up_sums = _sums(transaction, of_page, _rolled_up(_CREDIT, 1), _rolled_up(_DEBIT, -1))
    roll_ups = {row["account_id"]: row["posted_minor"] for row in transaction.execute(select(account_sums))}
    balances = {currency: TrialBalance(currency) for currency in of_page}
    query = select(accounts).where(accounts.c.currency.in_(of_page)).order_by(accounts.c.account_id)
    for row in transaction.execute(query):
        account_id, guarded = row["account_id"], row["credit_limit_minor"] is not None
        posted, held = posted_sums.get(account_id, 0), held_sums.get(account_id, 0)
        balance = balances[row["currency"]]
        balance.minor_by_kind[AccountKind(row["kind"])] += row["posted_minor"] if guarded else posted
        balance.held_minor += row["held_minor"]
        kept = (row["posted_minor"], row["held_minor"]) if guarded else roll_ups.get(account_id, 0)
        added_up = (posted, held) if guarded else rolled_up_sums.get(account_id, 0)
        if kept != added_up and len(balance.differing_account_ids) < DIFFERING_MAX:
            balance.differing_account_ids.append(account_id)
    return list(balances.values())


def _currencies_after(transaction: Transaction, after: After, at_most: int) -> list[str]:
    currencies = select(accounts.c.currency).distinct()
    return transaction.execute(by_key(currencies, accounts.c.currency, after, at_most)).scalars()


def _effect(account: Column[str], sign: int, phases: Sequence[Phase]) -> Select[str, int]:
    """The effect of each transfer of some phases on one of its two accounts."""
    minor = (sign * transfers.c.amount_minor).label("minor")
    return select(account.label("account_id"), minor).where(transfers.c.phase.in_(phases))


def _rolled_up(account: Column[str], sign: int) -> Select[str, int]:
    """The effect of each transfer that a roll-up says it includes."""
    claimed = and_(account_sums.c.account_id == account, account_sums.c.through_transfer_id >= transfers.c.transfer_id)
    return _effect(account, sign, MOVING).join(account_sums, claimed)


def _sums(transaction: Transaction, currencies: Sequence[str], *effects: Select[str, int]) -> dict[str, int]:
    """Effects in some currencies added up by account."""
    both = union_all(*(effect.where(transfers.c.currency.in_(currencies)) for effect in effects)).subquery()
    summed = select(both.c.account_id, func.sum(both.c.minor).label("minor")).group_by(both.c.account_id)
    return {row["account_id"]: int(row["minor"]) for row in transaction.execute(summed)}
