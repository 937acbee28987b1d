"""`tillmesh park`."""

from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.cli.at_till import at_till
from tillmesh.cli.checkout_records import show_lines
from tillmesh.cli.options import DEFAULT, Json, OrderId, Terminal, run_async


def park(
    order: OrderId,
    label: Annotated[str, typer.Option("--label", help="What to find it by.")] = "",
    owner: Annotated[str, typer.Option("--owner", help="Who puts it aside. [default: its cashier]")] = "",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Put a checkout aside: this terminal neither changes nor takes payment for it until it is recalled."""

    async def act() -> checkout_pb2.Checkout:
        async with at_till(terminal) as till:
            sale = await till.find(order)
            return (await sale.park(label=label, owner=owner)).checkout

    show_lines(run_async(act()))
