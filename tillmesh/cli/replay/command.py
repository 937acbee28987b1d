"""The command: reads the file, then replays it, proves it and reports."""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from tillmesh.cli.client import Addresses, Client
from tillmesh.cli.display import err
from tillmesh.cli.failures import CliError, Unreachable
from tillmesh.cli.mesh import Mesh, Role, Store
from tillmesh.cli.options import DEFAULT, CurrencyCode, run_async
from tillmesh.cli.replay.invoices import Invoice, InvoiceFile, Rejection, read_invoices
from tillmesh.cli.replay.reconcile import settled
from tillmesh.cli.replay.report import Report
from tillmesh.cli.replay.runner import Runner

CONCURRENCY = 8
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
    0 reconciled, 1 not reconciled or a server failed, 2 the file cannot be read.
    """
    invoice_file = read_invoices(file, currency)
    warn_of_rejected(file, invoice_file.rejected)
    if orders or payments or terminal:
        if data_dir:
            raise typer.BadParameter("is for a mesh of its own, not for a running one", param_hint="--data-dir")
        addresses = Addresses(orders or DEFAULT.orders, payments or DEFAULT.payments, terminal or DEFAULT.terminal)
        report = run_async(replay_file(addresses, file, invoice_file, currency, concurrency))
    else:
        with own_mesh(data_dir, Store(currency=currency)) as mesh:
            try:
                report = run_async(replay_file(mesh.addresses, file, invoice_file, currency, concurrency))
            except Unreachable as error:
                raise CliError(mesh.failure() or str(error)) from None
    report.show()
    print(json.dumps(report.as_json()))
    if not report.reconciled:
        raise typer.Exit(1)


def warn_of_rejected(file: Path, rejected: list[Rejection]) -> None:
    """One line on standard error for each invoice that is not replayed."""
    for rejection in rejected:
        err.print(
            f"tillmesh replay: {file}: line {rejection.line}: invoice {rejection.invoice} is rejected: "
            f"{rejection.reason}",
            markup=False,
            soft_wrap=True,
        )


@contextmanager
def own_mesh(data_dir: Path | None, store: Store, flags: Mapping[Role, Sequence[str]] | None = None) -> Iterator[Mesh]:
    """A mesh on free ports, for as long as the block runs; a temporary directory goes with it."""
    with (
        tempfile.TemporaryDirectory(prefix="tillmesh-") as temporary,
        Mesh(data_dir or Path(temporary), store=store, flags=flags) as mesh,
    ):
        yield mesh


async def replay_file(
    addresses: Addresses, file: Path, invoice_file: InvoiceFile, currency: str, concurrency: int
) -> Report:
    """Replays and reconciles."""
    invoices = invoice_file.invoices
    async with Client(addresses) as client:
        with _progress() as progress:
            task = progress.add_task(f"Replaying {file.name}", total=len(invoices), checkouts=0)

            def advance(invoice: Invoice) -> None:
                done = progress.tasks[task].fields["checkouts"] + (not invoice.is_return)
                progress.update(task, advance=1, checkouts=done)

            outcome = await Runner(client, currency, on_done=advance).run(invoices, concurrency)
        warn_of_rejected(file, outcome.rejected)
        _, checks = await settled(client, outcome)
    return Report(currency, invoice_file, outcome, checks)


class _Rate(ProgressColumn):
    """Checkouts per second so far."""

    def render(self, task: Task) -> Text:
        """The rate of one task."""
        return Text(f"{task.fields['checkouts'] / (task.elapsed or 1):.0f} checkouts/s")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeElapsedColumn())
    return Progress(*columns, console=err, disable=not err.is_terminal)
