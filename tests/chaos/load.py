"""Shoppers shop while servers are killed and links break, again and again."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.fleet import Fleet
from tests.chaos.readers import Readers
from tests.chaos.reckoning import Reckoning, let_finish, reckon, wait_until_final
from tests.chaos.shopper import Shopper
from tests.chaos.witness import Witness
from tillmesh.local.processes import ServerName
from tillmesh.sandbox.links import Fault

SHOPPERS = 16
ERRORS = ('"rpc_failed"', '"step_failed"', '"resume_failed"', '"unexpected_verdict"', "Traceback")


@dataclass
class Storm:
    """What was done, and what came of it."""

    kills: Counter[ServerName] = field(default_factory=Counter)
    under_way: int = 0
    """Requests that waited for their answer when a server was killed, over all kills."""
    faults: Counter[Fault] = field(default_factory=Counter)
    witness: Witness = field(default_factory=Witness)
    reckoning: Reckoning = field(default_factory=Reckoning)
    remains: dict[ServerName, list[Path]] = field(default_factory=lambda: {role: [] for role in ServerName})
    """Databases as some of the kills left them."""
    cuts: int = 0
    """How often readers of the streams were cut off."""


async def storm(
    folder: Path, kills: int, remains: int, rng: random.Random, killed: Callable[[], None] = lambda: None
) -> Storm:
    """Kills each role `kills` times under load; keeps up to `remains` databases of each."""
    result = Storm()
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(Fleet(folder / "mesh", rng))
        client = await stack.enter_async_context(fleet.client)
        readers = await stack.enter_async_context(Readers(lambda: fleet.client, fleet.urls, rng))
        closed = asyncio.Event()
        shoppers = [
            asyncio.create_task(Shopper(f"shopper-{number}", client, result.witness, rng).shop(closed))
            for number in range(SHOPPERS)
        ]
        breaking = asyncio.create_task(_break_links(fleet, result, rng))
        await _kill_and_restart(fleet, result, kills, folder / "remains", remains, rng, killed)
        breaking.cancel()
        with suppress(asyncio.CancelledError):
            await breaking
        fleet.heal_links()
        healed_s = time.monotonic()
        closed.set()
        found = result.reckoning
        await let_finish(shoppers, found)
        found.stuck += await wait_until_final(client, healed_s)
        found.final_after_s = time.monotonic() - healed_s
        await reckon(client, result.witness, found)
        logs = {role: fleet.servers[role].log for role in ServerName}
        found.broken += [*logged_errors(logs), *fleet.broken(), *await readers.findings()]
        result.cuts = readers.cuts
    return result


async def _kill_and_restart(
    fleet: Fleet, result: Storm, kills: int, folder: Path, remains: int, rng: random.Random, killed: Callable[[], None]
) -> None:
    every = max(1, kills // max(1, remains))
    while left := [role for role in ServerName if result.kills[role] < kills]:
        await asyncio.sleep(rng.uniform(0.2, 1.2))
        victims = rng.sample(left, k=rng.randint(1, len(left)))
        for role in victims:
            result.under_way += result.witness.asking
            await fleet.kill(role)
            result.kills[role] += 1
            if result.kills[role] % every == 0 and len(result.remains[role]) < remains:
                result.remains[role].append(fleet.keep(role, folder / f"{role}-{result.kills[role]}"))
            killed()
        await asyncio.sleep(rng.uniform(0, 0.5))
        await asyncio.gather(*(fleet.restart(role) for role in victims))


async def _break_links(fleet: Fleet, result: Storm, rng: random.Random) -> None:
    while True:
        await asyncio.sleep(rng.uniform(0.2, 1.5))
        link, fault = rng.choice(list(fleet.links.values())), rng.choice(list(Fault))
        result.faults[fault] += 1
        link.break_by(fault)
        await asyncio.sleep(min(4.0, rng.expovariate(1.0)))
        link.heal(lose=rng.random() < 0.5)


def logged_errors(logs: Mapping[Any, Path]) -> list[str]:
    """What the servers logged that should never happen, whatever is killed."""
    return [
        f"{name} logged {line.strip()[:300]}"
        for name, log in logs.items()
        for line in log.read_text().splitlines()
        if any(error in line for error in ERRORS)
    ][:10]
