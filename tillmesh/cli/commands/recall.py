"""`tillmesh recall`."""

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.cli.at_till import at_till
from tillmesh.cli.checkout_records import show_lines
from tillmesh.cli.options import DEFAULT, Json, OrderId, Terminal, run_async


def recall(order: OrderId, terminal: Terminal = DEFAULT.terminal, json: Json = False) -> None:
    """Take a checkout up again that was put aside."""

    async def act() -> checkout_pb2.Checkout:
        async with at_till(terminal) as till:
            sale = await till.find(order)
            return (await sale.recall()).checkout

    show_lines(run_async(act()))
