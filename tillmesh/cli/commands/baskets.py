"""`tillmesh baskets`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tillmesh.cli.groceries.basket_file import read_baskets
from tillmesh.cli.groceries.play import play_baskets
from tillmesh.cli.groceries.shopping import Way
from tillmesh.cli.options import DEFAULT, CurrencyCode, run_async
from tillmesh.cli.replay.play import CONCURRENCY, own_mesh
from tillmesh.client.connections import Addresses
from tillmesh.client.failures import Unreachable
from tillmesh.local.mesh import StoreOptions
from tillmesh.runtime.foreign_text import visible_json

_RUNNING = "Use a running mesh instead of starting one"


class Ways(StrEnum):
    """How the baskets are played."""

    SCAN = "scan"
    SELL = "sell"
    BOTH = "both"


def baskets(
    file: Annotated[Path, typer.Argument(help="One basket a line: the names of its items, with commas between.")],
    by: Annotated[Ways, typer.Option("--by", help="Scan item by item, sell in one call, or both.")] = Ways.BOTH,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first baskets. [default: all]")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Shoppers served at a time.")] = CONCURRENCY,
    currency: CurrencyCode = "GBP",
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the mesh's databases and logs here. [default: a temporary one]")
    ] = None,
    orders: Annotated[str | None, typer.Option(help="Order service.", rich_help_panel=_RUNNING)] = None,
    payments: Annotated[str | None, typer.Option(help="Payment server.", rich_help_panel=_RUNNING)] = None,
    terminal: Annotated[str | None, typer.Option(help="Store terminal.", rich_help_panel=_RUNNING)] = None,
) -> None:
    """Play a file of real baskets through three servers, item by item and in one call, and prove the books.

    The file has names alone. A fixed rule makes an article of each: a GTIN that begins with 952, a price of 0.29 to
    10.19, and one of two tax rates, all from the SHA-256 of the name. The articles are imported; each basket is then
    scanned, submitted and paid, and once more sold in one call. Both must come to the same. The last line of the output
    is one JSON object. Exit status:
    0 reconciled, 1 not reconciled or a server failed, 2 the file cannot be read.
    """
    basket_file = read_baskets(file, limit)
    ways = list(Way) if by is Ways.BOTH else [Way(by.value)]
    if orders or payments or terminal:
        if data_dir:
            raise typer.BadParameter("is for a mesh of its own, not for a running one", param_hint="--data-dir")
        addresses = Addresses(orders or DEFAULT.orders, payments or DEFAULT.payments, terminal or DEFAULT.terminal)
        report = run_async(play_baskets(addresses, file, basket_file, ways, currency, concurrency))
    else:
        with own_mesh(data_dir, StoreOptions(currency=currency)) as mesh:
            try:
                report = run_async(play_baskets(mesh.addresses, file, basket_file, ways, currency, concurrency))
            except Unreachable as error:
                raise mesh.failure() or error from None
    report.show()
    print(visible_json(json.dumps(report.as_json())))
    if not report.reconciled:
        raise typer.Exit(1)
