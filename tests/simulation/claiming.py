"""The shop's QR code: what a till shows, and what phones do with it."""

import asyncio
from functools import partial
from typing import Any

from tests.simulation.deeds import Deeds
from tests.simulation.network import PAYMENTS, SIGNED_IN, TERMINAL
from tests.simulation.world import World
from tillmesh.api.payment.v1 import claim_service_pb2 as claims_api
from tillmesh.api.payment.v1 import order_claim_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1.claim_service_pb2_grpc import ClaimServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.terminal.v1 import presentation_service_pb2 as presentations_api
from tillmesh.api.terminal.v1.presentation_service_pb2_grpc import PresentationServiceStub
from tillmesh.api.type.v1 import payer_pb2


class Claiming(Deeds):
    """A customer before a till that shows QR codes, with a phone on which they are signed in."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        own_phone = f"{SIGNED_IN}{name}"
        self._presentations = PresentationServiceStub(world.channel(f"hardware-{name}", TERMINAL))
        self._claims = ClaimServiceStub(world.channel(own_phone, PAYMENTS))
        self._own_payments = PaymentServiceStub(world.channel(own_phone, PAYMENTS))
        self._codes: list[str] = []
        """What this till has shown, and what sticks at it."""

    async def ask(self, method: Any, request: Any) -> Any:
        """As by anybody, but what is told of claims is taken down."""
        sent = self.world.claims.sent()
        answer = await super().ask(method, request)
        if isinstance(answer, order_claim_pb2.OrderClaim):
            self.world.claims.told(self.name, answer, sent)
        return answer

    async def present(self) -> None:
        """Shows the order's QR code on the till's display."""
        request = presentations_api.PresentCheckoutRequest(
            request_id=self.new_id(), checkout_id=self.checkout_id, lane=f"lane-{self.name}"
        )
        if shown := await self.ask(self._presentations.PresentCheckout, request):
            self._codes.append(shown.code)

    async def renew_sticker(self) -> None:
        """Puts a new sticker on the till."""
        request = presentations_api.RenewLaneStickerRequest(request_id=self.new_id(), lane=f"lane-{self.name}")
        if sticker := await self.ask(self._presentations.RenewLaneSticker, request):
            self._codes.append(sticker.code)

    async def claim_at(self, seller: "Claiming") -> None:
        """Scans what is at a till, once or twice, and pays, gives the claim up, or forgets it."""
        if not (code := await self._code_at(seller)):
            return
        request = claims_api.ClaimOrderRequest(request_id=self.new_id(), code=code)
        other = claims_api.ClaimOrderRequest(request_id=self.new_id(), code=code)
        clicks = self.rng.choice(([request], [request], [request, request], [request, other]))
        claims = await asyncio.gather(*(self.ask(self._claims.ClaimOrder, click) for click in clicks))
        if claim := next(filter(None, claims), None):
            await self.pause(3)
            pay = partial(self._pay_claimed, claim)
            release = partial(self._release, claim)
            look = partial(self._look_at, claim)
            for deed in self.rng.choice(([pay], [look, pay], [pay, look], [release], [pay, release], [look])):
                await deed()

    async def _code_at(self, seller: "Claiming") -> str:
        """One of the latest codes there; waits a moment for one."""
        for pause_s in (0.2, 1.0, 4.0):
            if seller._codes:
                return self.rng.choice(seller._codes[-2:])
            await asyncio.sleep(pause_s)
        return ""

    async def _look_at(self, claim: order_claim_pb2.OrderClaim) -> None:
        """Reads the claimed order, now and after a while."""
        request = claims_api.GetOrderClaimRequest(order_id=claim.order.order_id)
        for _ in range(2):
            await self.ask(self._claims.GetOrderClaim, request)
            await self.pause(8)

    async def _release(self, claim: order_claim_pb2.OrderClaim) -> None:
        """Leaves the order to another."""
        request = claims_api.ReleaseOrderClaimRequest(request_id=self.new_id(), order_id=claim.order.order_id)
        await self.ask(self._claims.ReleaseOrderClaim, request)

    async def _pay_claimed(self, claim: order_claim_pb2.OrderClaim) -> None:
        """Agrees to what the phone shows, in one's own name."""
        order = claim.order
        if order.amount.minor_units == 0:
            return
        request = payments_api.CreatePaymentRequest(
            payment_id=self.new_id(),
            order_id=order.order_id,
            order_version=order.version,
            payer=payer_pb2.Payer(identity_id=self.name),
            amount=order.amount,
        )
        self.world.claims.pays(request.payment_id, self.name, order.order_id)
        clicks = self.rng.choice((1, 1, 2))
        await self.at_once(*(self.ask(self._own_payments.CreatePayment, request) for _ in range(clicks)))
