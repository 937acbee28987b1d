"""`tillmesh return-goods`."""

from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import till_refund_pb2
from tillmesh.cli.at_till import at_till
from tillmesh.cli.commands.sell import ANYBODY
from tillmesh.cli.items import Items, priced_lines
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, Note, RefundId, Terminal, repeat_with, run_async
from tillmesh.cli.prompts import ask_pay_code
from tillmesh.cli.records import show_refund
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
    chosen_id = refund_id or new_request_id()
    lines = priced_lines(items, currency)
    anybody = payee == ANYBODY
    code = ask_pay_code().value.decode() if anybody else ""
    identity_id = "" if anybody else payee

    async def act() -> till_refund_pb2.TillRefund:
        async with at_till(terminal) as till:
            repaid = await till.take_back(
                lines, payee=identity_id, pay_code=code, currency=currency, note=note, refund_id=chosen_id
            )
            return repaid.refund

    show_refund(run_async(act(), repeat_with("--refund-id", chosen_id)))
