"""`tillmesh void-sale`."""

from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.cli.display import amount, out, show_json
from tillmesh.cli.options import DEFAULT, Json, Note, RefundId, SoldOrder, Terminal, repeat_with, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.runtime.ids import new_request_id


def void_sale(
    order: SoldOrder,
    note: Note = "",
    refund_id: RefundId = "",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Undo a sale, however far it is: cancel it, or give back all that is left of what was paid."""
    request = api.VoidCheckoutRequest(refund_id=refund_id or new_request_id(), checkout_id=order, note=note)

    async def act() -> api.VoidCheckoutResponse:
        async with Client(Addresses(terminal=terminal)) as client:
            return await client.call(client.till.VoidCheckout, request, timeout_s=30)

    undone = run_async(act(), repeat_with("--refund-id", request.refund_id))
    if show_json([undone]):
        return
    number = undone.checkout.checkout_id
    match undone.outcome:
        case api.VoidCheckoutResponse.OUTCOME_CANCELED:
            out.print(f"Order {number} is CANCELED: it can no longer be paid.")
        case api.VoidCheckoutResponse.OUTCOME_REFUNDED if undone.HasField("refunded"):
            out.print(f"Order {number} was paid and is REFUNDED: {amount(undone.refunded)} were given back.")
        case api.VoidCheckoutResponse.OUTCOME_REFUNDED:
            out.print(f"Order {number} is REFUNDED: nothing was left to give back.")
        case _:
            again = f"repeat the command with --refund-id {request.refund_id}"
            out.print(f"Order {number} is being undone. To ask how far it is, {again}", soft_wrap=True)
