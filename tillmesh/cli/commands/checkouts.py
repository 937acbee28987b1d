"""`tillmesh checkouts`."""

from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.cli.checkout_records import show_checkouts
from tillmesh.cli.filters import SHOWN, Limit, Payer, State, first, state_name
from tillmesh.cli.options import DEFAULT, Json, Terminal, payer_of, run_async
from tillmesh.client.connections import Addresses, Client


def checkouts(
    parked: Annotated[bool, typer.Option("--parked", help="Only those that are put aside.")] = False,
    payer: Payer = "",
    state: State = None,
    lane: Annotated[str, typer.Option("--lane", help="Only of this device.")] = "",
    cashier: Annotated[str, typer.Option("--cashier", help="Only of this cashier.")] = "",
    limit: Limit = SHOWN,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """List the terminal's checkouts, newest first: with --parked, those that somebody has put aside."""
    known = checkout_pb2.Checkout.State
    states = [known.Value(state_name(known.keys(), name)) for name in state or ()]
    request = api.ListCheckoutsRequest(
        payer=payer_of(payer), states=states, lane=lane, cashier_id=cashier, parked=parked
    )

    async def look() -> list[checkout_pb2.Checkout]:
        async with Client(Addresses(terminal=terminal)) as client:
            listed = client.listed(client.till.ListCheckouts, request, lambda page: page.checkouts)
            return await first(listed, limit)

    show_checkouts(run_async(look()))
