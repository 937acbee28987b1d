"""Very many payments at once: left unfinished by an outage, or twice as many as the servers can make."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.chaos.asking import ask, gbp
from tests.chaos.disks import sold_more
from tests.chaos.fleet import STORE, Fleet
from tests.chaos.reckoning import FINAL_WITHIN_S, Reckoning, let_finish, reckon, wait_until_final
from tests.chaos.shopper import Shopper
from tests.chaos.witness import Checkout, Payment, Witness
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as till_api
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.client.connections import Client
from tillmesh.client.failures import Unreachable
from tillmesh.local.processes import ServerName
from tillmesh.runtime.ids import new_request_id

IDENTITIES = 16
AT_A_TIME = 32
PATIENCE_S = 0.5
"""Of a caller whose payment stays unfinished."""
DEADLINE_S = 2.0
"""Of a caller among too many."""
FINISHED_PER_S = 20
"""A busy machine finishes at least so many."""
FIRST = 200
"""So many payments show how many a second the servers can make."""
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass
class Crowd:
    """What was done, and what came of it."""

    payments: int = 0
    refused: int = 0
    """Refused at once, as there were too many."""
    late: int = 0
    """Not answered in time."""
    finished_s: float = 0.0
    """From the end of the outage until all was final."""
    witness: Witness = field(default_factory=Witness)
    reckoning: Reckoning = field(default_factory=Reckoning)


async def leave_unfinished(folder: Path, count: int, rng: random.Random) -> Crowd:
    """So many shoppers pay at a till while the order service is away; it returns, and others shop meanwhile."""
    result, closed = Crowd(count), asyncio.Event()
    witness, found = result.witness, result.reckoning
    async with Fleet(folder, rng) as fleet, fleet.client as client:
        crowd = _Shopping(client, witness, rng)
        await crowd.open_wallets(count)
        checkouts = await _each(range(count), crowd.submit)
        await fleet.kill(ServerName.ORDERS)
        result.refused = sum(await _each(checkouts, crowd.pay_in_vain))
        await fleet.restart(ServerName.ORDERS)
        since_s = time.monotonic()
        shopper = asyncio.create_task(Shopper("honest", client, witness, rng).shop(closed))
        try:
            async with asyncio.timeout(FINAL_WITHIN_S):
                await sold_more(witness, 1)
        except TimeoutError:
            found.stuck.append("nobody else could buy anything beside what was unfinished")
        closed.set()
        await let_finish([shopper], found)
        found.stuck += await wait_until_final(client, since_s, FINAL_WITHIN_S + count / FINISHED_PER_S)
        result.finished_s = time.monotonic() - since_s
        await _each(checkouts, crowd.look)
        await reckon(client, witness, found)
        found.broken += fleet.broken()
    return result


async def ask_too_much(folder: Path, seconds: float, rng: random.Random) -> Crowd:
    """Payments for so long, twice as many a second as were made before; who was refused or gave up asks again."""
    result = Crowd()
    witness, found = result.witness, result.reckoning
    async with Fleet(folder, rng) as fleet, fleet.client as client:
        crowd = _Shopping(client, witness, rng)
        await crowd.open_wallets(FIRST)
        orders = await _each(range(FIRST), crowd.order)
        since_s = time.monotonic()
        await _each(orders, crowd.pay_order)
        per_s = 2 * FIRST / (time.monotonic() - since_s)
        result.payments = round(per_s * seconds)
        await crowd.open_wallets(result.payments)
        orders = await _each(range(result.payments), crowd.order)
        async with asyncio.TaskGroup() as group:
            for order in orders:
                group.create_task(crowd.pay_in_time(order, result))
                await asyncio.sleep(rng.expovariate(per_s))
        found.stuck += await wait_until_final(client, time.monotonic())
        await reckon(client, witness, found)
        found.broken += fleet.broken()
        if found.paid != FIRST + result.payments:
            found.broken.append(f"{found.paid} of {FIRST + result.payments} orders were paid")
    return result


class _Shopping:
    """What each of the crowd does."""

    def __init__(self, client: Client, witness: Witness, rng: random.Random) -> None:
        self._client = client
        self._witness = witness
        self._rng = rng
        self._opened = False

    async def open_wallets(self, payments: int) -> None:
        """Identities with the money for so many payments more."""
        for number in range(IDENTITIES):
            if not self._opened:
                create = identities_api.CreateIdentityRequest(
                    identity_id=_identity(number),
                    display_name="Crowd",
                    currency_code="GBP",
                    confirmation_threshold=gbp(1),
                )
                await ask(self._client, self._witness, self._rng, self._client.identities.CreateIdentity, create)
            deposit = accounts_api.CreateDepositRequest(
                deposit_id=new_request_id(), identity_id=_identity(number), amount=gbp(payments)
            )
            await ask(self._client, self._witness, self._rng, self._client.accounts.CreateDeposit, deposit)
        self._opened = True

    async def submit(self, number: int) -> Checkout:
        """A checkout at the till, ready to be paid."""
        line = till_api.NewLine(sku="TEA", quantity=1, unit_price_minor=1, title="Tea")
        create = till_api.CreateCheckoutRequest(
            request_id=new_request_id(), identity_id=_identity(number), lines=[line]
        )
        checkout = await ask(self._client, self._witness, self._rng, self._client.till.CreateCheckout, create)
        submit = till_api.SubmitCheckoutRequest(
            request_id=new_request_id(), checkout_id=checkout.checkout_id, basket_version=checkout.basket_version
        )
        return await ask(self._client, self._witness, self._rng, self._client.till.SubmitCheckout, submit)

    async def pay_in_vain(self, checkout: Checkout) -> int:
        """Pays at the till, which takes it on; returns how often it refused to before."""
        request = till_api.PayCheckoutRequest(
            payment_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
        )
        refused = 0
        while True:
            try:
                answer = await self._client.call(self._client.till.PayCheckout, request, timeout_s=PATIENCE_S)
            except Unreachable as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    return refused
                refused += 1
                await asyncio.sleep(self._rng.uniform(0, PATIENCE_S))
            else:
                self._witness.note(request, answer)
                return refused

    async def look(self, checkout: Checkout) -> Checkout:
        """What the till says in the end."""
        request = till_api.GetCheckoutRequest(checkout_id=checkout.checkout_id)
        return await ask(self._client, self._witness, self._rng, self._client.till.GetCheckout, request)

    async def order(self, number: int) -> order_pb2.Order:
        """An order that no till knows."""
        request = orders_api.CreateOrderRequest(
            request_id=new_request_id(),
            store_id=STORE,
            payer=Payer(identity_id=_identity(number)),
            currency_code="GBP",
            lines=[LineItem(sku="TEA", title="Tea", quantity=1, unit_price_minor=1)],
        )
        return await ask(self._client, self._witness, self._rng, self._client.orders.CreateOrder, request)

    async def pay_order(self, order: order_pb2.Order) -> Payment:
        """Pays it, however often it takes to ask."""
        request = _payment(order)
        return await ask(self._client, self._witness, self._rng, self._client.payments.CreatePayment, request)

    async def pay_in_time(self, order: order_pb2.Order, result: Crowd) -> None:
        """Pays it at once, or after all: the same request again is the same payment."""
        request = _payment(order)
        try:
            payment = await self._client.call(self._client.payments.CreatePayment, request, timeout_s=DEADLINE_S)
        except Unreachable as error:
            if "RESOURCE_EXHAUSTED" in str(error):
                result.refused += 1
            else:
                result.late += 1
            await ask(self._client, self._witness, self._rng, self._client.payments.CreatePayment, request)
        else:
            self._witness.note(request, payment)


def _identity(number: int) -> str:
    return f"crowd-{number % IDENTITIES}"


def _payment(order: order_pb2.Order) -> payments_api.CreatePaymentRequest:
    return payments_api.CreatePaymentRequest(
        payment_id=new_request_id(),
        order_id=order.order_id,
        order_version=order.version,
        payer=order.payer,
        amount=order.amount,
    )


async def _each(items: Iterable[Item], do: Callable[[Item], Awaitable[Made]]) -> list[Made]:
    """Does it to all, a few at a time."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(item: Item) -> Made:
        async with places:
            return await do(item)

    return list(await asyncio.gather(*map(one, items)))
