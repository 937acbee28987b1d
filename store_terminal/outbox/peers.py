"""The two other servers."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog
from grpc import aio

from store_terminal.errors import Reason
from store_terminal.outbox.model import OrderCopy
from store_terminal.outbox.requests import order_copy
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import claim_service_pb2 as claim_api
from tillmesh.api.payment.v1 import order_presentation_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1.claim_service_pb2_grpc import ClaimServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceStub
from tillmesh.rpc.peers import CALL_TIMEOUT_S, Peer
from tillmesh.runtime.errors import CommonReason, Refusal, Unanswered

if TYPE_CHECKING:  # the generated modules have these in their types alone
    from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceAsyncStub
    from tillmesh.api.payment.v1.claim_service_pb2_grpc import ClaimServiceAsyncStub
    from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceAsyncStub
    from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceAsyncStub


NAME_TIMEOUT_S = 0.5
"""Nothing depends on a name, so goods wait no longer for it."""
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Peers:
    """The two other servers."""

    order_server: Peer
    orders: "OrderServiceAsyncStub"
    payment_server: Peer
    payments: "PaymentServiceAsyncStub"
    refunds: "RefundServiceAsyncStub"
    claims: "ClaimServiceAsyncStub"

    @staticmethod
    def over(orders: aio.Channel, payments: aio.Channel) -> "Peers":
        """The servers at the other end of two channels."""
        return Peers(
            order_server=Peer(),
            orders=OrderServiceStub(orders),
            payment_server=Peer(),
            payments=PaymentServiceStub(payments),
            refunds=RefundServiceStub(payments),
            claims=ClaimServiceStub(payments),
        )

    async def read_order(self, order_id: str, timeout_s: float = CALL_TIMEOUT_S) -> OrderCopy:
        """The order as it is now; if it is paid, with the name that the payment server has of its payer.

        ORDER_NOT_FOUND also for another store's: the order service tells a store of neither.
        """
        request = order_api.GetOrderRequest(order_id=order_id)
        try:
            order = await self.order_server.call(self.orders.GetOrder, request, timeout_s=timeout_s)
        except Refusal as refusal:
            if refusal.reason == CommonReason.STORE_DENIED.name:
                raise Reason.ORDER_NOT_FOUND(order_id=order_id) from refusal
            raise
        copy = order_copy(order)
        return replace(copy, payer_display_name=await self.payer_of(copy.paid_by)) if copy.paid_by else copy

    async def payer_of(self, payment_id: str) -> str | None:
        """The display name of a payment's payer; None where the payment server does not answer."""
        request = payment_api.GetPaymentRequest(payment_id=payment_id)
        server, payments = self.payment_server, self.payments
        try:
            return (await server.call(payments.GetPayment, request, timeout_s=NAME_TIMEOUT_S)).payer_display_name
        except (Refusal, Unanswered) as error:
            log.info("payer_not_named", payment_id=payment_id, error=str(error))
            return None

    async def present_order(self, request: claim_api.PresentOrderRequest) -> order_presentation_pb2.OrderPresentation:
        """Has an order presented to whoever scans its code."""
        return await self.payment_server.call(self.claims.PresentOrder, request)

    async def list_orders(self, request: order_api.ListOrdersRequest) -> order_api.ListOrdersResponse:
        """Orders as the order service has them."""
        return await self.order_server.call(self.orders.ListOrders, request)
