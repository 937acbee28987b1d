"""An order service that is set back to an older backup, and the money that was held for what it forgot."""

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.cli.command_line import Person, found
from tests.processes import wait_until
from tillmesh.api.payment.v1 import payment_service_pb2 as api
from tillmesh.client.connections import Client
from tillmesh.client.failures import Unreachable
from tillmesh.client.requests import consent_to
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName

pytestmark = pytest.mark.process


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """A mesh of its own: a server of it loses what it had."""
    with Mesh(tmp_path / "mesh") as mesh:
        yield mesh


def set_back(mesh: Mesh, backup: Path) -> None:
    """Ends the order service and puts an older copy of its database in place; it is not started."""
    mesh.kill(ServerName.ORDERS)
    database = mesh.processes[ServerName.ORDERS].database
    for file in database.parent.glob(f"{database.name}-*"):
        file.unlink()
    shutil.copy(backup, database)


async def say_yes(mesh: Mesh, payment_id: str) -> None:
    """Confirms a payment, and does not wait for the order service."""
    async with Client(mesh.addresses) as client:
        payment = await client.call(client.payments.GetPayment, api.GetPaymentRequest(payment_id=payment_id))
        with suppress(Unreachable):
            await client.call(client.payments.ConfirmPayment, consent_to(payment), timeout_s=1)


def test_an_operator_finds_and_ends_a_hold_that_the_order_service_forgot(mesh: Mesh, tmp_path: Path) -> None:
    person, backup = Person(mesh), tmp_path / "backup.db"
    person.does("identity", "grace", "--confirm-above", "5.00")
    person.does("deposit", "grace", "50")
    order_id = found(r"Order (\S+):", person.does("sell", "grace", "BAG@11.40"))
    database = mesh.processes[ServerName.ORDERS].database
    with closing(sqlite3.connect(database)) as now, closing(sqlite3.connect(backup)) as copy:
        now.backup(copy)
    payment_id = found(r"Payment (\S+) of 11\.40 GBP for \S+: AWAITING_PAYER", person.does("pay", order_id))
    assert "is AWAITING_PAYER, and no case for an operator" in person.fails("void", payment_id)

    set_back(mesh, backup)
    asyncio.run(say_yes(mesh, payment_id))
    wait_until(lambda: payment_id in person.does("payments", "--state", "authorized"))
    mesh.restart(ServerName.ORDERS)
    wait_until(lambda: "hold_without_end" in mesh.processes[ServerName.PAYMENTS].log.read_text())
    assert payment_id in person.does("payments", "--state", "authorized", "--unchanged-s", "0.1")
    assert payment_id not in person.does("payments", "--state", "authorized", "--unchanged-s", "600")

    assert person.does("explain", order_id).endswith(
        "11.40 GBP is due. Nobody has to act: the order waits for a payment. "
        f"The payment server still works on payment {payment_id[:8]}, by itself.\n"
    )
    assert person.fails("void", payment_id, types="n\n").endswith("Nothing was changed.")
    assert "on hold 11.40 GBP" in person.does("statement", "grace")
    shown = person.does("void", payment_id, types="y\n")
    for said in (
        "Raised as a pending transaction of 11.40 GBP.",
        "11.40 GBP held in the wallet of grace",
        "The order is OPEN at version 1, 11.40 GBP. 11.40 GBP is held in the wallet of grace until the order decides.",
        f"Payment {payment_id} of 11.40 GBP for {order_id}: VOIDED (VOIDED_BY_OPERATOR).",
    ):
        assert said in shown
    assert "on hold 0.00 GBP" in person.does("statement", "grace")
    assert re.search(
        rf"Payment {payment_id[:8]} is void: .* \(VOIDED_BY_OPERATOR\)\. +platform/cli",
        person.does("explain", order_id),
    )
    assert "is VOIDED, and no case for an operator" in person.fails("void", payment_id, "--yes")
    assert "balanced" in person.does("balances")
