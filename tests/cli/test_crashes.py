"""A replay during which each server in turn is ended by kill -9 and started again."""

import asyncio
from pathlib import Path

import pytest

from tillmesh.cli.replay.invoices import Invoice, read_invoices
from tillmesh.cli.replay.reconcile import settled
from tillmesh.cli.replay.runner import Runner
from tillmesh.client.connections import Client
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName
from tillmesh.samples import ONLINE_RETAIL

pytestmark = pytest.mark.process

INVOICES = 120


async def test_a_replay_reconciles_whatever_crashes(tmp_path: Path) -> None:
    invoices = read_invoices(ONLINE_RETAIL, "GBP").invoices[:INVOICES]
    crashes = dict(zip((20, 50, 80), ServerName, strict=True))
    restarts: list[asyncio.Future[None]] = []
    done = 0

    with Mesh(tmp_path) as mesh:

        def crash(_invoice: Invoice) -> None:
            nonlocal done
            done += 1
            if done in crashes:
                mesh.kill(crashes[done])
                restarts.append(asyncio.ensure_future(asyncio.to_thread(mesh.restart, crashes[done])))

        async with Client(mesh.addresses) as client:
            outcome = await Runner(client, "GBP", on_done=crash).run(invoices, 8)
            await asyncio.gather(*restarts)
            _, checks = await settled(client, outcome)
    assert len(restarts) == len(ServerName)
    assert [check.problems for check in checks] == [[]] * len(checks)
    assert outcome.rejected == []
    assert len(outcome.sales) + len(outcome.returns) == INVOICES
