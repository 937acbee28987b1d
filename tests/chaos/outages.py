"""A peer is out of reach at the worst moment, and comes back: all is decided within a minute."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from google.protobuf.message import Message
from grpc import aio

from tests.chaos.asking import Observed, ask, gbp
from tests.chaos.fleet import STORE, Fleet
from tests.chaos.hearing import heard
from tests.chaos.reckoning import FINAL_WITHIN_S, Order, Reckoning, reckon, wait_until_final
from tests.chaos.shopper import THRESHOLD
from tests.chaos.witness import Checkout, Payment, Witness
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as till_api
from tillmesh.client import Till
from tillmesh.client.connections import Client, DeviceConnections
from tillmesh.client.failures import Unreachable
from tillmesh.client.watch import follow_order, followed
from tillmesh.local.processes import ServerName
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.sandbox.links import Fault

Res = TypeVar("Res", bound=Message)

# A lock must outlast what a scenario does before its link heals.
TIMING = {
    ServerName.PAYMENTS: ["--payer-window-s=9", "--lease-margin-s=1", "--lock-patience-s=6"],
    ServerName.TERMINAL: ["--payment-wait-s=8"],
}
PAYER = "ada"
PRICE = 1_000
PATIENCE_S = 1.0  # of a caller who wants to see that something is not decided
HAND_OVER = checkout_pb2.VERDICT_HAND_OVER_GOODS
SAFE = checkout_pb2.VERDICT_SAFE_TO_RETRY


@dataclass
class Outages:
    """What was done, and what came of it."""

    resolved_s: dict[str, float] = field(default_factory=dict)
    """How long after the peer was back, by what happened."""
    witness: Witness = field(default_factory=Witness)
    reckoning: Reckoning = field(default_factory=Reckoning)


class Outage:
    """One checkout, one broken link."""

    def __init__(self, fleet: Fleet, client: Client, witness: Witness, rng: random.Random, fault: Fault) -> None:
        self._fleet = fleet
        self._client = client
        self._witness = witness
        self._rng = rng
        self._fault = fault

    async def order_back_in_time(self) -> float:
        """The order service is out of reach while money is held; back before the lock ends: paid."""
        checkout = await self._authorized()
        return await self._resolved("P-O", self._decided(checkout, HAND_OVER, Payment.STATE_CAPTURED))

    async def order_back_too_late(self) -> float:
        """The same, but the lock ended meanwhile: the money is given back, the shopper may try again."""
        checkout = await self._authorized()
        await self._order_is(checkout, Order.STATE_OPEN)
        return await self._resolved("P-O", self._decided(checkout, SAFE, Payment.STATE_VOIDED))

    async def answer_lost(self) -> float:
        """The order is paid, but the payment server does not hear of it; the till does, and says so at once."""
        checkout = await self._authorized()
        await self._order_is(checkout, Order.STATE_PAID)
        return await self._resolved("P-O", self._decided(checkout, HAND_OVER, Payment.STATE_CAPTURED))

    async def payment_server_back(self) -> float:
        """The till cannot reach the payment server, asks again, and pays."""
        checkout = await self._submitted()
        self._break("T-P")
        await self._pay(checkout, PATIENCE_S)
        return await self._resolved("T-P", self._verdict(checkout, HAND_OVER))

    async def payment_server_stays_away(self) -> float:
        """The till gives up: the order alone says that it is safe to retry; the payment, if any, takes nothing."""
        checkout = await self._submitted()
        self._break("T-P")
        await self._pay(checkout, PATIENCE_S)
        await self._verdict(checkout, SAFE)
        return await self._resolved("T-P", self._pay_again(checkout))

    async def order_away_from_till(self) -> float:
        """The till cannot reach the order service: it goes on asking for the order, once."""
        checkout = await self._basket()
        self._break("T-O")
        submit = _submit(checkout)
        with suppress(Unreachable):
            await self._client.call(self._client.till.SubmitCheckout, submit, timeout_s=PATIENCE_S)
        return await self._resolved("T-O", self._ask(self._client.till.SubmitCheckout, submit))

    async def order_away_while_paying(self) -> float:
        """The till cannot reach the order service, but the payment server can: paid."""
        checkout = await self._submitted()
        self._break("T-O")
        await self._pay(checkout, PATIENCE_S)
        await self._verdict(checkout, HAND_OVER)
        return await self._resolved("T-O", self._decided(checkout, HAND_OVER, Payment.STATE_CAPTURED))

    async def _authorized(self) -> Checkout:
        """A payment that is AUTHORIZED, its link to the order service broken exactly then."""
        checkout = await self._submitted(pieces=3)  # more than is paid without the payer's yes
        payment_id = await self._pay(checkout, None)
        self._break("P-O")
        confirm = payments_api.ConfirmPaymentRequest(
            request_id=new_request_id(), payment_id=payment_id, store_id=STORE, amount=checkout.amount
        )
        with suppress(Unreachable):
            await self._client.call(self._client.payments.ConfirmPayment, confirm, timeout_s=PATIENCE_S)
        await self._payment_is(payment_id, Payment.STATE_AUTHORIZED)
        return checkout

    async def _basket(self, pieces: int = 1) -> Checkout:
        line = till_api.NewLine(sku="TEA", quantity=pieces, unit_price_minor=PRICE, title="Tea")
        request = till_api.CreateCheckoutRequest(request_id=new_request_id(), identity_id=PAYER, lines=[line])
        return await self._ask(self._client.till.CreateCheckout, request)

    async def _submitted(self, pieces: int = 1) -> Checkout:
        checkout = await self._basket(pieces)
        request = _submit(checkout)
        return await self._ask(self._client.till.SubmitCheckout, request)

    async def _pay(self, checkout: Checkout, patience_s: float | None) -> str:
        """Starts a payment; with patience, one that is not to be decided in that time."""
        request = till_api.PayCheckoutRequest(
            payment_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
        )
        if patience_s is None:
            await self._ask(self._client.till.PayCheckout, request)
        else:
            with suppress(Unreachable):
                await self._client.call(self._client.till.PayCheckout, request, timeout_s=patience_s)
        return request.payment_id

    async def _pay_again(self, checkout: Checkout) -> None:
        await self._pay(checkout, None)
        await self._verdict(checkout, HAND_OVER)

    async def _decided(self, checkout: Checkout, verdict: int, state: int) -> None:
        """Till and payment server agree."""
        told = await self._verdict(checkout, verdict)
        await self._payment_is(told.payment_id, state)

    async def _verdict(self, checkout: Checkout, verdict: int) -> Checkout:
        """What the till says, once it has decided; it must be that."""
        observed = cast(DeviceConnections, Observed(self._client, self._witness, self._rng))
        async with Till.over(observed) as till:
            said = await (await till.find(checkout.checkout_id)).ended()
        assert said.checkout.verdict == verdict, said.verdict
        return said.checkout

    async def _payment_is(self, payment_id: str, state: int) -> None:
        """Returns once a payment is so, which the till may not have sent yet."""
        answers = self._client.watch(
            self._client.payments.WatchPayments, payments_api.WatchPaymentsRequest(store_id=STORE)
        )

        async def read() -> Payment:
            request = payments_api.GetPaymentRequest(payment_id=payment_id)
            try:
                return await self._ask(self._client.payments.GetPayment, request)
            except Refusal:
                return Payment()

        def record_of(update: payments_api.PaymentUpdate) -> Payment | None:
            return update.payment if update.event.payment_id == payment_id else None

        await heard(followed(answers, read, record_of), lambda payment: payment.state == state)

    async def _order_is(self, checkout: Checkout, state: int) -> None:
        """Returns once an order is so."""
        order = Order(order_id=checkout.checkout_id, store_id=STORE)
        await heard(follow_order(self._client, order), lambda order: order.state == state)

    async def _resolved(self, link: str, outcome: Awaitable[object]) -> float:
        """Heals the link; returns how long the outcome took after that."""
        self._fleet.links[link].heal()
        healed_s = time.monotonic()
        async with asyncio.timeout(FINAL_WITHIN_S):
            await outcome
        return time.monotonic() - healed_s

    def _break(self, link: str) -> None:
        self._fleet.links[link].break_by(self._fault)

    async def _ask(self, method: aio.UnaryUnaryMultiCallable[Any, Res], request: Message) -> Res:
        return await ask(self._client, self._witness, self._rng, method, request)


def _submit(checkout: Checkout) -> till_api.SubmitCheckoutRequest:
    return till_api.SubmitCheckoutRequest(
        request_id=new_request_id(), checkout_id=checkout.checkout_id, basket_version=checkout.basket_version
    )


Scenario = Callable[[Outage], Awaitable[float]]
SCENARIOS: list[tuple[Scenario, Fault]] = [
    (Outage.order_back_in_time, Fault.CUT),
    (Outage.order_back_in_time, Fault.BLACKHOLE),
    (Outage.order_back_too_late, Fault.BLACKHOLE),
    (Outage.answer_lost, Fault.DEAF),
    (Outage.payment_server_back, Fault.CUT),
    (Outage.payment_server_back, Fault.BLACKHOLE),
    (Outage.payment_server_back, Fault.DEAF),
    (Outage.payment_server_stays_away, Fault.CUT),
    (Outage.payment_server_stays_away, Fault.BLACKHOLE),
    (Outage.order_away_from_till, Fault.CUT),
    (Outage.order_away_from_till, Fault.BLACKHOLE),
    (Outage.order_away_from_till, Fault.DEAF),
    (Outage.order_away_while_paying, Fault.CUT),
    (Outage.order_away_while_paying, Fault.DEAF),
]


async def break_and_heal(
    folder: Path,
    rng: random.Random,
    scenarios: Sequence[tuple[Scenario, Fault]] = SCENARIOS,
    resolved: Callable[[], None] = lambda: None,
) -> Outages:
    """Plays each scenario, one after the other, on one fleet."""
    result = Outages()
    witness = result.witness
    async with Fleet(folder, rng, timing=TIMING) as fleet, fleet.client as client:
        await open_wallet(client, witness, rng)
        for scenario, fault in scenarios:
            name = f"{scenario.__name__}, {fault.value}"
            try:
                async with asyncio.timeout(FINAL_WITHIN_S * 2):
                    result.resolved_s[name] = await scenario(Outage(fleet, client, witness, rng, fault))
            except (AssertionError, TimeoutError, Refusal) as error:
                result.reckoning.broken.append(f"{name}: {error!r}")
            fleet.heal_links()
            resolved()
        result.reckoning.stuck += await wait_until_final(client, time.monotonic())
        await reckon(client, witness, result.reckoning)
    return result


async def open_wallet(client: Client, witness: Witness, rng: random.Random) -> None:
    identity = identities_api.CreateIdentityRequest(
        identity_id=PAYER,
        display_name="Ada",
        currency_code="GBP",
        confirmation_threshold=gbp(THRESHOLD),
    )
    await ask(client, witness, rng, client.identities.CreateIdentity, identity)
    deposit = accounts_api.CreateDepositRequest(deposit_id=new_request_id(), identity_id=PAYER, amount=gbp(100 * PRICE))
    await ask(client, witness, rng, client.accounts.CreateDeposit, deposit)
