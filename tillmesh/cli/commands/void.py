"""`tillmesh void`."""

from typing import Annotated

import typer

from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.cli.display import amount, as_json
from tillmesh.cli.options import DEFAULT, Json, Orders, PaymentId, Payments, Terminal, run_async
from tillmesh.cli.order_records import payer_of, read_order_records
from tillmesh.cli.order_story import tell
from tillmesh.cli.prompts import ask_yes
from tillmesh.cli.records import show_payment
from tillmesh.client.connections import Addresses, Client
from tillmesh.runtime.ids import new_request_id


def void(
    payment: PaymentId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    orders: Orders = DEFAULT.orders,
    payments: Payments = DEFAULT.payments,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """End a payment that holds money for ever, because the order service does not know it.

    Shows first what all servers say of its order. The payment server asks the order service once more, and refuses
    where that decides by itself.
    """

    async def act() -> payment_pb2.Payment:
        async with Client(Addresses(orders, payments, terminal)) as client:
            found = await client.call(client.payments.GetPayment, payment_api.GetPaymentRequest(payment_id=payment))
            if not as_json.get():
                tell(await read_order_records(client, found.order_id))
            if found.state == payment_pb2.Payment.STATE_AUTHORIZED and not yes:
                back = f"{amount(found.amount)} back to {payer_of(found)}"
                ask_yes(f"Give {back}, for good, if the order service does not know the payment?")
            request = payment_api.VoidPaymentRequest(request_id=new_request_id(), payment_id=payment)
            return await client.call(client.payments.VoidPayment, request)

    show_payment(run_async(act()))
