"""The shop's QR code: protobuf to model and back, nothing else."""

from dataclasses import dataclass
from functools import partial

from thirdparty_server.claims import messages, operations, queries
from thirdparty_server.claims.model import PRESENTED_MS_MAX, OrderPresentation
from thirdparty_server.errors import Reason
from thirdparty_server.payers.pending_orders import PendingOrders
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import claim_service_pb2 as api
from tillmesh.api.payment.v1 import order_claim_pb2, order_presentation_pb2
from tillmesh.auth.callers import acting_phone
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.messages import from_duration
from tillmesh.rpc.servicer import Servicer
from tillmesh.runtime.errors import found
from tillmesh.storage.requests import remember_refusal


@dataclass(frozen=True)
class ClaimServicer(Servicer):
    """tillmesh.api.payment.v1.ClaimService."""

    pending_orders: PendingOrders

    async def PresentOrder(self, request: api.PresentOrderRequest) -> order_presentation_pb2.OrderPresentation:
        """Presents an order of the store."""
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
            order_id = fields.identifier("order_id", request.order_id)
            code_hash = messages.code_hash(fields, "code_hash", request.code_hash)
            sticker_hash = messages.code_hash(fields, "sticker_hash", request.sticker_hash, optional=True)
            is_other = not sticker_hash or sticker_hash != code_hash
            fields.require(is_other, "sticker_hash", "must not be the code_hash as well")
            lifetime_ms = fields.positive("lifetime", from_duration(request.lifetime))
        known, presented = await self.database.run(operations.find_presented, self._key(request, request_id))
        if not known:
            order = messages.order_facts(await self.pending_orders.find(order_id))
            now_ms = self.clock.now_ms()
            until_ms = now_ms + min(lifetime_ms, PRESENTED_MS_MAX)
            new = OrderPresentation(
                order_id=order_id,
                store_id=order.store_id if order else "",
                reference=order.reference if order else "",
                code_hash=code_hash,
                sticker_hash=sticker_hash or None,
                presented_until_ms=until_ms,
                kept_until_ms=until_ms,
            )
            presented = await self._once(
                request,
                request_id,
                order_id,
                operations.get_presentation,
                operations.present_order,
                new,
                order,
                now_ms,
            )
        return messages.to_presentation(order_id, presented, self.clock.now_ms())

    async def ClaimOrder(self, request: api.ClaimOrderRequest) -> order_claim_pb2.OrderClaim:
        """Claims the order behind a code."""
        identity_id = acting_phone().identity_id or ""
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
            code = messages.scanned_code(fields, request.code)
        key, now_ms = self._key(request, request_id), self.clock.now_ms()
        find = partial(operations.find_claimable, key=key, code=code, identity_id=identity_id, now_ms=now_ms)
        seen = await remember_refusal(self.database, key, find)
        order = await self._order(seen)
        now_ms = self.clock.now_ms()
        claim = await self._once(
            request,
            request_id,
            seen.order_id,
            partial(operations.get_claim, identity_id=identity_id, now_ms=now_ms),
            operations.claim_order,
            seen,
            messages.order_facts(order),
            identity_id,
            now_ms,
        )
        return messages.to_claim(claim, found(order, Reason.CLAIM_NOT_FOUND, order_id=seen.order_id), now_ms)

    async def GetOrderClaim(self, request: api.GetOrderClaimRequest) -> order_claim_pb2.OrderClaim:
        """Reads a claimed order."""
        identity_id, now_ms = acting_phone().identity_id or "", self.clock.now_ms()
        claim = await self.database.run(operations.get_claim, request.order_id, identity_id, now_ms)
        order = await self._order(claim)
        if order is None or not claim.is_good_for(messages.order_facts(order)):
            raise Reason.CLAIM_NOT_FOUND(order_id=request.order_id)
        return messages.to_claim(claim, order, self.clock.now_ms())

    async def ReleaseOrderClaim(self, request: api.ReleaseOrderClaimRequest) -> api.ReleaseOrderClaimResponse:
        """Gives a claim up."""
        identity_id, order_id = acting_phone().identity_id or "", request.order_id
        with Fields() as fields:
            request_id = fields.identifier("request_id", request.request_id)
        await self._once(
            request,
            request_id,
            order_id,
            lambda *_: None,
            operations.release_claim,
            order_id,
            identity_id,
            self.clock.now_ms(),
        )
        return api.ReleaseOrderClaimResponse()

    async def _order(self, seen: OrderPresentation) -> order_pb2.Order | None:
        """The order as it is now. Once it is final, or not the one that was presented, that ends."""
        order = await self.pending_orders.find(seen.order_id)
        if not seen.is_good_for(messages.order_facts(order)):
            await self.database.run(queries.delete_same, seen)
        return order
