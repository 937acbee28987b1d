"""`tillmesh payments`."""

import time
from typing import Annotated

import typer

from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.cli.filters import SHOWN, Limit, Payer, State, StoreId, first, state_name
from tillmesh.cli.options import DEFAULT, Json, Payments, payer_of, run_async
from tillmesh.cli.records import show_payments
from tillmesh.client.connections import Addresses, Client


def payments(
    order: Annotated[str, typer.Option("--order", help="Only of this order.")] = "",
    payer: Payer = "",
    store: StoreId = "",
    state: State = None,
    unchanged_s: Annotated[float, typer.Option(min=0, help="Only unchanged for so many seconds.")] = 0,
    limit: Limit = SHOWN,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """List payment attempts, newest first, with what became of each."""
    known = payment_pb2.Payment.State
    states = [known.Value(state_name(known.keys(), name)) for name in state or ()]
    request = payment_api.ListPaymentsRequest(order_id=order, payer=payer_of(payer), store_id=store, states=states)

    async def look() -> list[payment_pb2.Payment]:
        async with Client(Addresses(payments=payments)) as client:
            listed = client.listed(client.payments.ListPayments, request, lambda page: page.payments)
            changed_by_s = time.time() - unchanged_s
            old = (payment async for payment in listed if payment.update_time.ToMilliseconds() <= changed_by_s * 1000)
            return await first(old if unchanged_s else listed, limit)

    show_payments(run_async(look()))
