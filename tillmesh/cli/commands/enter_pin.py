"""`tillmesh enter-pin`."""

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.cli.options import DEFAULT, Json, OrderId, Terminal, run_async
from tillmesh.cli.prompts import ask_pin
from tillmesh.cli.records import show_checkout
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.requests import consent_by_pin, read_checkout


def enter_pin(
    order: OrderId,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Key in the payer's PIN at the till, for a payment that waits for it; asks for it, or reads it from stdin."""
    pin = ask_pin()

    async def act() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            request = consent_by_pin(await read_checkout(client, order), pin)
            return await client.call(client.till.EnterPin, request, timeout_s=30)

    show_checkout(run_async(act()))
