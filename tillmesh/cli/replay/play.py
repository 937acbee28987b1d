"""Replays a file of invoices against a mesh."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from tillmesh.cli.display import err
from tillmesh.cli.replay.invoices import Invoice, InvoiceFile, Rejection
from tillmesh.cli.replay.reconcile import settled
from tillmesh.cli.replay.report import Report
from tillmesh.cli.replay.runner import Runner
from tillmesh.client.connections import Addresses, Client
from tillmesh.local.mesh import Mesh, StoreOptions
from tillmesh.local.processes import ServerName

CONCURRENCY = 8


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
def own_mesh(
    data_dir: Path | None, store: StoreOptions, flags: Mapping[ServerName, Sequence[str]] | None = None
) -> Iterator[Mesh]:
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
