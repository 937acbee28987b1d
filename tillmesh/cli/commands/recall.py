"""`tillmesh recall`."""

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.cli.checkout_records import show_lines
from tillmesh.cli.options import DEFAULT, Json, OrderId, Terminal, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.runtime.ids import new_request_id


def recall(order: OrderId, terminal: Terminal = DEFAULT.terminal, json: Json = False) -> None:
    """Take a checkout up again that was put aside."""

    async def act() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            request = api.RecallCheckoutRequest(request_id=new_request_id(), checkout_id=order)
            return await client.call(client.till.RecallCheckout, request)

    show_lines(run_async(act()))
