"""`tillmesh line`: the lines of a checkout."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.cli.at_till import at_till
from tillmesh.cli.checkout_records import show_lines
from tillmesh.cli.items import Items, new_line
from tillmesh.cli.options import DEFAULT, Json, OrderId, Terminal, money, run_async
from tillmesh.client import Line, Said, Sale

TIP_SKU = "TIP"
Number = Annotated[int, typer.Argument(metavar="LINE", help="The number of the line: `tillmesh line show` has it.")]
Change = Callable[[Sale], Awaitable[Said]]

line = typer.Typer(help="The lines of a checkout.", no_args_is_help=True, rich_markup_mode="markdown")


@line.command(epilog="**Examples**\n\ntillmesh line show 7K3M-9Q2X-VB4T")
def show(order: OrderId, terminal: Terminal = DEFAULT.terminal, json: Json = False) -> None:
    """Show the lines with their numbers."""

    async def look() -> checkout_pb2.Checkout:
        async with at_till(terminal) as till:
            return (await till.find(order)).said.checkout

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

    def change(sale: Sale) -> Awaitable[Said]:
        lines = [new_line(item, sale.said.amount.currency) for item in items]
        for each in lines:
            each.note = note
        return sale.add(*lines)

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

    def change(sale: Sale) -> Awaitable[Said]:
        minor = None if price is None else money(price, sale.said.amount.currency).minor_units
        return sale.set_line(number, quantity=quantity, unit_price_minor=minor, reason=reason, note=note)

    _change(order, terminal, change)


@line.command(epilog="**Examples**\n\ntillmesh line remove 7K3M-9Q2X-VB4T 2")
def remove(order: OrderId, number: Number, terminal: Terminal = DEFAULT.terminal, json: Json = False) -> None:
    """Void a line, and its deposit with it."""
    _change(order, terminal, lambda sale: sale.remove_line(number))


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

    def change(sale: Sale) -> Awaitable[Said]:
        minor = money(off, sale.said.amount.currency).minor_units
        return sale.adjust(-minor, line_number=number, code=code, text=text)

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

    def change(sale: Sale) -> Awaitable[Said]:
        new = Line(
            sku=sku,
            title=title,
            kind=line_item_pb2.LineItem.KIND_TIP,
            quantity=1,
            unit_price_minor=money(more, sale.said.amount.currency).minor_units,
        )
        return sale.add(new)

    _change(order, terminal, change)


def _change(order: str, terminal: str, change: Change) -> None:
    """Changes the checkout as it is now, and shows how it is then."""

    async def act() -> checkout_pb2.Checkout:
        async with at_till(terminal) as till:
            return (await change(await till.find(order))).checkout

    show_lines(run_async(act()))
