"""A till of the mesh that is replayed on: waits until it is known what came of a payment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from tillmesh.api.payment.v1 import payment_service_pb2 as payments
from tillmesh.cli.display import verdict_name
from tillmesh.cli.replay import calls
from tillmesh.cli.replay.calls import ANSWER_WITHIN_S, call
from tillmesh.cli.replay.invoices import WALK_IN
from tillmesh.client import Refusal, Said, Sale, Till, Verdict
from tillmesh.client.connections import Client
from tillmesh.runtime.ids import new_request_id


class NotPaid(Exception):
    """A sale or refund that ended without the money moving."""


@asynccontextmanager
async def patient_till(client: Client) -> AsyncIterator[Till]:
    """A till that waits for a server that is started again."""
    async with Till.over(client, patience_s=calls.BACK_WITHIN_S) as till:
        yield till


async def find_store(till: Till, currency: str) -> str:
    """The store of the terminal, read from a basket."""
    basket = await till.open(payer=WALK_IN, currency=currency)
    await basket.cancel()
    return basket.said.checkout.store_id


async def outcome_of(client: Client, sale: Sale) -> Said:
    """A sale once its payment is decided; gives up an undecided payment at the deadline."""
    if not await _is_decided(client, sale):
        await sale.cancel_payment()
        await _is_decided(client, sale)
    return sale.said


def require_paid(said: Said) -> None:
    """Raises NotPaid where the goods are not handed over."""
    if not said.hands_over:
        what = f"the checkout {said.checkout.checkout_id} was not paid, {verdict_name(said.checkout)}"
        raise NotPaid(f"{said.reason}: {what}")


async def _is_decided(client: Client, sale: Sale) -> bool:
    asked_for = ""
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_WITHIN_S), aclosing(sale.follow()) as following:
            async for said in following:
                payment_id = said.checkout.payment_id
                if said.verdict is Verdict.ASK_PAYER and asked_for != payment_id:
                    asked_for = payment_id
                    await _say_yes(client, said)
            return True
    return False


async def _say_yes(client: Client, said: Said) -> None:
    """For the customer, as the platform: the payment is above a limit of the customer's wallet."""
    checkout = said.checkout
    consent = payments.ConfirmPaymentRequest(
        request_id=new_request_id(),
        payment_id=checkout.payment_id,
        store_id=checkout.store_id,
        amount=checkout.amount,
    )
    try:
        await call(client, client.payments.ConfirmPayment, consent)
    except Refusal as refusal:
        if refusal.reason != "PAYMENT_NOT_WAITING":  # the till will hear what it came to
            raise
