"""`tillmesh explain`: the history of one order, from all three servers."""

from typing import Annotated

import typer

from tillmesh.cli.display import show_json
from tillmesh.cli.options import DEFAULT, Json, Orders, Payments, Terminal, run_async
from tillmesh.cli.order_records import OrderRecords, read_order_records
from tillmesh.cli.order_story import tell
from tillmesh.client.connections import Addresses, Client


def explain(
    order: Annotated[str, typer.Argument(help="The transaction number.")],
    orders: Orders = DEFAULT.orders,
    payments: Payments = DEFAULT.payments,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Tell the story of an order: who locked it, why it was unlocked, where the money is, who acts next."""
    addresses = Addresses(orders, payments, terminal)

    async def look() -> OrderRecords:
        async with Client(addresses) as client:
            return await read_order_records(client, order)

    found = run_async(look())
    if not show_json([*found.order_events, *found.payment_events, *found.checkout_events]):
        tell(found)
