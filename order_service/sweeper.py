"""Ends locks whose payment time is over, whatever else has crashed (rule 10), and orders that nobody pays."""

import asyncio

import structlog

from order_service import operations
from tillmesh.auth.callers import act_as
from tillmesh.runtime.clock import Clock
from tillmesh.runtime.errors import Refusal
from tillmesh.storage.database import Database

SWEEP_INTERVAL_S = 0.5
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

    async def run(self) -> None:
        """Sweeps for ever; at once again while there is more to do."""
        act_as(self._server)
        while True:
            try:
                swept = max(await self.sweep(), await self.expire())
            except Refusal as refusal:  # the disk is full: go on once there is room
                log.error("sweep_failed", reason=refusal.reason)
                swept = 0
            if swept < ORDERS_A_SWEEP:
                await asyncio.sleep(SWEEP_INTERVAL_S)

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
