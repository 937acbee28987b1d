"""`tillmesh replay`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tillmesh.cli.options import DEFAULT, CurrencyCode, run_async
from tillmesh.cli.replay.invoices import read_invoices
from tillmesh.cli.replay.play import CONCURRENCY, own_mesh, replay_file, warn_of_rejected
from tillmesh.client.connections import Addresses
from tillmesh.client.failures import Failure, Unreachable
from tillmesh.local.mesh import StoreOptions
from tillmesh.runtime.foreign_text import named, visible_json

_RUNNING = "Use a running mesh instead of starting one"


def replay(
    file: Annotated[Path, typer.Argument(help="CSV or CSV.gz with the columns of the Online Retail data set.")],
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Customers served at a time.")] = CONCURRENCY,
    currency: CurrencyCode = "GBP",
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the mesh's databases and logs here. [default: a temporary one]")
    ] = None,
    orders: Annotated[str | None, typer.Option(help="Order service.", rich_help_panel=_RUNNING)] = None,
    payments: Annotated[str | None, typer.Option(help="Payment server.", rich_help_panel=_RUNNING)] = None,
    terminal: Annotated[str | None, typer.Option(help="Store terminal.", rich_help_panel=_RUNNING)] = None,
) -> None:
    """Replay a file of real invoices through three servers, and prove the books.

    Every invoice is an order under the identity of its customer, locked, paid and captured; its rows below
    zero are one discount. An invoice whose number starts with C is a return. The last line of the output
    is one JSON object. Exit status:
    0 reconciled, also where some invoices are rejected; 1 not reconciled, all rejected, or a server failed; 2 the file
    cannot be read.
    """
    invoice_file = read_invoices(file, currency)
    warn_of_rejected(file, invoice_file.rejected)
    if orders or payments or terminal:
        if data_dir:
            raise typer.BadParameter("is for a mesh of its own, not for a running one", param_hint="--data-dir")
        addresses = Addresses(orders or DEFAULT.orders, payments or DEFAULT.payments, terminal or DEFAULT.terminal)
        report = run_async(replay_file(addresses, file, invoice_file, currency, concurrency))
    else:
        with own_mesh(data_dir, StoreOptions(currency=currency)) as mesh:
            try:
                report = run_async(replay_file(mesh.addresses, file, invoice_file, currency, concurrency))
            except Unreachable as error:
                raise mesh.failure() or error from None
    report.show()
    print(visible_json(json.dumps(report.as_json())))
    if not report.reconciled:
        raise typer.Exit(1)
    if report.is_all_rejected:
        raise Failure(f"Nothing was replayed: every invoice of {named(file)} is rejected.")
