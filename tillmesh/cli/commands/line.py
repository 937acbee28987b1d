"""`tillmesh line`: the lines of a checkout."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.cli.checkout_records import show_lines
from tillmesh.cli.items import Items, new_line
from tillmesh.cli.options import DEFAULT, Json, OrderId, Terminal, money, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.client.requests import read_checkout
from tillmesh.runtime.ids import new_request_id

TIP_SKU = "TIP"
Number = Annotated[int, typer.Argument(metavar="LINE", help="The number of the line: `tillmesh line show` has it.")]
Change = Callable[[Client, checkout_pb2.Checkout], Awaitable[checkout_pb2.Checkout]]

line = typer.Typer(help="The lines of a checkout.", no_args_is_help=True, rich_markup_mode="markdown")


@line.command(epilog="**Examples**\n\ntillmesh line show 7K3M-9Q2X-VB4T")
def show(order: OrderId, terminal: Terminal = DEFAULT.terminal, json: Json = False) -> None:
    """Show the lines with their numbers."""

    async def look() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            return await read_checkout(client, order)

    show_lines(run_async(look()))


@line.command(
    epilog="**Examples**\n\ntillmesh line add 7K3M-9Q2X-VB4T MUG=2 CHEESE=432g@12.90\n\n"
    "tillmesh line add 7K3M-9Q2X-VB4T SOUP@5.00 --note 'no onions'"
)
def add(
    order: OrderId,
    items: Items,
    note: Annotated[str, typer.Option("--note", help="A note on each of them.")] = "",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Add lines at the end."""

    def change(client: Client, checkout: checkout_pb2.Checkout) -> Awaitable[checkout_pb2.Checkout]:
        lines = [new_line(item, checkout.amount.currency_code) for item in items]
        for each in lines:
            each.note = note
        return _add(client, checkout, *lines)

    _change(order, terminal, change)


@line.command(
    "set",
    epilog="**Examples**\n\ntillmesh line set 7K3M-9Q2X-VB4T 2 --quantity 3\n\n"
    "tillmesh line set 7K3M-9Q2X-VB4T 2 --price 4.00 --reason dented\n\n"
    "tillmesh line set 7K3M-9Q2X-VB4T 2 --note 'gift wrap'",
)
def set_line(
    order: OrderId,
    number: Number,
    quantity: Annotated[int | None, typer.Option("--quantity", help="The new quantity.")] = None,
    price: Annotated[str | None, typer.Option("--price", help="Another price than the catalogue's.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why the price is another.")] = "",
    note: Annotated[str | None, typer.Option("--note", help="The new note; '' takes it away.")] = None,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Change quantity, price or note of a line. The receipt shows another price with its reason."""

    def change(client: Client, checkout: checkout_pb2.Checkout) -> Awaitable[checkout_pb2.Checkout]:
        request = api.UpdateLineRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            line_number=number,
            quantity=quantity,
            unit_price_minor=None if price is None else money(price, checkout.amount.currency_code).minor_units,
            override_reason=reason,
            note=note,
        )
        return client.call(client.till.UpdateLine, request)

    _change(order, terminal, change)


@line.command(epilog="**Examples**\n\ntillmesh line remove 7K3M-9Q2X-VB4T 2")
def remove(order: OrderId, number: Number, terminal: Terminal = DEFAULT.terminal, json: Json = False) -> None:
    """Void a line, and its deposit with it."""

    def change(client: Client, checkout: checkout_pb2.Checkout) -> Awaitable[checkout_pb2.Checkout]:
        request = api.RemoveLineRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            line_number=number,
        )
        return client.call(client.till.RemoveLine, request)

    _change(order, terminal, change)


@line.command(
    epilog="**Examples**\n\ntillmesh line discount 7K3M-9Q2X-VB4T 1.00 --code STAFF\n\n"
    "tillmesh line discount 7K3M-9Q2X-VB4T 0.50 --line 2 --code DENTED --text 'lid is bent'"
)
def discount(
    order: OrderId,
    off: Annotated[str, typer.Argument(metavar="AMOUNT", help="How much less is due.")],
    number: Annotated[int, typer.Option("--line", min=0, help="Of this line. [default: of all goods]")] = 0,
    code: Annotated[str, typer.Option("--code", help="Reason code.")] = "DISCOUNT",
    text: Annotated[str, typer.Option("--text", help="What the receipt says.")] = "",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Take something off a line, or off the basket: then it is spread over the goods by their amounts."""

    def change(client: Client, checkout: checkout_pb2.Checkout) -> Awaitable[checkout_pb2.Checkout]:
        minor = money(off, checkout.amount.currency_code).minor_units
        request = api.AdjustCheckoutRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            line_number=number,
            adjustment=line_item_pb2.Adjustment(reason_code=code, text=text, amount_minor=-minor),
        )
        return client.call(client.till.AdjustCheckout, request)

    _change(order, terminal, change)


@line.command(epilog="**Examples**\n\ntillmesh line tip 7K3M-9Q2X-VB4T 2.00")
def tip(
    order: OrderId,
    more: Annotated[str, typer.Argument(metavar="AMOUNT", help="How much the shopper gives on top.")],
    sku: Annotated[str, typer.Option("--sku", help="The article code of the line.")] = TIP_SKU,
    title: Annotated[str, typer.Option("--title", help="What the receipt calls it.")] = "Tip",
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Add a tip: it bears no tax, and no discount of the basket touches it."""

    def change(client: Client, checkout: checkout_pb2.Checkout) -> Awaitable[checkout_pb2.Checkout]:
        new = api.NewLine(
            sku=sku,
            title=title,
            kind=line_item_pb2.LineItem.KIND_TIP,
            quantity=1,
            unit_price_minor=money(more, checkout.amount.currency_code).minor_units,
        )
        return _add(client, checkout, new)

    _change(order, terminal, change)


def _add(client: Client, checkout: checkout_pb2.Checkout, *lines: api.NewLine) -> Awaitable[checkout_pb2.Checkout]:
    request = api.AddLinesRequest(
        request_id=new_request_id(),
        checkout_id=checkout.checkout_id,
        basket_version=checkout.basket_version,
        lines=lines,
    )
    return client.call(client.till.AddLines, request)


def _change(order: str, terminal: str, change: Change) -> None:
    """Changes the checkout as it is now, and shows how it is then."""

    async def act() -> checkout_pb2.Checkout:
        async with Client(Addresses(terminal=terminal)) as client:
            return await change(client, await read_checkout(client, order))

    show_lines(run_async(act()))
