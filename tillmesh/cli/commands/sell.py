"""`tillmesh sell`."""

import shlex
from collections.abc import Sequence
from typing import Annotated

import typer

from tillmesh import paycode
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.at_till import at_till
from tillmesh.cli.display import amount, say, show_json
from tillmesh.cli.items import Items, new_line, priced_lines
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, Terminal, money, run_async
from tillmesh.cli.prompts import ask_pay_code
from tillmesh.cli.records import show_checkout
from tillmesh.client.verdicts import money as amount_of
from tillmesh.lines import totals
from tillmesh.rpc.line_messages import from_line_item
from tillmesh.runtime.foreign_text import named
from tillmesh.runtime.ids import SYSTEM_RNG, new_transaction_number
from tillmesh.runtime.secret import Secret

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
    if shown and not (pay or pay_code):
        raise typer.BadParameter("needs --pay or --pay-code", param_hint="--amount")
    if paycode.parse(Secret(payer.encode())):
        raise typer.BadParameter(
            "is a pay code; say - as the payer, and pipe the code in: ... | tillmesh sell - ITEMS --pay-code",
            param_hint="PAYER",
        )
    lines = [new_line(item, currency) for item in items]
    identity_id = "" if payer == ANYBODY else named(payer)
    if pay or pay_code:
        number = new_transaction_number(SYSTEM_RNG)
        due = money(shown, currency) if shown else _sum(items, currency)
        code = ask_pay_code().value.decode() if pay_code else ""

        async def sell_at_once() -> checkout_pb2.Checkout:
            async with at_till(terminal) as till:
                sale = await till.sell(
                    lines,
                    amount=amount_of(due),
                    payer=identity_id,
                    pay_code=code,
                    checkout_id=number,
                    exchanged_refund_id=exchange,
                )
                return sale.said.checkout

        show_checkout(run_async(sell_at_once(), _undo(number, terminal)))
        return

    async def act() -> checkout_pb2.Checkout:
        async with at_till(terminal) as till:
            sale = await till.open(lines, payer=identity_id, currency=currency, exchanged_refund_id=exchange)
            return (await sale.submit()).checkout

    checkout = run_async(act())
    if show_json([checkout]):
        return
    who = "whoever shows a pay code" if payer == ANYBODY else named(payer)
    say(f"Order {checkout.checkout_id}: {who} owes {amount(checkout.amount)}.")


def _undo(checkout_id: str, terminal: str) -> str:
    """How to undo a sale, at the terminal that was asked."""
    there = [] if terminal == DEFAULT.terminal else ["--terminal", terminal]
    command = shlex.join(["tillmesh", "void-sale", checkout_id, *there])
    return f"To undo the sale, however far it is: {command}"


def _sum(items: Sequence[str], currency: str) -> money_pb2.Money:
    """What the items' own prices come to."""
    lines = [from_line_item(line) for line in priced_lines(items, currency)]
    return money_pb2.Money(currency_code=currency, minor_units=totals(lines, prices_include_tax=True).amount_minor)
