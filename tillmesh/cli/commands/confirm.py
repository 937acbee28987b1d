"""`tillmesh confirm`."""

from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.cli.options import DEFAULT, Json, PaymentId, Payments, run_async
from tillmesh.cli.records import show_payment
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.requests import consent_to


def confirm(
    payment: PaymentId,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Say the payer's yes to a payment that waits for it."""

    async def act() -> payment_pb2.Payment:
        async with Client(Addresses(payments=payments)) as client:
            return await client.call(
                client.payments.ConfirmPayment, consent_to(await _payment(client, payment)), timeout_s=30
            )

    show_payment(run_async(act()))


async def _payment(client: Client, payment_id: str) -> payment_pb2.Payment:
    return await client.call(client.payments.GetPayment, payment_api.GetPaymentRequest(payment_id=payment_id))
