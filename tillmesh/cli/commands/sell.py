"""`tillmesh sell`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.display import amount, out, show_json
from tillmesh.cli.items import Items, new_line, priced_lines
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, Terminal, money, run_async
from tillmesh.cli.prompts import ask_pay_code
from tillmesh.cli.records import show_checkout
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.failures import Failure
from tillmesh.client.requests import submit
from tillmesh.lines import totals
from tillmesh.rpc.line_messages import from_line_item
from tillmesh.runtime.ids import SYSTEM_RNG, new_request_id, new_transaction_number

ANYBODY = "-"


def sell(
    payer: Annotated[str, typer.Argument(help="The identity that is to pay; - for whoever will show a pay code.")],
    items: Items,
    pay: Annotated[bool, typer.Option("--pay", help="Sell and pay in one call, as the named identity.")] = False,
    pay_code: Annotated[
        bool,
        typer.Option("--pay-code", help="Sell and pay in one call: asks for the pay code, or reads it from stdin."),
    ] = False,
    shown: Annotated[
        str,
        typer.Option(
            "--amount",
            help="With --pay or --pay-code: what the shopper was shown. [default: what the items' own prices come to]",
        ),
    ] = "",
    exchange: Annotated[
        str, typer.Option("--exchange", metavar="REFUND", help="The refund that this sale is an exchange for.")
    ] = "",
    currency: CurrencyCode = "GBP",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Raise a pending transaction at the till, or sell and pay in one call.

    Without a price an item needs the catalogue.
    """
    lines = [new_line(item, currency) for item in items]
    identity_id = "" if payer == ANYBODY else payer
    if pay or pay_code:
        request = checkout_api.SellRequest(
            checkout_id=new_transaction_number(SYSTEM_RNG),
            payment_id=new_request_id(),
            identity_id=identity_id,
            lines=lines,
            amount=money(shown, currency) if shown else _sum(items, currency),
            exchanged_refund_id=exchange,
        )
        if pay_code:
            request.pay_code = ask_pay_code().value.decode()
        show_checkout(run_async(_sell_at_once(request, terminal)))
        return
    create = checkout_api.CreateCheckoutRequest(
        request_id=new_request_id(),
        identity_id=identity_id,
        currency_code=currency,
        lines=lines,
        exchanged_refund_id=exchange,
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


async def _sell_at_once(request: checkout_api.SellRequest, terminal: str) -> checkout_pb2.Checkout:
    async with Client(Addresses(terminal=terminal)) as client:
        try:
            return await client.call(client.till.Sell, request, timeout_s=30)
        except Failure as failure:
            raise Failure(
                f"{failure} To undo the sale, however far it is: tillmesh void-sale {request.checkout_id}"
            ) from (failure)


def _sum(items: Sequence[str], currency: str) -> money_pb2.Money:
    """What the items' own prices come to."""
    lines = [from_line_item(line) for line in priced_lines(items, currency)]
    return money_pb2.Money(currency_code=currency, minor_units=totals(lines, prices_include_tax=True).amount_minor)
