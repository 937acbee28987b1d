"""A till of the mesh that is replayed on: pays, and waits until it is known what came of that."""

import asyncio
from contextlib import aclosing, suppress

from tillmesh.api.payment.v1 import payment_service_pb2 as payments
from tillmesh.api.terminal.v1 import checkout_pb2 as checkout_types
from tillmesh.api.terminal.v1 import checkout_service_pb2 as terminal
from tillmesh.cli.display import verdict_name
from tillmesh.cli.replay.calls import ANSWER_WITHIN_S, call
from tillmesh.cli.replay.invoices import WALK_IN
from tillmesh.client.connections import Client
from tillmesh.client.requests import payment_by_code
from tillmesh.client.watch import follow_checkout
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

Checkout = checkout_types.Checkout
UNDECIDED = (checkout_types.VERDICT_WAIT, checkout_types.VERDICT_ASK_PAYER, checkout_types.VERDICT_DO_NOT_RETRY)


class NotPaid(Exception):
    """A checkout or refund that ended without the money moving."""


class Till:
    """The terminal, in one currency."""

    def __init__(self, client: Client, currency: str) -> None:
        self._client = client
        self._currency = currency

    async def pay(self, checkout: Checkout, code: Secret | None) -> Checkout:
        """Pays, by code if one is shown, and waits for the verdict."""
        request = payment_by_code(checkout, code)
        paying = await call(self._client, self._client.till.PayCheckout, request)
        return await self.outcome_of(paying, request.payment_id)

    async def outcome_of(self, checkout: Checkout, payment_id: str) -> Checkout:
        """The checkout once its payment is decided; gives up an undecided payment at the deadline."""
        consent = payments.ConfirmPaymentRequest(
            request_id=new_request_id(),
            payment_id=payment_id,
            store_id=checkout.store_id,
            amount=checkout.amount,
        )
        checkout = await self._decided(checkout, consent)
        if checkout.verdict in UNDECIDED:
            cancel = terminal.CancelCheckoutPaymentRequest(
                request_id=new_request_id(), checkout_id=checkout.checkout_id
            )
            checkout = await call(self._client, self._client.till.CancelCheckoutPayment, cancel)
            checkout = await self._decided(checkout, consent)
        return checkout

    async def find_store(self) -> str:
        """The store of the terminal, read from a basket."""
        create = terminal.CreateCheckoutRequest(
            request_id=new_request_id(), identity_id=WALK_IN, currency_code=self._currency
        )
        basket = await call(self._client, self._client.till.CreateCheckout, create)
        await self.abandon(basket.checkout_id)
        return basket.store_id

    async def abandon(self, checkout_id: str) -> None:
        """Cancels a checkout."""
        request = terminal.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=checkout_id)
        await call(self._client, self._client.till.CancelCheckout, request)

    async def _decided(self, checkout: Checkout, consent: payments.ConfirmPaymentRequest) -> Checkout:
        if checkout.verdict not in UNDECIDED:
            return checkout
        said_yes = False
        request = terminal.GetCheckoutRequest(checkout_id=checkout.checkout_id)
        following = follow_checkout(
            self._client,
            checkout.checkout_id,
            lambda: call(self._client, self._client.till.GetCheckout, request),
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN_S), aclosing(following):
                async for checkout in following:
                    if checkout.verdict not in UNDECIDED:
                        break
                    if checkout.verdict == checkout_types.VERDICT_ASK_PAYER and not said_yes:
                        await self._say_yes(consent)
                        said_yes = True
        return checkout

    async def _say_yes(self, consent: payments.ConfirmPaymentRequest) -> None:
        """For the customer, as the platform: the payment is above a limit of the customer's wallet."""
        try:
            await call(self._client, self._client.payments.ConfirmPayment, consent)
        except Refusal as refusal:
            if refusal.reason != "PAYMENT_NOT_WAITING":  # the till will hear what it came to
                raise


def require_paid(checkout: Checkout) -> None:
    """Raises NotPaid where the goods are not handed over."""
    if checkout.verdict != checkout_types.VERDICT_HAND_OVER_GOODS:
        what = f"the checkout {checkout.checkout_id} was not paid, {verdict_name(checkout)}"
        raise NotPaid(f"{checkout.verdict_reason}: {what}")
