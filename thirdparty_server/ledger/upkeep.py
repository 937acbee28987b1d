"""Adds transfers up and compares balances in the background, in short transactions."""

import structlog

from thirdparty_server.ledger import comparison, sums
from tillmesh.auth.callers import act_as
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.rounds import go_round
from tillmesh.storage.database import Database

ROUND_S = 2.0
COMPARISONS_A_ROUND = 2
"""With ACCOUNTS_A_STEP each: a million accounts take an hour and a half."""
log = structlog.get_logger()


class Upkeep:
    """Goes round for ever. Several processes may: each step is compare-and-set on the progress that it read."""

    def __init__(self, database: Database, clock: Clock, server: str) -> None:
        self._server = server
        self._database = database
        self._clock = clock

    async def run(self) -> None:
        """Goes round, in the name of the server itself."""
        act_as(self._server)
        await go_round("ledger upkeep", self._round_or_log)

    async def round(self) -> float:
        """Adds up what is settled, then compares some balances; returns the seconds of rest."""
        while await self._database.run(sums.add_up, sums.TRANSFERS_A_STEP) == sums.TRANSFERS_A_STEP:
            pass
        for _ in range(COMPARISONS_A_ROUND):
            if not await self._database.run(comparison.compare, self._clock.now_ms(), comparison.ACCOUNTS_A_STEP):
                break
        return ROUND_S

    async def _round_or_log(self) -> float:
        try:
            return await self.round()
        except Refusal:
            raise
        except Exception:  # such as sums that somebody tampered with: no reason to stop payments
            log.exception("ledger_upkeep_failed")
            return ROUND_S
