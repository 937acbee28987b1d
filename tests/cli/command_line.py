"""Runs `tillmesh` the way a person does: as a process, with what it prints and its exit status."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.processes import DEADLINE_S
from tillmesh.client.connections import Addresses
from tillmesh.local.mesh import Mesh

TILLMESH = Path(sys.executable).with_name("tillmesh")
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def tillmesh(
    *arguments: str | Path, mesh: Addresses | None = None, types: str = ""
) -> subprocess.CompletedProcess[str]:
    """One command, ended; `mesh` is where it looks for the servers."""
    done = subprocess.run(
        [TILLMESH, *arguments],
        env=environment(mesh),
        input=types,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert "Traceback" not in done.stderr
    return done


def environment(mesh: Addresses | None = None) -> dict[str, str]:
    """Ours, without what it may say about another mesh."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TILLMESH_")}
    if mesh is None:
        return clean
    return clean | {
        "TILLMESH_ORDERS": mesh.orders,
        "TILLMESH_PAYMENTS": mesh.payments,
        "TILLMESH_TERMINAL": mesh.terminal,
        "TILLMESH_TLS_DIR": str(mesh.tls_dir),
    }


def row(
    number: str,
    sku: str = "85123A",
    quantity: object = 1,
    price: object = "2.55",
    customer: str = "17850.0",
    *,
    title: str = "HEART",
    at: str = "2010-12-01 08:26:00",
) -> str:
    """One row of an invoice file."""
    return f"{number},{sku},{title},{quantity},{at},{price},{customer},United Kingdom"


def write_invoices(folder: Path, *rows: str) -> Path:
    """A file of invoices."""
    path = folder / "invoices.csv"
    path.write_text("\n".join((HEADER, *rows)) + "\n")
    return path


class Person:
    """Somebody at a shell, with the mesh's addresses in the environment."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh

    def does(self, *arguments: str | Path, types: str = "") -> str:
        """What a command says; `types` is what it reads from its standard input."""
        done = tillmesh(*arguments, mesh=self.mesh.addresses, types=types)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def fails(self, *arguments: str | Path, types: str = "") -> str:
        """The one line that a command fails with."""
        done = tillmesh(*arguments, mesh=self.mesh.addresses, types=types)
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        return line


def found(pattern: str, text: str) -> str:
    """What the one group of a pattern matches, which must be there."""
    match = re.search(pattern, text)
    assert match, f"{pattern} is not in:\n{text}"
    return match[1]
