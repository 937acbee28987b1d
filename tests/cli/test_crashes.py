"""A replay during which each server in turn is ended by kill -9 and started again."""

import asyncio
from collections import deque
from pathlib import Path

import pytest

from tests.processes import DEADLINE_S
from tillmesh.cli.replay import calls, reconcile, till
from tillmesh.cli.replay.invoices import Invoice, read_invoices
from tillmesh.cli.replay.reconcile import settled
from tillmesh.cli.replay.runner import Runner
from tillmesh.client.connections import Client
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName
from tillmesh.samples import ONLINE_RETAIL

pytestmark = pytest.mark.process

INVOICES = 120
CONCURRENCY = 8
GIVEN_UP = ("ORDER_UNREACHABLE", "PAYMENT_TIMEOUT")


@pytest.fixture
def patient_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay that waits for a server to come back, and for all to be settled, however long a busy machine takes."""
    monkeypatch.setattr(calls, "BACK_WITHIN_S", DEADLINE_S)
    monkeypatch.setattr(reconcile, "SETTLE_WITHIN_S", DEADLINE_S)
    monkeypatch.setattr(till, "ANSWER_WITHIN_S", DEADLINE_S)


@pytest.mark.usefixtures("patient_replay")
async def test_a_replay_reconciles_whatever_crashes(tmp_path: Path) -> None:
    invoices = read_invoices(ONLINE_RETAIL, "GBP").invoices[:INVOICES]
    crashes = deque(zip((20, 50, 80), ServerName, strict=True))
    restarts: list[asyncio.Future[None]] = []
    done = 0

    with Mesh(tmp_path) as mesh:

        def crash(_invoice: Invoice) -> None:
            """One after the other: the next one waits until the last one is back."""
            nonlocal done
            done += 1
            if crashes and done >= crashes[0][0] and all(restart.done() for restart in restarts):
                _, role = crashes.popleft()
                mesh.kill(role)
                restarts.append(asyncio.ensure_future(asyncio.to_thread(mesh.restart, role)))

        async with Client(mesh.addresses) as client:
            outcome = await Runner(client, "GBP", on_done=crash).run(invoices, CONCURRENCY)
            await asyncio.gather(*restarts)
            _, checks = await settled(client, outcome)
    assert len(restarts) == len(ServerName)
    assert [check.problems for check in checks] == [[]] * len(checks)
    # A payment is given up while its order cannot be reached, as on a busy machine a restart takes long.
    assert [one for one in outcome.rejected if not one.reason.startswith(GIVEN_UP)] == []
    assert len(outcome.sales) + len(outcome.returns) + len(outcome.rejected) == INVOICES
    assert len(outcome.rejected) < CONCURRENCY * len(ServerName)
