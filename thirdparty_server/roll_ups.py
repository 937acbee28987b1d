"""Brings the roll-ups of the accounts that are summed forward, so that no balance adds up all transfers ever made."""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from thirdparty_server import ledger
from tillmesh.auth.callers import act_as
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.database import Database

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
        newest_id = await self._database.run(ledger.newest_transfer_id)
        now_s = self._monotonic_s()  # not before it was seen
        self._seen.append((now_s, newest_id))
        while len(self._seen) > 1 and now_s - self._seen[1][0] >= SAFE_AGE_S:
            self._seen.popleft()
        seen_s, up_to_id = self._seen[0]
        if now_s - seen_s < SAFE_AGE_S:
            return 0
        total = 0
        page = await self._accounts_after("")
        while page:
            for account_id in page:
                total += await self._roll_up(account_id, up_to_id)
            page = await self._accounts_after(page[-1])
        return total

    async def _accounts_after(self, account_id: str) -> list[str]:
        return await self._database.run(
            lambda connection: ledger.list_summed_accounts(connection, account_id, ACCOUNTS_A_PAGE)
        )

    async def _roll_up(self, account_id: str, up_to_id: int) -> int:
        """As many short transactions as it takes."""
        total = 0
        while number := await self._database.run(
            lambda connection: ledger.roll_up(
                connection,
                account_id,
                up_to_id=up_to_id,
                at_least=TRANSFERS_MIN,
                at_most=TRANSFERS_A_TRANSACTION,
            )
        ):
            total += number
        if total:
            log.info("rolled_up", account_id=account_id, transfers=total)
        return total
