"""Measures `tillmesh reconcile` on servers with a past: `python -m bench.reconcile 10000 1000000`.

For each number of orders the servers sell a few, stop, have them copied in their databases, and start again. Prints
how long the command takes, and the most memory that it has.
"""

import asyncio
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import order_service.tables
import store_terminal.tables
import thirdparty_server.tables
from bench.fill import fill
from tillmesh.api.payment.v1 import account_service_pb2 as account_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identity_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.client.connections import Addresses, Client
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName
from tillmesh.runtime.ids import new_request_id

SOLD = 100
PRICE_MINOR = 250
TABLES = {
    ServerName.ORDERS: order_service.tables.METADATA,
    ServerName.PAYMENTS: thirdparty_server.tables.METADATA,
    ServerName.TERMINAL: store_terminal.tables.METADATA,
}


def main() -> None:
    """Each number of orders in turn."""
    for size in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory(prefix="bench-reconcile-") as folder:
            _measure(Path(folder), size)


def _measure(folder: Path, size: int) -> None:
    with Mesh(folder) as mesh:
        asyncio.run(_sell(mesh.addresses))
    # In a process of its own: what this one has at most is counted to the command that it starts.
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        apart.submit(_fill, folder, size // SOLD - 1).result()
    with Mesh(folder) as mesh:
        began_s = time.monotonic()
        status, rss_kib = _reconcile(mesh.addresses)
        took_s = time.monotonic() - began_s
        print(f"{size:,} orders: {took_s:.1f} s, {rss_kib / 1024:.0f} MiB, exit status {status}", flush=True)


def _fill(folder: Path, copies: int) -> None:
    for server, metadata in TABLES.items():
        fill(f"sqlite:///{folder / server}.db", metadata, copies, lambda: None)


async def _sell(addresses: Addresses) -> None:
    async with Client(addresses) as client:
        money = money_pb2.Money(currency_code="GBP", minor_units=PRICE_MINOR * SOLD)
        identity = identity_api.CreateIdentityRequest(
            identity_id="ada",
            display_name="Ada",
            currency_code="GBP",
            confirmation_threshold=money,
        )
        await client.call(client.identities.CreateIdentity, identity)
        deposit = account_api.CreateDepositRequest(deposit_id=new_request_id(), identity_id="ada", amount=money)
        await client.call(client.accounts.CreateDeposit, deposit)
        for _ in range(SOLD):
            await _buy(client)
        open_ones = checkout_api.ListCheckoutsRequest(states=[checkout_pb2.Checkout.STATE_SUBMITTED])
        while True:
            if not (await client.call(client.till.ListCheckouts, open_ones)).checkouts:
                return
            await asyncio.sleep(1)  # in which the till looks


async def _buy(client: Client) -> None:
    """A checkout at the till, which the platform has its payer pay."""
    line = checkout_api.NewLine(sku="MUG", quantity=1, unit_price_minor=PRICE_MINOR)
    create = checkout_api.CreateCheckoutRequest(request_id=new_request_id(), identity_id="ada", lines=[line])
    basket = await client.call(client.till.CreateCheckout, create)
    submit = checkout_api.SubmitCheckoutRequest(
        request_id=new_request_id(), checkout_id=basket.checkout_id, basket_version=basket.basket_version
    )
    checkout = await client.call(client.till.SubmitCheckout, submit)
    pay = payment_api.CreatePaymentRequest(
        payment_id=new_request_id(),
        order_id=checkout.checkout_id,
        order_version=checkout.order_version,
        payer=checkout.payer,
        amount=checkout.amount,
    )
    await client.call(client.payments.CreatePayment, pay)


def _reconcile(addresses: Addresses) -> tuple[int, int]:
    """The exit status of the command, and its greatest resident set in KiB."""
    servers = ["--orders", addresses.orders, "--payments", addresses.payments, "--terminal", addresses.terminal]
    certificates = ["--tls-dir", str(addresses.tls_dir)]
    command = [
        str(Path(sys.executable).with_name("tillmesh")),
        *certificates,
        "reconcile",
        "--settled-s",
        "0",
        *servers,
    ]
    pid = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss


if __name__ == "__main__":
    main()
