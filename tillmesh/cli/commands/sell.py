"""`tillmesh sell`."""

from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.cli.display import amount, out, show_json
from tillmesh.cli.items import ITEMS_HELP, new_line
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, Terminal, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.requests import submit
from tillmesh.runtime.ids import new_request_id

ANYBODY = "-"


def sell(
    payer: Annotated[str, typer.Argument(help="The identity that is to pay; - for whoever will show a pay code.")],
    items: Annotated[
        list[str],
        typer.Argument(help=ITEMS_HELP),
    ],
    currency: CurrencyCode = "GBP",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Raise a pending transaction at the till; without a price an item needs the catalogue."""
    create = checkout_api.CreateCheckoutRequest(
        request_id=new_request_id(),
        identity_id="" if payer == ANYBODY else payer,
        currency_code=currency,
        lines=[new_line(item, currency) for item in items],
    )

    async def act() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            basket = await client.call(client.till.CreateCheckout, create)
            return await client.call(client.till.SubmitCheckout, submit(basket))

    checkout = run_async(act())
    if show_json([checkout]):
        return
    who = "whoever shows a pay code" if payer == ANYBODY else payer
    out.print(f"Order {checkout.checkout_id}: {who} owes {amount(checkout.amount)}.")
