"""`tillmesh up`: the three servers, until Ctrl-C."""

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from tillmesh.cli.display import out, say, show_table, warn
from tillmesh.cli.options import CurrencyCode, DataDir
from tillmesh.client.connections import tls_dir
from tillmesh.local.keeper import Keeper
from tillmesh.local.mesh import Mesh, StoreOptions
from tillmesh.local.processes import ServerName
from tillmesh.runtime.foreign_text import visible
from tillmesh.samples import ONLINE_RETAIL
from tillmesh.sandbox.sandbox import Sandbox

DEFAULT_FOLDER = Path(".tillmesh")
SANDBOX_PORT = 7004
WATCH_INTERVAL_S = 0.2


def up(
    data_dir: DataDir = DEFAULT_FOLDER,
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
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="For tests: with simulated payers and a clock that a test moves.")
    ] = False,
    sandbox_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the sandbox's own service.")
    ] = SANDBOX_PORT,
) -> None:
    """Start order service, payment server and store terminal, and keep them running until Ctrl-C.

    Everything is kept in the data directory and is there again at the next start. A server that dies is started again.
    A sandbox keeps its data apart, in the folder sandbox of the data directory unless you name another.
    """
    store = StoreOptions(store_id, terminal_id, currency, prices_include_tax)
    ports = (orders_port, payments_port, terminal_port)
    try:
        if sandbox:
            folder = DEFAULT_FOLDER / "sandbox" if data_dir == DEFAULT_FOLDER else data_dir
            _keep_sandbox(Sandbox(folder, store=store, ports=ports, port=sandbox_port, say=_say))
        else:
            _keep(Mesh(data_dir, store=store, ports=ports))
    except KeyboardInterrupt:
        out.print("\nStopped; the data stays.")


def _keep(mesh: Mesh) -> None:
    with mesh:
        _introduce(mesh)
        keeper = Keeper(mesh, _say)
        while True:
            time.sleep(WATCH_INTERVAL_S)
            keeper.look()


def _keep_sandbox(sandbox: Sandbox) -> None:
    with sandbox:
        _introduce(sandbox.mesh, sandbox.address)
        threading.Event().wait()


def _say(line: str) -> None:
    """Tells a person, if it can: a full disk must not stop the servers."""
    with suppress(OSError):
        warn(line)


def _introduce(mesh: Mesh, sandbox: str = "") -> None:
    rows = [
        (process.role.value, process.address, str(process.pid), str(process.database), str(process.log))
        for process in mesh.processes.values()
    ]
    if sandbox:
        rows.append(("sandbox", sandbox, "", "", ""))
    what = "A sandbox is running: no real money, and simulated payers" if sandbox else "The mesh is running"
    show_table(what, ["server", "address", "pid", "database", "log"], rows)
    where = _options(mesh)
    suggestions = _of_sandbox(sandbox, where) if sandbox else _of_mesh(mesh, where)
    out.print("Try in another terminal:", style="bold")
    if mesh.addresses.tls_dir != tls_dir.get():
        out.print(f"  export TILLMESH_TLS_DIR={visible(str(mesh.addresses.tls_dir))}", soft_wrap=True)
    width = max(map(len, suggestions))
    for command, what in suggestions.items():
        out.print(Text.assemble(f"  {visible(command):<{width}}  ", (what, "dim")), soft_wrap=True)
    say("Ctrl-C stops all.")


def _of_mesh(mesh: Mesh, where: str) -> dict[str, str]:
    return {
        f"tillmesh replay {ONLINE_RETAIL}{where or ' --terminal 127.0.0.1:7003'}": "a real retailer's invoices",
        f"tillmesh orders --store {mesh.store.store_id}{where}": "what became of them",
        f"tillmesh balances{where}": "whether the books balance",
        "tillmesh --help": "everything else",
    }


def _of_sandbox(address: str, where: str) -> dict[str, str]:
    service = "" if address.endswith(f":{SANDBOX_PORT}") else f" --sandbox {address}"
    return {
        f"tillmesh sandbox payers{service}": "who pays how",
        f"tillmesh sell sandbox-says-yes MUG@4.50 --pay{where}": "a sale that has to be confirmed",
        f"tillmesh sandbox clock 90{service}": "90 seconds later",
        "tillmesh sandbox --help": "everything else",
    }


def _options(mesh: Mesh) -> str:
    """The flags that another command needs to find the mesh. None on the default ports."""
    flags = {ServerName.ORDERS: "--orders", ServerName.PAYMENTS: "--payments", ServerName.TERMINAL: "--terminal"}
    defaults = {ServerName.ORDERS: 7001, ServerName.PAYMENTS: 7002, ServerName.TERMINAL: 7003}
    return "".join(
        f" {flags[role]} {process.address}"
        for role, process in mesh.processes.items()
        if not process.address.endswith(f":{defaults[role]}")
    )
