"""Requests about what the caller has just read: it consents to what it was shown."""

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.type.v1 import payer_pb2
from tillmesh.runtime.ids import new_request_id


def payment_for(order: order_pb2.Order, payer: payer_pb2.Payer | None = None) -> payment_api.CreatePaymentRequest:
    """A request to pay an order as it is now; by whom it names, or by who has claimed it."""
    return payment_api.CreatePaymentRequest(
        payment_id=new_request_id(),
        order_id=order.order_id,
        order_version=order.version,
        payer=payer or order.payer,
        amount=order.amount,
    )


def consent_to(payment: payment_pb2.Payment) -> payment_api.ConfirmPaymentRequest:
    """The payer's yes to what a payment says."""
    return payment_api.ConfirmPaymentRequest(
        request_id=new_request_id(), payment_id=payment.payment_id, store_id=payment.store_id, amount=payment.amount
    )
