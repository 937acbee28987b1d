"""A slice of `make chaos`; that it would find something; the whole takes minutes."""

import asyncio
import random
import shutil
import time
from pathlib import Path

import pytest

from tests.chaos.asking import ask, gbp
from tests.chaos.crowds import ask_too_much, leave_unfinished
from tests.chaos.databases import lose_databases
from tests.chaos.disks import fill_disks
from tests.chaos.fleet import Fleet
from tests.chaos.load import storm
from tests.chaos.logs import FULL_LOGS, stalled_logs
from tests.chaos.outages import PAYER, Outage, break_and_heal, open_wallet
from tests.chaos.reckoning import Reckoning, reckon, wait_until_final
from tests.chaos.wal import damage_many
from tests.chaos.witness import Witness
from tests.postgres import running_cluster
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.local.processes import ServerName
from tillmesh.runtime.ids import new_request_id
from tillmesh.sandbox.links import Fault

pytestmark = pytest.mark.process

KILLS = 1


def test_servers_killed_under_load_lose_nothing_and_damaged_logs_open_as_a_prefix(tmp_path: Path) -> None:
    rng = random.Random(1)
    stormed = asyncio.run(storm(tmp_path, KILLS, KILLS, rng))
    assert stormed.kills == dict.fromkeys(ServerName, KILLS)
    assert stormed.reckoning.findings() == []
    assert stormed.reckoning.paid > 0
    assert stormed.cuts > 0
    damaged = damage_many(stormed.remains, 12, tmp_path / "logs", rng)
    assert damaged.broken == []
    assert damaged.outcomes.total() == 12
    assert damaged.by_process == 3
    assert damaged.rows_dropped > 0


def test_a_full_disk_refuses_and_goes_on_once_there_is_room_although_the_log_is_full_as_well(tmp_path: Path) -> None:
    filled = asyncio.run(fill_disks(tmp_path, 1, random.Random(2), logs=FULL_LOGS))
    assert filled.times == dict.fromkeys(ServerName, 1)
    assert filled.refused == len(ServerName)
    assert filled.reckoning.findings() == []


@pytest.mark.chaos
def test_nobody_waits_for_a_log_that_is_not_read(tmp_path: Path) -> None:
    with stalled_logs(tmp_path / "logs") as logs:
        filled = asyncio.run(fill_disks(tmp_path / "mesh", 1, random.Random(6), logs=logs))
    assert filled.times == dict.fromkeys(ServerName, 1)
    assert filled.reckoning.findings() == []


@pytest.mark.chaos
def test_postgresql_that_answers_nothing_or_writes_nothing_loses_nothing(tmp_path: Path) -> None:
    with running_cluster() as postgres:
        lost = asyncio.run(lose_databases(tmp_path, postgres, random.Random(7), hole_s=1, answers_between=10))
    assert lost.times == dict.fromkeys(ServerName, 1)
    assert lost.reckoning.findings() == []


def test_payments_that_an_outage_left_unfinished_are_finished_while_others_shop(tmp_path: Path) -> None:
    crowd = asyncio.run(leave_unfinished(tmp_path, 80, random.Random(8)))
    assert crowd.reckoning.findings() == []
    assert crowd.reckoning.orders > 80


def test_of_twice_as_many_payments_as_can_be_made_each_is_made_once(tmp_path: Path) -> None:
    crowd = asyncio.run(ask_too_much(tmp_path, 1, random.Random(9)))
    assert crowd.reckoning.findings() == []
    assert crowd.payments > 0


def test_a_payment_is_decided_once_a_peer_is_back(tmp_path: Path) -> None:
    scenarios = [(Outage.order_back_in_time, Fault.CUT), (Outage.payment_server_back, Fault.BLACKHOLE)]
    healed = asyncio.run(break_and_heal(tmp_path, random.Random(3), scenarios))
    assert healed.reckoning.findings() == []
    assert len(healed.resolved_s) == len(scenarios)


async def test_a_lost_deposit_and_a_wrong_verdict_are_found(tmp_path: Path) -> None:
    rng, witness = random.Random(4), Witness()
    async with Fleet(tmp_path / "mesh", rng) as fleet, fleet.client as client:
        await open_wallet(client, witness, rng)
        await Outage(fleet, client, witness, rng, Fault.CUT).payment_server_back()
        assert await wait_until_final(client, time.monotonic()) == []
        honest = Reckoning()
        await reckon(client, witness, honest)
        assert honest.findings() == []

        await fleet.kill(ServerName.PAYMENTS)
        earlier = fleet.keep(ServerName.PAYMENTS, tmp_path / "earlier")
        await fleet.restart(ServerName.PAYMENTS)
        deposit = accounts_api.CreateDepositRequest(deposit_id=new_request_id(), identity_id=PAYER, amount=gbp(7))
        await ask(client, witness, rng, client.accounts.CreateDeposit, deposit)
        await fleet.kill(ServerName.PAYMENTS)
        for suffix in ("", "-wal"):
            shutil.copy(f"{earlier}{suffix}", fleet.database(ServerName.PAYMENTS).parent)
        await fleet.restart(ServerName.PAYMENTS)
        order_id, handed_over_ms = witness.goods_handed_over_ms.popitem()
        witness.goods_handed_over_ms[order_id] = handed_over_ms - 600_000
        witness.dead_payments.add(witness.checkouts[order_id].payment_id)

        found = Reckoning()
        assert await wait_until_final(client, time.monotonic()) == []
        await reckon(client, witness, found)
        assert [one.split()[0] for one in found.lost] == ["deposit"]
        assert deposit.deposit_id in found.lost[0]
        assert sorted(one.split(",")[0] for one in found.wrong_verdicts) == ["HAND_OVER_GOODS", "SAFE_TO_RETRY"]
