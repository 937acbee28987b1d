"""Pending transactions at all shops, as the order service has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpc import StatusCode

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.payer import identity
from tillmesh.rpc.messages import to_payer
from tillmesh.rpc.peers import Peer
from tillmesh.runtime.errors import Refusal

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceAsyncStub

PENDING = (order_pb2.Order.STATE_OPEN, order_pb2.Order.STATE_LOCKED)


@dataclass(frozen=True)
class PendingOrders:
    """The calls of one payer to the order service."""

    stub: "OrderServiceAsyncStub"
    peer: Peer

    async def of(self, identity_id: str, page_size: int, page_token: str) -> tuple[Sequence[order_pb2.Order], str]:
        """A page of the payer's orders, and where the next one starts."""
        request = orders_api.ListOrdersRequest(
            payer=to_payer(identity(identity_id)), states=PENDING, page_size=page_size, page_token=page_token
        )
        answer = await self.peer.call(self.stub.ListOrders, request)
        return answer.orders, answer.next_page_token

    async def find(self, order_id: str) -> order_pb2.Order | None:
        """The order of that number as it is now, in whatever state; None if there is none."""
        try:
            return await self.peer.call(self.stub.GetOrder, orders_api.GetOrderRequest(order_id=order_id))
        except Refusal as refusal:
            if refusal.code is not StatusCode.NOT_FOUND:
                raise
            return None
