"""The two other servers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpc import aio

from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceStub
from tillmesh.rpc.peers import Peer

if TYPE_CHECKING:  # the generated modules have these in their types alone
    from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceAsyncStub
    from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceAsyncStub
    from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceAsyncStub


@dataclass(frozen=True, slots=True)
class Peers:
    """The two other servers."""

    order_server: Peer
    orders: "OrderServiceAsyncStub"
    payment_server: Peer
    payments: "PaymentServiceAsyncStub"
    refunds: "RefundServiceAsyncStub"

    @staticmethod
    def over(orders: aio.Channel, payments: aio.Channel) -> "Peers":
        """The servers at the other end of two channels."""
        return Peers(
            order_server=Peer(),
            orders=OrderServiceStub(orders),
            payment_server=Peer(),
            payments=PaymentServiceStub(payments),
            refunds=RefundServiceStub(payments),
        )
