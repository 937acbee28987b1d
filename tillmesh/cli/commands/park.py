"""`tillmesh park`."""

from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.cli.checkout_records import show_lines
from tillmesh.cli.options import DEFAULT, Json, OrderId, Terminal, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.requests import read_checkout
from tillmesh.runtime.ids import new_request_id


def park(
    order: OrderId,
    label: Annotated[str, typer.Option("--label", help="What to find it by.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="Who puts it aside. [default: its cashier]")] = "",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Put a checkout aside: this terminal neither changes nor takes payment for it until it is recalled."""

    async def act() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            checkout = await read_checkout(client, order)
            request = api.ParkCheckoutRequest(
                request_id=new_request_id(),
                checkout_id=checkout.checkout_id,
                basket_version=checkout.basket_version,
                owner=owner,
                label=label,
            )
            return await client.call(client.till.ParkCheckout, request)

    show_lines(run_async(act()))
