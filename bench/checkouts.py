"""Whole checkouts, as a store's software and its shopper make them."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from bench.load import TIMEOUT_S, Call, Sample, closed_loop, connect, open_loop, timed
from bench.machine import Processes
from bench.servers import Target
from bench.shoppers import CURRENCY, LINES, Phone
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from tillmesh.client.failures import Failure
from tillmesh.runtime.ids import new_request_id

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceAsyncStub

PAID_WITHIN_S = 30.0
POLL_INTERVAL_S = 0.02

Checkout = checkout_pb2.Checkout
Job = Callable[["Till", Phone], Awaitable[None]]
"""Something that a till does with a shopper who has this phone."""


class Till:
    """A store terminal, as the software of its store uses it."""

    def __init__(self, stub: "CheckoutServiceAsyncStub") -> None:
        self._stub = stub

    async def raise_order(self, identity_id: str = "") -> Checkout:
        """A basket of three lines, submitted; nobody is named where a pay code will say who pays."""
        lines = [
            api.NewLine(sku=line.sku, title=line.title, quantity=line.quantity, unit_price_minor=line.unit_price_minor)
            for line in LINES
        ]
        create = api.CreateCheckoutRequest(
            request_id=new_request_id(), identity_id=identity_id, currency_code=CURRENCY, lines=lines
        )
        checkout: Checkout = await self._stub.CreateCheckout(create, timeout=TIMEOUT_S)
        submit = api.SubmitCheckoutRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
        )
        return await self._stub.SubmitCheckout(submit, timeout=TIMEOUT_S)

    async def pay(self, checkout: Checkout, pay_code: str = "") -> Checkout:
        """Asks for the payment and returns what came of it so far; without a pay code it waits for the shopper."""
        request = api.PayCheckoutRequest(
            payment_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
            pay_code=pay_code,
        )
        return await self._stub.PayCheckout(request, timeout=TIMEOUT_S)

    async def cancel_payment(self, checkout: Checkout) -> Checkout:
        """Ends the payment under way."""
        request = api.CancelCheckoutPaymentRequest(request_id=new_request_id(), checkout_id=checkout.checkout_id)
        return await self._stub.CancelCheckoutPayment(request, timeout=TIMEOUT_S)

    async def change_line(self, checkout: Checkout) -> Checkout:
        """One piece less of the first line."""
        line = checkout.lines[0]
        request = api.UpdateLineRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            line_number=line.line_number,
            quantity=line.item.quantity - 1,
        )
        return await self._stub.UpdateLine(request, timeout=TIMEOUT_S)

    async def wait_until_paid(self, checkout: Checkout) -> None:
        """Returns once the order is paid, which PayCheckout's own answer says unless something took long."""
        end = time.monotonic() + PAID_WITHIN_S
        while checkout.state != Checkout.STATE_PAID:
            if checkout.verdict != checkout_pb2.VERDICT_WAIT or time.monotonic() > end:
                raise Failure(f"Checkout {checkout.checkout_id} was not paid: {checkout.verdict_reason}")
            await asyncio.sleep(POLL_INTERVAL_S)
            request = api.GetCheckoutRequest(checkout_id=checkout.checkout_id)
            checkout = await self._stub.GetCheckout(request, timeout=TIMEOUT_S)


async def buy(till: Till, phone: Phone) -> None:
    """Basket, order, pay code: paid."""
    checkout = await till.raise_order()
    await till.wait_until_paid(await till.pay(checkout, phone.code()))


async def change_mind(till: Till, phone: Phone) -> None:
    """The payment waits for the shopper, who cancels it, has a line changed and shows a pay code then."""
    checkout = await till.raise_order(phone.identity_id)
    waiting = await till.pay(checkout)
    if waiting.verdict != checkout_pb2.VERDICT_ASK_PAYER:
        raise Failure(f"Checkout {checkout.checkout_id} should wait for its payer: {waiting.verdict_reason}")
    canceled = await till.cancel_payment(waiting)
    if canceled.verdict != checkout_pb2.VERDICT_SAFE_TO_RETRY:
        raise Failure(f"Checkout {checkout.checkout_id} cannot be changed: {canceled.verdict_reason}")
    changed = await till.change_line(canceled)
    await till.wait_until_paid(await till.pay(changed, phone.code()))


async def keep_busy(
    targets: Sequence[Target], job: Job, phones: Sequence[Phone], at_a_time: int, processes: Processes
) -> Sample:
    """A job for each phone, so many at a time, spread over the tills; a part of them before, to warm up."""

    async def load(do: Call) -> Sample:
        warm = min(max(len(phones) // 10, at_a_time), len(phones) // 2)
        await closed_loop(do, range(warm), at_a_time)
        return await timed(processes, lambda: closed_loop(do, range(warm, len(phones)), at_a_time))

    return await _at_tills(targets, job, phones, load)


async def let_arrive(
    targets: Sequence[Target], job: Job, phones: Sequence[Phone], per_s: float, processes: Processes, seed: int
) -> Sample:
    """A job for each phone; shoppers arrive at random, so many a second."""

    async def load(do: Call) -> Sample:
        await do(0)
        return await timed(processes, lambda: open_loop(do, range(1, len(phones)), per_s, random.Random(seed)))

    return await _at_tills(targets, job, phones, load)


async def _at_tills(
    targets: Sequence[Target], job: Job, phones: Sequence[Phone], load: Callable[[Call], Awaitable[Sample]]
) -> Sample:
    async with AsyncExitStack() as stack:
        tills = []
        for target in targets:
            channel = await connect(target)
            stack.push_async_callback(channel.close)
            tills.append(Till(CheckoutServiceStub(channel)))
        return await load(lambda number: job(tills[number % len(tills)], phones[number]))
