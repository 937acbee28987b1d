"""Ends locks whose payment time is over, whatever else has crashed (rule 10), and orders that nobody pays."""

import structlog

from order_service import operations
from tillmesh.auth.callers import act_as
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.rounds import go_round
from tillmesh.storage.database import Database

SWEEP_INTERVAL_S = 0.5
EXPIRE_EVERY_MS = 60_000
ORDERS_A_SWEEP = 32
"""So many are unlocked or canceled in one transaction: while it runs, no call is served."""

log = structlog.get_logger()


class Sweeper:
    """The first instruction generator of CN103606078A; `server` is the URI in whose name it acts.

    It also cancels orders that stay open for longer than `open_max_ms`; 0 leaves them open for ever.
    """

    def __init__(self, database: Database, clock: Clock, server: str, open_max_ms: int) -> None:
        self._server = server
        self._open_max_ms = open_max_ms
        self._database = database
        self._clock = clock
        self._expire_at_ms = 0

    async def run(self) -> None:
        """Sweeps until it is cancelled."""
        act_as(self._server)
        await go_round("sweeper", self.round)

    async def round(self) -> float:
        """Sweeps, and once a minute expires; returns the seconds of rest."""
        swept = await self.sweep()
        now_ms = self._clock.now_ms()
        if now_ms >= self._expire_at_ms or self._expire_at_ms > now_ms + EXPIRE_EVERY_MS:  # a clock that was put right
            expired = await self.expire()
            if expired < ORDERS_A_SWEEP:
                self._expire_at_ms = now_ms + EXPIRE_EVERY_MS
            swept = max(swept, expired)
        return SWEEP_INTERVAL_S if swept < ORDERS_A_SWEEP else 0.0

    async def sweep(self) -> int:
        """Unlocks what has lapsed; returns how many orders that were."""
        now_ms = self._clock.now_ms()
        orders = await self._database.run(operations.release_lapsed, now_ms=now_ms, at_most=ORDERS_A_SWEEP)
        for order in orders:
            log.info("lease_expired", order_id=order.order_id, epoch=order.epoch)
        return len(orders)

    async def expire(self) -> int:
        """Cancels what was open for too long; returns how many orders that were."""
        if not self._open_max_ms:
            return 0
        limits = {"open_max_ms": self._open_max_ms, "now_ms": self._clock.now_ms(), "at_most": ORDERS_A_SWEEP}
        orders = await self._database.run(operations.expire_idle, **limits)
        for order in orders:
            log.info("order_expired", order_id=order.order_id)
        return len(orders)
