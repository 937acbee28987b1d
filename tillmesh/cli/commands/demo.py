"""`tillmesh demo`: real invoices first, then the story of the lock, every step of it checked."""

import json

from rich.text import Text

from tillmesh.cli.display import out
from tillmesh.cli.options import run_async
from tillmesh.cli.replay.invoices import read_invoices
from tillmesh.cli.replay.play import CONCURRENCY, own_mesh, replay_file
from tillmesh.cli.story.lock import PAYER_WINDOW_S, play
from tillmesh.cli.story.scene import scene
from tillmesh.client.failures import Failure
from tillmesh.local.mesh import Mesh, StoreOptions
from tillmesh.local.processes import ServerName
from tillmesh.runtime.foreign_text import visible, visible_json
from tillmesh.samples import ONLINE_RETAIL

# The lock outlasts the payer's time to confirm by the margin; short, so that nobody waits long.
FLAGS = {ServerName.PAYMENTS: ["--payer-window-s", str(PAYER_WINDOW_S), "--lease-margin-s", "2"]}

NEXT = (
    ("tillmesh up", "the three servers, to try things by hand: tillmesh --help"),
    ("tillmesh replay FILE", "your own invoices"),
    ("protos/", "the contracts: a client in your language needs nothing else"),
    ("docs/architecture.md", "the whole on a page or two"),
    ("order_service/README.md", "where the lock is, unit by unit"),
    ("make test", "all tests"),
)


def demo() -> None:
    """Replay a real retailer's invoices through three servers, then play the story of the lock.

    It starts its own mesh in a temporary directory, and stops and removes it at the end.
    """
    with own_mesh(None, StoreOptions(), FLAGS) as mesh:
        _introduce(mesh)
        _replay(mesh)
        run_async(play(mesh))
    scene("Where to look next")
    for where, what in NEXT:
        out.print(Text.assemble("  ", (f"{where:<25}", "bold"), f" {what}"))


def _introduce(mesh: Mesh) -> None:
    scene("Three servers, three processes, three databases")
    for process in mesh.processes.values():
        out.print(
            f"  {process.role:<18} pid {process.pid:<8} {process.address:<18} {visible(str(process.database))}",
            soft_wrap=True,
        )


def _replay(mesh: Mesh) -> None:
    scene("A real retailer's invoices, ordered, locked, paid and returned")
    invoices = read_invoices(ONLINE_RETAIL, mesh.store.currency)
    report = run_async(replay_file(mesh.addresses, ONLINE_RETAIL, invoices, mesh.store.currency, CONCURRENCY))
    report.show()
    print(visible_json(json.dumps(report.as_json())))
    if not report.reconciled:
        raise Failure("The replay does not reconcile.")
