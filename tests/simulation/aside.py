"""What a seed changes of the process that it runs in, and sets back."""

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

import structlog

from order_service import sweeper
from store_terminal.checkouts import housekeeping
from thirdparty_server.ledger import comparison, sums, upkeep
from thirdparty_server.payers import operations as payer_operations
from tillmesh.rpc import servicer, streams
from tillmesh.runtime import driver, telemetry

if TYPE_CHECKING:
    from tests.simulation.world import World

ROUND_S = 2.0
STREAM_S = 40.0


class _Secrets:
    """What is random where nobody may guess it is the same in every run of a seed, as all else."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def randbelow(self, limit: int) -> int:
        """As in `secrets`."""
        return self._rng.randrange(limit)

    def token_bytes(self, count: int) -> bytes:
        """As in `secrets`."""
        return self._rng.randbytes(count)


@contextmanager
def aside(world: "World") -> Iterator[None]:
    """Errors that are logged are violations; few idle rounds, which cost real time; small steps. As before after."""
    logs, disabled, state = structlog.get_config(), logging.root.manager.disable, random.getstate()

    def catch(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        world.note_error(" ".join(f"{key}={value!r}" for key, value in event.items()))
        raise structlog.DropEvent

    errors = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(processors=[structlog.processors.format_exc_info, catch], wrapper_class=errors)
    logging.disable(logging.CRITICAL)
    random.seed(world.seed)  # tenacity's jitter comes from there
    try:
        with (
            patch.object(payer_operations, "secrets", _Secrets(world.seed)),
            patch.object(telemetry, "_ids", random.Random(world.seed)),  # hashes cover traces, and cursors have hashes
            patch.object(sweeper, "SWEEP_INTERVAL_S", ROUND_S),
            patch.object(housekeeping, "ROUND_S", ROUND_S),
            patch.object(driver, "RESUME_INTERVAL_S", ROUND_S),
            patch.object(upkeep, "ROUND_S", ROUND_S),
            patch.object(sums, "TRANSFERS_A_STEP", 3),
            patch.object(comparison, "ACCOUNTS_A_STEP", 2),
            patch.object(streams, "STREAM_S_MAX", STREAM_S),
            patch.object(streams, "PART_ROWS", 5),
            patch.object(streams, "LOOK_ROWS", 8),
            patch.object(servicer, "PART_ROWS", 3),
            patch.object(servicer, "RECORDS_AN_ANSWER", 2),
        ):
            yield
    finally:
        structlog.configure(**logs)
        logging.disable(disabled)
        random.setstate(state)
        asyncio.set_event_loop(None)
