"""`tillmesh cancel`."""

from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.cli.options import DEFAULT, Json, PaymentId, Payments, run_async
from tillmesh.cli.records import show_payment
from tillmesh.client.connections import Addresses, Client
from tillmesh.runtime.ids import new_request_id


def cancel(
    payment: PaymentId,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Cancel a payment for its payer; the order is unlocked at once."""
    request = payment_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment)

    async def act() -> payment_pb2.Payment:
        async with Client(Addresses(payments=payments)) as client:
            return await client.call(client.payments.CancelPayment, request)

    show_payment(run_async(act()))
