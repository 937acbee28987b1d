"""Adds the transfers up in their order, so that no balance and no total has to add up all transfers ever made."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import bindparam, insert, select, update

from thirdparty_server.ledger.entries import next_transfers
from thirdparty_server.ledger.model import ENDING, MOVING, AccountKind, LedgerProgress, Phase, currency_and_kind
from thirdparty_server.ledger.tables import account_sums, currency_sums, ledger_progress, transfers
from tillmesh.storage.records import Records
from tillmesh.storage.statements import Row, Transaction

TRANSFERS_A_STEP = 250
"""Others wait for a step on SQLite, which has one writer: a few milliseconds, with the commit."""
PROGRESS = Records(LedgerProgress, ledger_progress, guard=("through_transfer_id", "compared_account_id", "began_at_ms"))

_of_debit, _of_credit = account_sums.alias("of_debit"), account_sums.alias("of_credit")
_NEXT = (
    next_transfers()
    .add_columns(
        transfers.c.phase,
        transfers.c.debit_account_id,
        transfers.c.credit_account_id,
        transfers.c.amount_minor,
        transfers.c.at_ms,
        _of_debit.c.account_id.label("known_debit"),
        _of_credit.c.account_id.label("known_credit"),
    )
    .outerjoin_from(transfers, _of_debit, _of_debit.c.account_id == transfers.c.debit_account_id)
    .outerjoin(_of_credit, _of_credit.c.account_id == transfers.c.credit_account_id)
)
_INSERT_ACCOUNT, _INSERT_CURRENCY = insert(account_sums), insert(currency_sums)
_ADD_TO_ACCOUNT = (
    update(account_sums)
    .where(account_sums.c.account_id == bindparam("key"))
    .values(
        posted_minor=account_sums.c.posted_minor + bindparam("posted"),
        held_minor=account_sums.c.held_minor + bindparam("held"),
    )
)
_ADD_TO_CURRENCY = (
    update(currency_sums)
    .where(currency_sums.c.currency == bindparam("of"), currency_sums.c.kind == bindparam("what"))
    .values(
        posted_minor=currency_sums.c.posted_minor + bindparam("posted"),
        held_minor=currency_sums.c.held_minor + bindparam("held"),
    )
)
_CURRENCIES = select(currency_sums)


def add_up(transaction: Transaction, at_most: int) -> int:
    """Adds the next transfers to the sums; returns how many. CONCURRENT_CHANGE if somebody else did that meanwhile."""
    before = progress(transaction)
    rows = transfers_after(transaction, before, at_most)
    if not rows:
        return 0
    through = {f"through_{name}": rows[-1][name] for name in ("xact_id", "transfer_id", "at_ms")}
    PROGRESS.change(transaction, before, replace(before, **through))
    posted, held = effects(rows)
    _add_to_accounts(transaction, posted, held, {row[name] for row in rows for name in ("known_debit", "known_credit")})
    _add_to_currencies(transaction, of_currencies(posted), of_currencies(held))
    return len(rows)


def progress(transaction: Transaction) -> LedgerProgress:
    """How far the ledger is added up and compared; makes its row the first time."""
    found = PROGRESS.find(transaction, 1)
    if found is None:
        found = LedgerProgress()
        PROGRESS.insert(transaction, found)
    return found


def transfers_after(transaction: Transaction, through: LedgerProgress, at_most: int) -> Sequence[Row]:
    """The settled transfers that are not added up yet, oldest first."""
    after = {"after_xact_id": through.through_xact_id, "after_transfer_id": through.through_transfer_id}
    return transaction.execute(_NEXT, {**after, "at_most": at_most}).all()


def currency_totals(
    transaction: Transaction,
) -> tuple[Counter[tuple[str, AccountKind]], Counter[tuple[str, AccountKind]]]:
    """What is posted and held in each currency and kind of account, as far as it is added up."""
    rows = {(row["currency"], AccountKind(row["kind"])): row for row in transaction.execute(_CURRENCIES)}
    posted = Counter({key: row["posted_minor"] for key, row in rows.items()})
    return posted, Counter({key: row["held_minor"] for key, row in rows.items()})


def effects(rows: Sequence[Row]) -> tuple[Counter[str], Counter[str]]:
    """What transfers change of `posted` and `held`, by account."""
    posted, held = Counter[str](), Counter[str]()
    for row in rows:
        debit, phase, minor = row["debit_account_id"], row["phase"], row["amount_minor"]
        if phase in MOVING:
            posted[debit] -= minor
            posted[row["credit_account_id"]] += minor
        if phase == Phase.HOLD:
            held[debit] += minor
        elif phase in ENDING:
            held[debit] -= minor
    return posted, held


def of_currencies(by_account: Counter[str]) -> Counter[tuple[str, AccountKind]]:
    """The same by currency and kind of account."""
    totals = Counter[tuple[str, AccountKind]]()
    for account_id, minor in by_account.items():
        totals[currency_and_kind(account_id)] += minor
    return totals


def _add_to_accounts(
    transaction: Transaction, posted: Counter[str], held: Counter[str], known: set[str | None]
) -> None:
    touched = sorted({*posted, *held})
    new = [
        {"account_id": key, "posted_minor": posted[key], "held_minor": held[key]} for key in touched if key not in known
    ]
    old = [{"key": key, "posted": posted[key], "held": held[key]} for key in touched if key in known]
    if new:
        transaction.execute_many(_INSERT_ACCOUNT, new)
    if old:
        transaction.execute_many(_ADD_TO_ACCOUNT, old)


def _add_to_currencies(
    transaction: Transaction, posted: Counter[tuple[str, AccountKind]], held: Counter[tuple[str, AccountKind]]
) -> None:
    known, _ = currency_totals(transaction)
    for key in sorted({*posted, *held}):
        currency, kind = key
        if key in known:
            added = {"of": currency, "what": kind, "posted": posted[key], "held": held[key]}
            transaction.execute(_ADD_TO_CURRENCY, added)
        else:
            made = {"currency": currency, "kind": kind, "posted_minor": posted[key], "held_minor": held[key]}
            transaction.execute(_INSERT_CURRENCY, made)
