"""`tillmesh return-goods`."""

from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import till_refund_pb2
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as api
from tillmesh.cli.commands.sell import ANYBODY
from tillmesh.cli.items import Items, priced_lines
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, Note, RefundId, Terminal, repeat_with, run_async
from tillmesh.cli.prompts import ask_pay_code
from tillmesh.cli.records import show_refund
from tillmesh.client.connections import Addresses, Client
from tillmesh.runtime.ids import new_request_id


def return_goods(
    payee: Annotated[
        str, typer.Argument(help="The identity that receives; - for a pay code, which is asked for or read from stdin.")
    ],
    items: Items,
    note: Note = "",
    refund_id: RefundId = "",
    currency: CurrencyCode = "GBP",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Give money back for goods whose sale nobody knows, within the store's limit; each item needs its price."""
    request = api.ReturnGoodsRequest(
        refund_id=refund_id or new_request_id(),
        currency_code=currency,
        lines=priced_lines(items, currency),
        note=note,
    )
    if payee == ANYBODY:
        request.pay_code = ask_pay_code().value.decode()
    else:
        request.identity_id = payee

    async def act() -> till_refund_pb2.TillRefund:
        async with Client(Addresses(terminal=terminal)) as client:
            return await client.call(client.till_refunds.ReturnGoods, request, timeout_s=30)

    show_refund(run_async(act(), repeat_with("--refund-id", request.refund_id)))
