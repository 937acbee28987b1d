"""Runs `tillmesh` as a person does, with what it prints and its exit status."""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.processes import DEADLINE_S
from tillmesh.cli import main
from tillmesh.client.connections import Addresses
from tillmesh.local.mesh import Mesh

TILLMESH = Path(sys.executable).with_name("tillmesh")
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


def tillmesh(*arguments: str | Path, mesh: Addresses | None = None, types: str = "") -> Done:
    """One command, run to its end in this process: to start another one takes longer than most commands.

    `mesh` is where it looks for the servers, `types` what it reads from its standard input.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, environment(mesh), clear=True),
        patch.object(sys, "argv", ["tillmesh", *map(str, arguments)]),
        patch.object(sys, "stdin", io.StringIO(types)),
        redirect_stdout(out),
        redirect_stderr(err),
        same_signals(),
        pytest.raises(SystemExit) as ended,
    ):
        copy_context().run(main)
    status = ended.value.code or 0
    assert isinstance(status, int)
    return Done(status, out.getvalue(), err.getvalue())


def tillmesh_process(*arguments: str | Path) -> Done:
    """The same as a process of its own, without a mesh."""
    done = subprocess.run(
        [TILLMESH, *arguments], env=environment(), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def same_signals() -> Iterator[None]:
    """Undoes what a command does with signals, which is for the whole process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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
