"""What goes wrong in a seed, and when."""

import asyncio
from typing import TYPE_CHECKING

from tests.simulation.changes import Change
from tests.simulation.network import CLIENTS, LINKS, ORDERS, PAYMENTS, SERVERS, SLOW_S, Fate, Faults

if TYPE_CHECKING:
    from tests.simulation.world import World

AN_HOUR_MS, A_DAY_MS = 3_600_000, 86_400_000
CLOCK_JUMPS_MS = (-A_DAY_MS, -AN_HOUR_MS, -5_000, 5_000, AN_HOUR_MS, A_DAY_MS)
CLOCK_SKEWS_MS = (0, 0, -2_000, 2_000, -AN_HOUR_MS, AN_HOUR_MS, -A_DAY_MS, A_DAY_MS)
LASTS_S = (25.0, 50.0)
CUT_S = ((1.0, 6.0), (6.0, 20.0))  # shorter and longer than most leases
DOWN_S = ((0.1, 4.0), (0.1, 20.0))
EVERY_S = (6.0, 12.0, 40.0)


class Trouble:
    """Faults at random, and some exactly where they hurt most."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = world.rng
        # Exactly when money is held: before CompleteOrderPayment arrives, and before its answer does.
        self._cut_shares = {
            ("payment", "AUTHORIZED"): self._rng.choice((0.0, 0.5, 0.5)),
            ("verdict", "PAID"): self._rng.choice((0.0, 0.3)),
            ("verdict", "GRANTED"): self._rng.choice((0.0, 0.1, 0.3)),
        }
        # And when the lock of that money runs out for a clock that jumped, before anybody has noticed.
        self._lapse_share = self._rng.choice((0.0, 0.0, 0.3))
        # And when the order service is not there to be asked about that money.
        self._away_share = self._rng.choice((0.0, 0.0, 0.3))
        # A lock is granted, and what says so comes after the next one is granted as well.
        self._slow_lock_share = self._rng.choice((0.0, 0.5, 0.5))
        self._over = False
        world.network.decide = self._decide

    async def run(self) -> None:
        """Trouble for a while, then peace."""
        rng, loop, network = self._rng, asyncio.get_running_loop(), self._world.network
        for link in LINKS:
            network.faults[frozenset(link)] = Faults(
                lost=rng.uniform(0, 0.15),
                doubled=rng.uniform(0, 0.2),
                late=rng.uniform(0.1, 0.3),
                slow=rng.uniform(0, 0.1),
                reset=rng.uniform(0, 0.1),
            )
        network.faults[CLIENTS] = Faults(
            lost=rng.uniform(0, 0.1), doubled=rng.uniform(0, 0.2), late=rng.uniform(0, 0.2), reset=rng.uniform(0, 0.1)
        )
        crash_share, down_s, every_s = rng.choice((0.0, 0.01, 0.03, 0.06)), rng.choice(DOWN_S), rng.choice(EVERY_S)
        for node in self._world.nodes.values():
            node.crash_share, node.down_s = crash_share, down_s
        until_s = loop.time() + rng.uniform(*LASTS_S)
        while loop.time() < until_s:
            await asyncio.sleep(rng.expovariate(1 / every_s))
            rng.choice((self._partition, self._partition, self._crash, self._jump_clock))()
        self._heal()

    def after(self, change: Change) -> None:
        """What hurts those two most who have to agree, just when they do not yet."""
        if self._over:
            return
        share = self._cut_shares.get((change.what, change.after), 0.0)
        if share and self._rng.random() < share:
            self._world.network.cut_for(PAYMENTS, ORDERS, self._rng.uniform(*self._rng.choice(CUT_S)))
        elif change.after == "AUTHORIZED" and self._rng.random() < self._lapse_share:
            self._world.jump_clock(ORDERS, AN_HOUR_MS)
        elif change.after == "AUTHORIZED" and self._world.nodes[ORDERS].up and self._rng.random() < self._away_share:
            self._world.nodes[ORDERS].crash("while money is held")

    def _decide(self, source: str, _target: str, what: str) -> Fate | None:
        if self._over or source != ORDERS or not what.startswith("LockOrder"):
            return None
        if self._rng.random() >= self._slow_lock_share:
            return None
        self._world.network.counts["slow"] += 1
        if self._rng.random() < self._lapse_share:  # so that the next one is granted before this one is heard of
            asyncio.get_running_loop().call_later(0.05, self._lapse)
        return Fate((self._rng.uniform(1.0, SLOW_S),))

    def _lapse(self) -> None:
        if not self._over:
            self._world.jump_clock(ORDERS, AN_HOUR_MS)

    def _heal(self) -> None:
        self._over = True
        self._world.network.heal()
        for node in self._world.nodes.values():
            node.crash_share = 0
            node.start()

    def _partition(self) -> None:
        one, other = self._rng.choice(LINKS)
        self._world.network.cut_for(one, other, self._rng.uniform(*self._rng.choice(CUT_S)))

    def _crash(self) -> None:
        node = self._world.nodes[self._rng.choice(SERVERS)]
        if node.up:
            node.crash()

    def _jump_clock(self) -> None:
        self._world.jump_clock(self._rng.choice(SERVERS), self._rng.choice(CLOCK_JUMPS_MS))
