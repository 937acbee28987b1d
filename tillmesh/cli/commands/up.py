"""`tillmesh up`: the three servers, until Ctrl-C."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from tillmesh.cli.display import err, out, show_table
from tillmesh.cli.options import CurrencyCode, DataDir
from tillmesh.client.connections import tls_dir
from tillmesh.local.keeper import Keeper
from tillmesh.local.mesh import Mesh, StoreOptions
from tillmesh.local.processes import ServerName
from tillmesh.samples import ONLINE_RETAIL

WATCH_INTERVAL_S = 0.2


def up(
    data_dir: DataDir = Path(".tillmesh"),
    store_id: Annotated[str, typer.Option(help="The store that the terminal stands in.")] = "store-1",
    terminal_id: Annotated[str, typer.Option(help="The terminal.")] = "till-1",
    currency: CurrencyCode = "GBP",
    prices_include_tax: Annotated[
        bool, typer.Option("--prices-include-tax/--no-prices-include-tax", help="Else taxes come on top of prices.")
    ] = True,
    orders_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the order service; 0: a free one.")
    ] = 7001,
    payments_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the payment server.")] = 7002,
    terminal_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the store terminal.")] = 7003,
) -> None:
    """Start order service, payment server and store terminal, and keep them running until Ctrl-C.

    Everything is kept in the data directory and is there again at the next start. A server that dies is started again.
    """
    store = StoreOptions(store_id, terminal_id, currency, prices_include_tax)
    ports = (orders_port, payments_port, terminal_port)
    try:
        with Mesh(data_dir, store=store, ports=ports) as mesh:
            _introduce(mesh)
            keeper = Keeper(mesh, _say)
            while True:
                time.sleep(WATCH_INTERVAL_S)
                keeper.look()
    except KeyboardInterrupt:
        out.print("\nStopped; the data stays.")


def _say(line: str) -> None:
    """Tells a person, if it can: a full disk must not stop the servers."""
    with suppress(OSError):
        err.print(line, markup=False, soft_wrap=True)


def _introduce(mesh: Mesh) -> None:
    rows = [
        (process.role.value, process.address, str(process.pid), str(process.database), str(process.log))
        for process in mesh.processes.values()
    ]
    show_table("The mesh is running", ["server", "address", "pid", "database", "log"], rows)
    where = _options(mesh)
    out.print("Try in another terminal:", style="bold")
    if mesh.addresses.tls_dir != tls_dir.get():
        out.print(f"  export TILLMESH_TLS_DIR={mesh.addresses.tls_dir}", soft_wrap=True)
    replay = f"tillmesh replay {ONLINE_RETAIL}{where or ' --terminal 127.0.0.1:7003'}"
    orders = f"tillmesh orders --store {mesh.store.store_id}{where}"
    suggestions = {
        replay: "a real retailer's invoices",
        orders: "what became of them",
        f"tillmesh balances{where}": "whether the books balance",
        "tillmesh --help": "everything else",
    }
    width = max(map(len, suggestions))
    for command, what in suggestions.items():
        out.print(f"  {command:<{width}}  [dim]{what}[/]", soft_wrap=True)
    out.print("Ctrl-C stops all three.")


def _options(mesh: Mesh) -> str:
    """The flags that another command needs to find the mesh. None on the default ports."""
    flags = {ServerName.ORDERS: "--orders", ServerName.PAYMENTS: "--payments", ServerName.TERMINAL: "--terminal"}
    defaults = {ServerName.ORDERS: 7001, ServerName.PAYMENTS: 7002, ServerName.TERMINAL: 7003}
    return "".join(
        f" {flags[role]} {process.address}"
        for role, process in mesh.processes.items()
        if not process.address.endswith(f":{defaults[role]}")
    )
