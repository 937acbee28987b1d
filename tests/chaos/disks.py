"""Fills each server's disk while shoppers shop: refused cleanly, and on it goes once there is room."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from grpc import aio

from tests.chaos import small_disk
from tests.chaos.asking import POLL_INTERVAL_S, ask, gbp
from tests.chaos.fleet import STORE, Fleet
from tests.chaos.reckoning import FINAL_WITHIN_S, Reckoning, let_finish, reckon, wait_until_final
from tests.chaos.shopper import Shopper
from tests.chaos.witness import Witness
from tests.processes import DEADLINE_S
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as till_api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.client.connections import Client
from tillmesh.client.failures import Unreachable
from tillmesh.local.processes import ServerName
from tillmesh.runtime.ids import new_request_id

SHOPPERS = 3
WRITES_MAX = 500  # far more than what fills the last page of each table
READS_MAX = 10


@dataclass
class Unwritable:
    """How often each role could not write, and what came of it."""

    times: Counter[ServerName] = field(default_factory=Counter)
    refused: int = 0
    witness: Witness = field(default_factory=Witness)
    reckoning: Reckoning = field(default_factory=Reckoning)


async def fill_disks(
    folder: Path,
    times: int,
    rng: random.Random,
    filled: Callable[[], None] = lambda: None,
    logs: Mapping[ServerName, Path] = MappingProxyType({}),
) -> Unwritable:
    """Fills the disk of each role `times` times; the servers log there."""
    result = Unwritable()
    programs = {role: (small_disk.NAME, role) for role in ServerName}
    async with Fleet(folder, rng, programs, logs=logs) as fleet, fleet.client as client:
        closed = asyncio.Event()
        names = [f"shopper-{number}" for number in range(SHOPPERS)]
        shoppers = [asyncio.create_task(Shopper(name, client, result.witness, rng).shop(closed)) for name in names]
        await sold_more(result.witness, 1)
        for _ in range(times):
            for role in ServerName:
                process = fleet.servers[role].process
                await refuse_writes(
                    client,
                    role,
                    result,
                    rng,
                    partial(process.send_signal, signal.SIGUSR1),
                    partial(process.send_signal, signal.SIGUSR2),
                )
                filled()
        closed.set()
        since_s = time.monotonic()
        await let_finish(shoppers, result.reckoning)
        result.reckoning.stuck += await wait_until_final(client, since_s)
        await reckon(client, result.witness, result.reckoning)
        result.reckoning.broken += fleet.broken()
    return result


async def refuse_writes(
    client: Client,
    role: ServerName,
    result: Unwritable,
    rng: random.Random,
    begin: Callable[[], None],
    end: Callable[[], None],
) -> None:
    """While it cannot write, one request is refused and reads go on; the same request is accepted later."""
    found = result.reckoning
    begin()
    try:
        method, request = await _write_until_refused(client, role, result)
        if not await _can_read(client, role, result.witness):
            found.broken.append(f"{role} cannot read while it cannot write")
    finally:
        end()
    result.times[role] += 1
    try:
        async with asyncio.timeout(FINAL_WITHIN_S):
            await ask(client, result.witness, rng, method, request)
            await sold_more(result.witness, 1)
    except TimeoutError:
        found.stuck.append(f"{role} did not go on once it could write again")


async def _write_until_refused(
    client: Client, role: ServerName, result: Unwritable
) -> tuple[aio.UnaryUnaryMultiCallable[Any, Any], Any]:
    for _ in range(WRITES_MAX):
        method, request = _write(client, role)
        try:
            answer = await client.call(method, request, timeout_s=FINAL_WITHIN_S)
        except Unreachable as error:
            if "STORAGE_UNAVAILABLE" not in str(error) and "cannot write to its database" not in str(error):
                result.reckoning.broken.append(f"{role} that cannot write said: {error}")
            result.refused += 1
            return method, request
        result.witness.note(request, answer)
    raise AssertionError(f"{role} wrote {WRITES_MAX} times although it cannot")


def _write(client: Client, role: ServerName) -> tuple[aio.UnaryUnaryMultiCallable[Any, Any], Any]:
    """A request that takes room."""
    match role:
        case ServerName.ORDERS:
            lines = [LineItem(sku="BULK", title="x" * 200, quantity=1, unit_price_minor=1)] * 20
            return client.orders.CreateOrder, orders_api.CreateOrderRequest(
                request_id=new_request_id(),
                store_id=STORE,
                payer=Payer(identity_id="shopper-0"),
                currency_code="GBP",
                lines=lines,
            )
        case ServerName.PAYMENTS:
            return client.accounts.CreateDeposit, accounts_api.CreateDepositRequest(
                deposit_id=new_request_id(), identity_id="shopper-0", amount=gbp(1)
            )
        case ServerName.TERMINAL:
            new = till_api.NewLine(sku="BULK", title="x" * 200, quantity=1, unit_price_minor=1)
            return client.till.CreateCheckout, till_api.CreateCheckoutRequest(
                request_id=new_request_id(), identity_id="shopper-0", lines=[new] * 20
            )


async def _can_read(client: Client, role: ServerName, witness: Witness) -> bool:
    reads: dict[ServerName, tuple[aio.UnaryUnaryMultiCallable[Any, Any], Any]] = {
        ServerName.ORDERS: (client.orders.GetOrder, orders_api.GetOrderRequest(order_id=next(iter(witness.versions)))),
        ServerName.PAYMENTS: (
            client.accounts.GetAccount,
            accounts_api.GetAccountRequest(account_id="wallet/shopper-0/GBP"),
        ),
        ServerName.TERMINAL: (
            client.till.GetCheckout,
            till_api.GetCheckoutRequest(checkout_id=next(iter(witness.checkouts))),
        ),
    }
    method, request = reads[role]
    for _ in range(READS_MAX):  # a read that shares its transaction with a write is refused with it
        try:
            await client.call(method, request, timeout_s=FINAL_WITHIN_S)
        except Unreachable:
            await asyncio.sleep(POLL_INTERVAL_S)
        else:
            return True
    return False


async def sold_more(witness: Witness, count: int) -> None:
    """Returns once that many more goods were handed over."""
    wanted = len(witness.goods_handed_over_ms) + count
    async with asyncio.timeout(DEADLINE_S):
        while True:
            if len(witness.goods_handed_over_ms) >= wanted:
                return
            await asyncio.sleep(POLL_INTERVAL_S)
