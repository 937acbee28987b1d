"""Replays a file of invoices against a mesh."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.progress import ProgressColumn, Task
from rich.text import Text

from tillmesh.cli.display import progress_bars, warn
from tillmesh.cli.replay.invoices import Invoice, InvoiceFile, Rejection
from tillmesh.cli.replay.reconcile import settled
from tillmesh.cli.replay.report import Report
from tillmesh.cli.replay.runner import Runner
from tillmesh.client.connections import Addresses, Client
from tillmesh.local.mesh import Mesh, StoreOptions
from tillmesh.local.processes import ServerName
from tillmesh.runtime.foreign_text import named

CONCURRENCY = 8


def warn_of_rejected(file: Path, rejected: list[Rejection]) -> None:
    """One line on standard error for each invoice that is not replayed."""
    for rejection in rejected:
        what = f"line {rejection.line}: invoice {named(rejection.invoice)} is rejected: {rejection.reason}"
        warn(f"tillmesh replay: {file}: {what}")


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
        with progress_bars(_Rate()) as progress:
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
