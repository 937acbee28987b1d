"""`tillmesh up`: the three servers, until Ctrl-C."""

import shlex
import threading
import time
from collections.abc import Mapping
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
from tillmesh.runtime.ids import IDENTIFIER, IDENTIFIER_RULE
from tillmesh.samples import ONLINE_RETAIL
from tillmesh.sandbox.sandbox import Sandbox

DEFAULT_FOLDER = Path(".tillmesh")
USUAL_CURRENCY = "GBP"
USUAL_PORTS, SANDBOX_PORT = (7001, 7002, 7003), 7004
METRICS = ("127.0.0.1:7101", "127.0.0.1:7102", "127.0.0.1:7103")
WATCH_INTERVAL_S = 0.2
Scraped = Mapping[ServerName, str]
"""Where each server shows its metrics."""


def up(
    data_dir: DataDir = DEFAULT_FOLDER,
    store_id: Annotated[str, typer.Option(help="The store that the terminal stands in.")] = "store-1",
    terminal_id: Annotated[str, typer.Option(help="The terminal.")] = "till-1",
    currency: CurrencyCode = USUAL_CURRENCY,
    prices_include_tax: Annotated[
        bool, typer.Option("--prices-include-tax/--no-prices-include-tax", help="Else taxes come on top of prices.")
    ] = True,
    orders_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the order service; 0: a free one.")
    ] = 7001,
    payments_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the payment server.")] = 7002,
    terminal_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the store terminal.")] = 7003,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Serve metrics for Prometheus, on the ports 7101, 7102 and 7103.")
    ] = False,
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
    if sandbox_port != SANDBOX_PORT and not sandbox:
        raise typer.BadParameter("needs --sandbox", param_hint="--sandbox-port")
    for flag, name in ("--store-id", store_id), ("--terminal-id", terminal_id):
        if not IDENTIFIER.fullmatch(name):
            raise typer.BadParameter(f"{IDENTIFIER_RULE}, was {name!r}", param_hint=flag)
    store = StoreOptions(store_id, terminal_id, currency, prices_include_tax)
    ports = (orders_port, payments_port, terminal_port)
    scraped = dict(zip(ServerName, METRICS, strict=True)) if metrics else {}
    flags = {role: ("--metrics-listen", address) for role, address in scraped.items()}
    try:
        if sandbox:
            folder = DEFAULT_FOLDER / "sandbox" if data_dir == DEFAULT_FOLDER else data_dir
            _keep_sandbox(Sandbox(folder, store=store, ports=ports, port=sandbox_port, flags=flags, say=_say), scraped)
        else:
            _keep(Mesh(data_dir, store=store, ports=ports, flags=flags), scraped)
    except KeyboardInterrupt:
        out.print("\nStopped; the data stays.")


def _keep(mesh: Mesh, scraped: Scraped) -> None:
    with mesh:
        _introduce(mesh, scraped)
        keeper = Keeper(mesh, _say)
        while True:
            time.sleep(WATCH_INTERVAL_S)
            keeper.look()


def _keep_sandbox(sandbox: Sandbox, scraped: Scraped) -> None:
    with sandbox:
        _introduce(sandbox.mesh, scraped, sandbox.address)
        if ahead_s := sandbox.clock.ahead_ms() // 1_000:
            out.print(f"Its clock is {ahead_s:,} s ahead. To set it right, and delete all: tillmesh sandbox reset")
        threading.Event().wait()


def _say(line: str) -> None:
    """Tells a person, if it can: a full disk must not stop the servers."""
    with suppress(OSError):
        warn(line)


def _introduce(mesh: Mesh, scraped: Scraped, sandbox: str = "") -> None:
    rows = [
        (process.role.value, process.address, str(process.pid), str(process.database), str(process.log))
        for process in mesh.processes.values()
    ]
    if sandbox:
        rows.append(("sandbox", sandbox, "", "", ""))
    what = "A sandbox is running: no real money, and simulated payers" if sandbox else "The mesh is running"
    show_table(what, ["server", "address", "pid", "database", "log"], rows)
    if scraped:
        out.print(f"Metrics for Prometheus: {' '.join(f'http://{address}/metrics' for address in scraped.values())}")
    suggestions = _of_sandbox() if sandbox else _of_mesh(mesh)
    out.print("Try in another terminal:", style="bold")
    for name, value in _environment(mesh, sandbox).items():
        out.print(f"  export {name}={visible(shlex.quote(value))}", soft_wrap=True)
    width = max(map(len, suggestions))
    for command, what in suggestions.items():
        out.print(Text.assemble(f"  {visible(command):<{width}}  ", (what, "dim")), soft_wrap=True)
    say("Ctrl-C stops all.")


def _of_mesh(mesh: Mesh) -> dict[str, str]:
    terminal = mesh.processes[ServerName.TERMINAL].address  # without it the replay starts a mesh of its own
    return {
        f"tillmesh replay {ONLINE_RETAIL} --terminal {terminal}": "a real retailer's invoices",
        f"tillmesh orders --store {mesh.store.store_id}": "what became of them",
        "tillmesh balances": "whether the books balance",
        "tillmesh --help": "everything else",
    }


def _of_sandbox() -> dict[str, str]:
    return {
        "tillmesh sandbox payers": "who pays how",
        "tillmesh sell sandbox-says-yes MUG@4.50 --pay": "a sale that has to be confirmed",
        "tillmesh sandbox clock 90": "90 seconds later",
        "tillmesh sandbox --help": "everything else",
    }


def _environment(mesh: Mesh, sandbox: str) -> dict[str, str]:
    """What another command needs to find the mesh; on the usual ports that is little."""
    usual = dict(zip(ServerName, USUAL_PORTS, strict=True))
    listens = {f"TILLMESH_{role.name}": (process.address, usual[role]) for role, process in mesh.processes.items()}
    if sandbox:
        listens["TILLMESH_SANDBOX"] = sandbox, SANDBOX_PORT
    found = {name: address for name, (address, port) in listens.items() if not address.endswith(f":{port}")}
    if mesh.store.currency != USUAL_CURRENCY:
        found["TILLMESH_CURRENCY"] = mesh.store.currency
    folder = mesh.addresses.tls_dir
    return found if folder == tls_dir.get() else {"TILLMESH_TLS_DIR": str(folder), **found}
