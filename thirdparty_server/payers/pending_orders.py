"""A payer's pending transactions at all shops, as the order service has them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.payer import identity
from tillmesh.rpc.messages import to_payer
from tillmesh.rpc.peers import Peer

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
