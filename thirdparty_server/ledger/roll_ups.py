"""Brings the roll-ups of the accounts that are summed forward, so that no balance adds up all transfers ever made."""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog
from sqlalchemy import bindparam, case, func, select

from thirdparty_server.ledger.entries import transfers_of_account
from thirdparty_server.ledger.model import MOVING, RollUp
from thirdparty_server.ledger.tables import account_sums, accounts, transfers
from tillmesh.auth.callers import act_as
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.database import Database
from tillmesh.storage.records import Records
from tillmesh.storage.statements import Transaction

ROUND_S = 60.0
SAFE_AGE_S = 600.0
"""Longer than any transaction lasts."""
TRANSFERS_MIN = 300
"""Fewer than these are added up when asked for."""
TRANSFERS_A_TRANSACTION = 1_000
"""Others wait for it on SQLite, which has one writer: two to four milliseconds, with the commit."""
ACCOUNTS_A_PAGE = 200
log = structlog.get_logger()


class RollUps:
    """Adds up what cannot get older neighbours any more.

    PostgreSQL takes the ids of transfers from a sequence: a transaction may commit a lower id after another one
    has committed a higher one. Whoever had a lower id when a higher one was seen was under way at that moment. No
    transaction lasts SAFE_AGE_S, so by then it has committed or never will, and all up to the id that was seen can
    be added. `monotonic_s` takes that time, in this process alone: the wall clocks that `at_ms` comes from jump, and
    no balance may rest on them. SQLite's one writer commits ids in their order and would not need to wait.

    Several processes may do this at once on one database: each step is compare-and-set on what it read.
    """

    def __init__(self, database: Database, monotonic_s: Callable[[], float], server: str) -> None:
        self._server = server
        self._database = database
        self._monotonic_s = monotonic_s
        self._seen: deque[tuple[float, int]] = deque()
        """The newest transfer at some moments, oldest first, from the last one of a safe age on."""

    async def run(self) -> None:
        """Goes round for ever, in the name of the server itself."""
        act_as(self._server)
        while True:
            try:
                await self.round()
            except Refusal as refusal:  # the disk is full: go on once there is room
                log.error("roll_up_failed", reason=refusal.reason)
            await asyncio.sleep(ROUND_S)

    async def round(self) -> int:
        """Rolls every account up that needs it; returns how many transfers that were."""
        newest_id = await self._database.run(newest_transfer_id)
        now_s = self._monotonic_s()  # not before it was seen
        self._seen.append((now_s, newest_id))
        while len(self._seen) > 1 and now_s - self._seen[1][0] >= SAFE_AGE_S:
            self._seen.popleft()
        seen_s, up_to_id = self._seen[0]
        if now_s - seen_s < SAFE_AGE_S:
            return 0
        total, after_id = 0, ""
        while page := await self._database.run(list_summed_accounts, after_id, ACCOUNTS_A_PAGE):
            for account_id in page:
                total += await self._roll_up(account_id, up_to_id)
            after_id = page[-1]
        return total

    async def _roll_up(self, account_id: str, up_to_id: int) -> int:
        """As many short transactions as it takes."""
        total = 0
        while number := await self._database.run(
            roll_up, account_id, up_to_id=up_to_id, at_least=TRANSFERS_MIN, at_most=TRANSFERS_A_TRANSACTION
        ):
            total += number
        if total:
            log.info("rolled_up", account_id=account_id, transfers=total)
        return total


_next = transfers_of_account(transfers.c.transfer_id <= bindparam("up_to_id")).subquery()
_gain = case((_next.c.credit_account_id == bindparam("key"), 1), else_=-1) * _next.c.amount_minor
_SUM_NEXT = select(
    func.count().label("number"),
    func.max(_next.c.transfer_id).label("through_id"),
    func.sum(case((_next.c.phase.in_(MOVING), _gain), else_=0)).label("minor"),
)
_NEWEST_TRANSFER = select(func.coalesce(func.max(transfers.c.transfer_id), 0))
_SUMMED_ACCOUNTS = (
    select(accounts.c.account_id)
    .where(accounts.c.credit_limit_minor.is_(None), accounts.c.account_id > bindparam("after_id"))
    .order_by(accounts.c.account_id)
    .limit(bindparam("at_most"))
)
_ROLL_UPS = Records(RollUp, account_sums, guard=("through_transfer_id",))


def newest_transfer_id(transaction: Transaction) -> int:
    """The largest id of a transfer so far; 0 before the first."""
    return int(transaction.execute(_NEWEST_TRANSFER).scalar_one())


def list_summed_accounts(transaction: Transaction, after_id: str, at_most: int) -> list[str]:
    """Ids of accounts whose balance is a sum, those after the given one."""
    return transaction.execute(_SUMMED_ACCOUNTS, {"after_id": after_id, "at_most": at_most}).scalars()


def roll_up(transaction: Transaction, account_id: str, *, up_to_id: int, at_least: int, at_most: int) -> int:
    """Adds an account's next transfers, none after `up_to_id`, to its roll-up; returns how many.

    Does nothing for fewer than `at_least`. CONCURRENT_CHANGE if somebody else brought the
    roll-up forward meanwhile. Every transfer up to `up_to_id` must be committed, or it is never counted.
    """
    found = _ROLL_UPS.find(transaction, account_id)
    before = found or RollUp(account_id)
    bounds = {"after_id": before.through_transfer_id, "up_to_id": up_to_id, "at_most": at_most}
    following = transaction.execute(_SUM_NEXT, {"key": account_id, **bounds}).one()
    number = int(following["number"])
    if number < at_least:
        return 0
    after = RollUp(account_id, following["through_id"], before.posted_minor + int(following["minor"]))
    if found:
        _ROLL_UPS.change(transaction, found, after)
    else:
        _ROLL_UPS.insert(transaction, after)
    return number
