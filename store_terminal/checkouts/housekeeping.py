"""Clears away baskets and parked checkouts that were left behind, and names that are no longer needed."""

import random

import structlog

from store_terminal.checkouts import moves, parking, queries
from tillmesh.auth.callers import act_as
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.rounds import go_round
from tillmesh.storage.database import Database

ROUND_S = 60.0
CHECKOUTS_A_ROUND = 32
"""So many are changed in one transaction: while it runs, no call is served."""
WITHDRAWN_A_ROUND = 8
"""Of each of these a history row and a request are written as well."""

log = structlog.get_logger()


class Housekeeping:
    """Clears away what is older than its limit; a limit of 0 keeps it. `server` is the URI in whose name it acts."""

    def __init__(
        self, database: Database, clock: Clock, server: str, basket_ms: int, names_ms: int, rng: random.Random
    ) -> None:
        self._database = database
        self._clock = clock
        self._server = server
        self._basket_ms = basket_ms
        self._names_ms = names_ms
        self._rng = rng

    async def run(self) -> None:
        """Clears away until it is cancelled."""
        act_as(self._server)
        await go_round("housekeeping", self.round)

    async def round(self) -> float:
        """Clears some of everything away; returns the seconds of rest."""
        has_more = [
            await self.expire_baskets() == CHECKOUTS_A_ROUND,
            await self.withdraw_parked() == WITHDRAWN_A_ROUND,
            await self.forget_names() == CHECKOUTS_A_ROUND,
        ]
        return 0.0 if any(has_more) else ROUND_S

    async def expire_baskets(self) -> int:
        """Cancels old baskets; returns how many that were."""
        if not self._basket_ms:
            return 0
        now_ms = self._clock.now_ms()
        limits = {"until_ms": now_ms - self._basket_ms, "now_ms": now_ms, "at_most": CHECKOUTS_A_ROUND}
        baskets = await self._database.run(moves.expire_baskets, **limits)
        for basket in baskets:
            log.info("basket_expired", checkout_id=basket.checkout_id)
        return len(baskets)

    async def withdraw_parked(self) -> int:
        """Asks for the withdrawal of what is parked for too long; returns of how many checkouts."""
        withdrawn = await self._database.run(
            parking.withdraw_overdue,
            replica=self._database.replica,
            rng=self._rng,
            now_ms=self._clock.now_ms(),
            at_most=WITHDRAWN_A_ROUND,
        )
        for checkout in withdrawn:
            log.info("parking_expired", checkout_id=checkout.checkout_id)
        return len(withdrawn)

    async def forget_names(self) -> int:
        """Drops old names of payers; returns of how many checkouts."""
        if not self._names_ms:
            return 0
        until_ms = self._clock.now_ms() - self._names_ms
        return await self._database.run(queries.forget_names, until_ms, CHECKOUTS_A_ROUND)
