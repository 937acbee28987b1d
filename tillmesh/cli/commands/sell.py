"""`tillmesh sell`."""

import re
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.cli.display import amount, out, show_json
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, Terminal, money, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.requests import submit
from tillmesh.runtime.ids import new_request_id

_ITEM = re.compile(r"(?P<sku>[^=@]+)(=(?P<quantity>[0-9]{1,9})(?P<unit>g|ml|mm)?)?(@(?P<price>.+))?")
_UNITS = {
    "g": line_item_pb2.LineItem.UNIT_GRAM,
    "ml": line_item_pb2.LineItem.UNIT_MILLILITER,
    "mm": line_item_pb2.LineItem.UNIT_MILLIMETER,
}
ANYBODY = "-"


def sell(
    payer: Annotated[str, typer.Argument(help="The identity that is to pay; - for whoever will show a pay code.")],
    items: Annotated[
        list[str],
        typer.Argument(
            help="SKU, SKU=QUANTITY or SKU=QUANTITY@PRICE. QUANTITY may end in g, ml or mm: PRICE is for 1,000 then."
        ),
    ],
    currency: CurrencyCode = "GBP",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Raise a pending transaction at the till; without a price an item needs the catalogue."""
    create = checkout_api.CreateCheckoutRequest(
        request_id=new_request_id(),
        identity_id="" if payer == ANYBODY else payer,
        currency_code=currency,
        lines=[_new_line(item, currency) for item in items],
    )

    async def act() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            basket = await client.call(client.till.CreateCheckout, create)
            return await client.call(client.till.SubmitCheckout, submit(basket))

    checkout = run_async(act())
    if show_json([checkout]):
        return
    who = "whoever shows a pay code" if payer == ANYBODY else payer
    out.print(f"Order {checkout.checkout_id}: {who} owes {amount(checkout.amount)}.")


def _new_line(item: str, currency: str) -> checkout_api.NewLine:
    match = _ITEM.fullmatch(item)
    if match is None:
        raise typer.BadParameter(f"{item!r} is not SKU, SKU=QUANTITY or SKU=QUANTITY@PRICE", param_hint="ITEMS")
    line = checkout_api.NewLine(sku=match["sku"], quantity=int(match["quantity"] or 1))
    if match["unit"]:
        line.unit = _UNITS[match["unit"]]
    if match["price"] is not None:
        line.unit_price_minor = money(match["price"], currency).minor_units
    return line
