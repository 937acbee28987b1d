"""Compares the kept balances with their transfers, some accounts at a time, again and again."""

from collections.abc import Sequence
from dataclasses import replace

import structlog
from sqlalchemy import and_, bindparam, case, delete, func, insert, select

from thirdparty_server.ledger.accounts import HELD_SUM, IS_KEPT, POSTED_SUM
from thirdparty_server.ledger.sums import PROGRESS, progress
from thirdparty_server.ledger.tables import accounts, differing_accounts
from tillmesh.storage.statements import Row, Transaction, Values

ACCOUNTS_A_STEP = 200
DIFFERING_MAX = 1_000
"""More accounts that differ are not written down."""
REST_MS = 600_000
"""Where nothing is booked, balances are compared again after so long."""
log = structlog.get_logger()

_COMPARED = (
    select(
        accounts.c.account_id,
        case((IS_KEPT, accounts.c.posted_minor - POSTED_SUM), else_=0).label("posted_minor"),
        case((IS_KEPT, accounts.c.held_minor - HELD_SUM), else_=0).label("held_minor"),
    )
    .where(accounts.c.account_id > bindparam("after_id"))
    .order_by(accounts.c.account_id)
    .limit(bindparam("at_most"))
)
_OF_PAGE = and_(
    differing_accounts.c.account_id > bindparam("after_id"), differing_accounts.c.account_id <= bindparam("last_id")
)
_KNOWN, _FORGET = select(differing_accounts).where(_OF_PAGE), delete(differing_accounts).where(_OF_PAGE)
_COUNT = select(func.count()).select_from(differing_accounts)
_INSERT = insert(differing_accounts)


def compare(transaction: Transaction, now_ms: int, at_most: int) -> bool:
    """Compares the next accounts, and writes down which differ; True if others follow them.

    Once all are compared it begins with the first again if more is added up since, or after a rest.
    """
    before = progress(transaction)
    after_id, begun = before.compared_account_id, before
    if not after_id:
        rests = before.began_at_ms <= now_ms < before.began_at_ms + REST_MS
        if rests and before.through_transfer_id == before.began_transfer_id:
            return False
        begun = replace(before, began_transfer_id=before.through_transfer_id, began_at_ms=now_ms)
    rows = transaction.execute(_COMPARED, {"after_id": after_id, "at_most": at_most}).all()
    more = len(rows) == at_most
    last_id = rows[-1]["account_id"] if rows else after_id
    verified_at_ms = before.verified_at_ms if more else begun.began_at_ms
    after = replace(begun, compared_account_id=last_id if more else "", verified_at_ms=verified_at_ms)
    PROGRESS.change(transaction, before, after)
    _write_down(transaction, {"after_id": after_id, "last_id": last_id}, [row for row in rows if any(_by(row))])
    return more


def _by(row: Row) -> tuple[int, int]:
    """What an account differs by."""
    return row["posted_minor"], row["held_minor"]


def _write_down(transaction: Transaction, page: Values, differing: Sequence[Row]) -> None:
    """Replaces the accounts of a page that are known to differ, and logs those that were not."""
    known = {row["account_id"]: _by(row) for row in transaction.execute(_KNOWN, page)}
    if known == {row["account_id"]: _by(row) for row in differing}:
        return
    transaction.execute(_FORGET, page)
    room = DIFFERING_MAX - int(transaction.execute(_COUNT).scalar_one())
    for row in differing[:room]:
        transaction.execute(_INSERT, row)
        if known.get(row["account_id"]) != _by(row):
            log.error("balance_differs", **row)
