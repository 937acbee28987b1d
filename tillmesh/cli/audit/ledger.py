"""Adds up the whole ledger of a payment server from its transfers alone, and compares all that the server keeps."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, text

_ROWS_AT_A_TIME = 1000
_PROGRESS = text("SELECT through_xact_id, through_transfer_id FROM ledger_progress")
_TRANSFERS = text(
    "SELECT xact_id, transfer_id, phase, debit_account_id, credit_account_id, amount_minor FROM transfers"
)
_ACCOUNTS = text(
    "SELECT account_id, currency, kind, credit_limit_minor IS NOT NULL, posted_minor, held_minor FROM accounts"
    " ORDER BY account_id"
)
_ACCOUNT_SUMS = text("SELECT account_id, posted_minor, held_minor FROM account_sums")
_CURRENCY_SUMS = text("SELECT currency || ' ' || kind, posted_minor, held_minor FROM currency_sums")


class _Sums(defaultdict[str, list[int]]):
    """Posted and held by what they are of."""

    def __init__(self) -> None:
        super().__init__(lambda: [0, 0])

    def add(self, phase: str, debit: str, credit: str, minor: int) -> None:
        """Adds a transfer to both of its accounts."""
        if phase in ("SINGLE", "POST"):
            self[debit][0] -= minor
            self[credit][0] += minor
        if phase == "HOLD":
            self[debit][1] += minor
        elif phase in ("POST", "VOID"):
            self[debit][1] -= minor


def ledger_findings(connection: Connection, advance: Callable[[int], object]) -> Iterator[str]:
    """What does not add up, in words; `advance` hears how many transfers were read.

    The connection must see one moment. Nothing overflows, as Python's integers have no limit. Holds the sums of
    each account.
    """
    through = tuple(next(iter(connection.execute(_PROGRESS)), (0, 0)))
    whole, added_up = _Sums(), _Sums()
    for number, row in enumerate(connection.execute(_TRANSFERS, execution_options={"yield_per": _ROWS_AT_A_TIME}), 1):
        xact_id, transfer_id, *transfer = row
        if not isinstance(row.amount_minor, int):
            yield f"transfers: the amount of {transfer_id} is no integer"
            continue
        whole.add(*transfer)
        if (xact_id, transfer_id) <= through:
            added_up.add(*transfer)
        if number % _ROWS_AT_A_TIME == 0:
            advance(_ROWS_AT_A_TIME)
    totals = _Sums()
    for account_id, currency, kind, is_kept, *kept in connection.execute(_ACCOUNTS):
        come_to = whole.pop(account_id, [0, 0])
        if is_kept and kept != come_to:
            yield f"accounts: {account_id} has {_shown(kept)}, its transfers come to {_shown(come_to)}"
        for part, minor in enumerate(added_up.get(account_id, [0, 0])):
            totals[f"{currency} {kind}"][part] += minor
    yield from (f"accounts: there is no {account_id}, but transfers of it" for account_id in whole)
    yield from _differing("account_sums", connection.execute(_ACCOUNT_SUMS), added_up)
    yield from _differing("currency_sums", connection.execute(_CURRENCY_SUMS), totals)


def _differing(table: str, rows: Any, expected: _Sums) -> Iterator[str]:
    """Sums that the server keeps of what it has added up, and that are not those of the transfers."""
    for key, *kept in rows:
        come_to = expected.pop(key, [0, 0])
        if kept != come_to:
            yield f"{table}: {key} has {_shown(kept)}, its transfers come to {_shown(come_to)}"
    for key, come_to in expected.items():
        if any(come_to):
            yield f"{table}: {key} is missing, its transfers come to {_shown(come_to)}"


def _shown(sums: list[int]) -> str:
    posted, held = sums
    return f"{posted} posted and {held} held"
