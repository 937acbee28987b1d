"""Requests about what the caller has just read: it consents to what it was shown."""

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.type.v1 import payer_pb2
from tillmesh.client.connections import Client
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret


async def read_checkout(client: Client, order_id: str) -> checkout_pb2.Checkout:
    """The till's view of an order."""
    return await client.call(client.till.GetCheckout, api.GetCheckoutRequest(checkout_id=order_id))


def submit(basket: checkout_pb2.Checkout) -> api.SubmitCheckoutRequest:
    """A request to raise the pending transaction of a basket as it is now."""
    return api.SubmitCheckoutRequest(
        request_id=new_request_id(), checkout_id=basket.checkout_id, basket_version=basket.basket_version
    )


def payment_by_code(checkout: checkout_pb2.Checkout, code: Secret | None) -> api.PayCheckoutRequest:
    """A request to pay a checkout as it is now, with the pay code that was scanned if one was."""
    return api.PayCheckoutRequest(
        payment_id=new_request_id(),
        checkout_id=checkout.checkout_id,
        order_version=checkout.order_version,
        amount=checkout.amount,
        pay_code=code.value.decode() if code else "",
    )


def consent_by_pin(checkout: checkout_pb2.Checkout, pin: Secret) -> api.EnterPinRequest:
    """The payer's yes, keyed in at the till, to what it shows."""
    return api.EnterPinRequest(
        request_id=new_request_id(), checkout_id=checkout.checkout_id, amount=checkout.amount, pin=pin.value.decode()
    )


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
