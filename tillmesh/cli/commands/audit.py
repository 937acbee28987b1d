"""The command: reads the databases, tells what it found, and the digest of all histories."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from tillmesh.cli.audit.heads import as_csv, digest, read_heads
from tillmesh.cli.display import complain, out, progress_bars, say, show_table
from tillmesh.cli.options import DataDir
from tillmesh.client.failures import Failure
from tillmesh.local.processes import ServerName
from tillmesh.runtime.foreign_text import named

audit = typer.Typer(help="Prove that no history was rewritten: see docs/security.md.", no_args_is_help=True)


@audit.command(
    epilog="**Examples**\n\ntillmesh audit verify --save heads-2026-11.csv\n\n"
    "tillmesh audit verify --since heads-2026-11.csv\n\n"
    "tillmesh audit verify --changed-since 2026-11-26\n\n"
    "tillmesh audit verify sqlite:////var/lib/tillmesh/order_service.db"
)
def verify(
    database_urls: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATABASE_URL", help="As the servers' --database-url. [default: those of DATA_DIR]"),
    ] = None,
    data_dir: DataDir = Path(".tillmesh"),
    save: Annotated[Path | None, typer.Option(help="Write the heads here: all that --since needs, as CSV.")] = None,
    since: Annotated[Path | None, typer.Option(help="Heads of an earlier run that must still be there.")] = None,
    changed_since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Only records that changed on that day (UTC) or later; no digest."),
    ] = None,
) -> None:
    """Verify that the history of every order, payment and checkout is as it was written, and that the ledger adds up.

    Each row of a history has the SHA-256 of the row before it and of itself; each record has that of its
    last row, its head. A row that was changed, removed, put in or moved shows. The history of an order also
    covers the lines of each version, so changed lines show as well. The ledger is added up from its transfers,
    and compared with all balances and sums that the payment server keeps. Only reads; the servers may run.

    Who can write a database can also write all its hashes anew. Against that, **keep the digest** that is
    printed at the end where they have no access: it is the SHA-256 of all heads, and of the file that
    --save writes. Later, **--since FILE** proves that every history still begins as it was then, as far
    as FILE still has the digest that you kept.

    **tillmesh db prune** removes rows of old histories. What it removed is a chain as well, which is verified too:
    the rest of each history follows the last row that is gone. --since accepts the head of a row that is gone. The
    last row of a record is never removed, so the head of a record that was final is still proved.

    **--changed-since DAY** is for every night: it reads the histories of records that changed since then, and
    those of no others. It finds no record that is missing, and reads neither the ledger nor the chain of what was
    pruned.

    Exit status: 0 all is as it was written, 1 something is not or a database cannot be read,
    2 wrong usage or the file of --since cannot be read.
    """
    from tillmesh.cli.audit.databases import Audit, sqlite_url  # here, as no other command should wait for SQLAlchemy

    if changed_since and (save or since):
        raise typer.BadParameter("needs all histories, not only what has changed", param_hint="--save, --since")
    local = [sqlite_url(data_dir / f"{role}.db") for role in ServerName]
    earlier = read_heads(since) if since else []
    since_ms = int(changed_since.replace(tzinfo=UTC).timestamp() * 1000) if changed_since else 0
    seen = Audit(set(earlier), since_ms)
    with progress_bars() as progress:
        for url in database_urls or local:
            seen.read(url, progress)
    for head in sorted(seen.missing):
        seen.findings.append(f"{since}: {head.table} of {head.key}: row {head.rows} of then is no longer there")
    right = ["chains", "rows", "findings"]
    show_table("History", ["database", "table", *right], seen.tables, right=right)
    if seen.findings:
        complain("audit", seen.findings)
        raise typer.Exit(1)
    if since:
        if seen.pruned:
            say(f"{seen.pruned:,} heads of then are of rows that were pruned since.")
        say(f"Every history begins as it was in {named(since)}, whose digest is")
        say(digest(earlier))
        out.print()
    if changed_since:
        say(f"What has changed since {changed_since:%Y-%m-%d} is as it was written.")
        return
    if save:
        _write(save, as_csv(seen.heads))
    say(f"Digest of the {len(seen.heads):,} heads, to be kept elsewhere")
    say(digest(seen.heads))


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise Failure(f"{named(file)} cannot be written: {error.strerror}") from None
