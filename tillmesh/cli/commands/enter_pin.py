"""`tillmesh enter-pin`."""

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.cli.at_till import at_till
from tillmesh.cli.options import DEFAULT, Json, OrderId, Terminal, run_async
from tillmesh.cli.prompts import ask_pin
from tillmesh.cli.records import show_checkout


def enter_pin(
    order: OrderId,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Key in the payer's PIN at the till, for a payment that waits for it; asks for it, or reads it from stdin."""
    pin = ask_pin()

    async def act() -> checkout_pb2.Checkout:
        async with at_till(terminal) as till:
            sale = await till.find(order)
            return (await sale.enter_pin(pin.value.decode())).checkout

    show_checkout(run_async(act()))
