"""`tillmesh catalogue import FILE`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tillmesh.api.terminal.v1 import catalogue_item_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as api
from tillmesh.api.type.v1 import money_pb2
from tillmesh.cli.csv_rows import BadFile, Row, printable, read_rows
from tillmesh.cli.display import out
from tillmesh.cli.options import DEFAULT, CurrencyCode, Terminal, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import minor_units

COLUMNS = ("sku", "title", "price")
ITEMS_A_CALL = 1000

catalogue = typer.Typer(help="The terminal's catalogue.", no_args_is_help=True)


@catalogue.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV with the columns sku,title,price.")],
    currency: CurrencyCode = "GBP",
    terminal: Terminal = DEFAULT.terminal,
) -> None:
    """Add articles to the terminal's catalogue, and replace those it has."""
    items = read_catalogue(file, currency)

    async def act() -> int:
        item_count = 0
        async with Client(Addresses(terminal=terminal)) as client:
            for start in range(0, len(items), ITEMS_A_CALL):
                request = api.ImportCatalogueItemsRequest(
                    request_id=new_request_id(), items=items[start : start + ITEMS_A_CALL]
                )
                item_count = (await client.call(client.catalogue.ImportCatalogueItems, request)).item_count
        return item_count

    item_count = run_async(act())
    out.print(f"Imported {len(items):,} articles; the catalogue has {item_count:,}.")


def read_catalogue(file: Path, currency: str) -> Sequence[catalogue_item_pb2.CatalogueItem]:
    """The articles of a file: all of them are good, or it is refused."""
    items: list[catalogue_item_pb2.CatalogueItem] = []
    first_lines: dict[str, int] = {}
    for row in read_rows(file, COLUMNS):
        items.append(_item(file, row, currency))
        sku = items[-1].sku
        if sku in first_lines:
            raise BadFile(f"{file}: line {row.line_number}: sku {sku!r} is in line {first_lines[sku]} already")
        first_lines[sku] = row.line_number
    if not items:
        raise BadFile(f"{file}: line 1: there is no article below the header")
    return items


def _item(file: Path, row: Row, currency: str) -> catalogue_item_pb2.CatalogueItem:
    where = f"{file}: line {row.line_number}"
    if len(row.cells) != len(row.header):
        raise BadFile(f"{where}: the row has {len(row.cells)} fields, the header has {len(row.header)}")
    sku, title, price = (row.cell(column) for column in COLUMNS)
    if printable(sku + title) != sku + title:
        raise BadFile(f"{where}: {printable(repr(sku + ',' + title))} is not UTF-8")
    try:
        money = money_pb2.Money(currency_code=currency, minor_units=minor_units(price, currency))
    except ValueError as error:
        raise BadFile(f"{where}: price {printable(str(error))}") from None
    return catalogue_item_pb2.CatalogueItem(sku=sku, title=title, unit_price=money)
