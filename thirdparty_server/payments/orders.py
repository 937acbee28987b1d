"""The order service, as payments call it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from thirdparty_server.payments.model import PaidVersion, Payment
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_payment_pb2 import OrderPayment
from tillmesh.rpc.line_messages import from_line_item
from tillmesh.rpc.messages import to_duration, to_money, to_payer
from tillmesh.rpc.peers import Peer
from tillmesh.runtime.errors import CommonReason, Refusal

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceAsyncStub

ANOTHER_ORDERS = CommonReason.REQUEST_ID_REUSED.name
"""The payment's id belongs to another order there, so it can never lock or pay this one."""
DISOWNED = frozenset({"PAYMENT_NOT_FOUND", "EPOCH_MISMATCH", ANOTHER_ORDERS})
"""What an order service answers to `complete` that lost what it granted, as one restored from an older backup has."""
NO = (OrderPayment.STATE_RELEASED, OrderPayment.STATE_REFUSED)


@dataclass(frozen=True)
class Orders:
    """The calls of one payment to its order."""

    stub: "OrderServiceAsyncStub"
    peer: Peer

    async def lock(self, payment: Payment, lease_ms: int) -> OrderPayment:
        """Asks for the lock."""
        request = orders_api.LockOrderRequest(
            payment_id=payment.payment_id,
            order_id=payment.order_id,
            payer=to_payer(payment.payer),
            order_version=payment.order_version,
            amount=to_money(payment.amount),
            lease=to_duration(lease_ms),
            store_id=payment.store_id,
        )
        return await self.peer.call(self.stub.LockOrder, request)

    async def complete(self, payment: Payment) -> OrderPayment:
        """Asks whether the order takes the payment."""
        request = orders_api.CompleteOrderPaymentRequest(
            payment_id=payment.payment_id, order_id=payment.order_id, epoch=payment.epoch
        )
        return await self.peer.call(self.stub.CompleteOrderPayment, request)

    async def paid_version(self, payment: Payment) -> PaidVersion:
        """Reads the version of the order that a captured payment paid for."""
        request = orders_api.GetOrderVersionRequest(order_id=payment.order_id, version=payment.order_version)
        answer = await self.peer.call(self.stub.GetOrderVersion, request)
        return PaidVersion(tuple(from_line_item(line) for line in answer.lines), answer.prices_include_tax)

    async def cancel(self, payment: Payment) -> OrderPayment:
        """Ends the attempt at the order."""
        request = orders_api.CancelOrderPaymentRequest(payment_id=payment.payment_id, order_id=payment.order_id)
        try:
            return await self.peer.call(self.stub.CancelOrderPayment, request)
        except Refusal as refusal:
            if refusal.reason != ANOTHER_ORDERS:
                raise
            return OrderPayment(state=OrderPayment.STATE_REFUSED, reason=refusal.reason)

    async def disowns(self, payment: Payment) -> bool:
        """True if a payment whose money is held is not the order's, and can never pay it.

        Asks first what the payment asks anyway, which changes nothing about it. Only where the order service has no
        answer to that, it is made to remember the payment as released: so no copy of a request that comes late can
        lock or pay the order with it (rules 2 and 3).
        """
        try:
            await self.complete(payment)
        except Refusal as refusal:
            if refusal.reason not in DISOWNED:
                raise
            return (await self.cancel(payment)).state in NO
        return False
