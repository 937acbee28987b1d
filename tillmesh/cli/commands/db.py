"""`tillmesh db`: the schemas of the servers' databases."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tillmesh.cli.display import complain, progress_bars, say, show_table
from tillmesh.cli.options import DataDir, run_async
from tillmesh.client.failures import Failure
from tillmesh.local.mesh import take_data_dir
from tillmesh.local.processes import ServerName

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from tillmesh.cli.pruning import Pruned
    from tillmesh.storage.migrations import Migrations

db = typer.Typer(help="The schemas of the servers' databases.", no_args_is_help=True)

Urls = dict[ServerName, str]
_URL = "sqlite:///FILE or postgresql://USER@HOST/NAME"
OrdersUrl = Annotated[str, typer.Option("--orders", help=f"Database of an order service: {_URL}.")]
PaymentsUrl = Annotated[str, typer.Option("--payments", help=f"Database of a payment server: {_URL}.")]
TerminalUrl = Annotated[str, typer.Option("--terminal", help=f"Database of a store terminal: {_URL}.")]
LOCAL = Path(".tillmesh")


@db.command(
    epilog="**Examples**\n\ntillmesh db upgrade\n\ntillmesh db upgrade --orders postgresql://tillmesh@db.internal/orders"
)
def upgrade(
    data_dir: DataDir = LOCAL, orders: OrdersUrl = "", payments: PaymentsUrl = "", terminal: TerminalUrl = ""
) -> None:
    """Bring databases to the schema of this release: those that are named, else those of the local mesh.

    Make a backup first. A server whose version a step does not leave is to be stopped: the upgrade says so.
    """
    named = _named(orders, payments, terminal)
    urls = named or _local(data_dir)
    with nullcontext() if named else closing(take_data_dir(data_dir)):
        for role, url in urls.items():
            with _opened(role, url, alone=True) as (engine, migrations):
                for step in migrations.upgrade(engine):
                    say(f"{role}: {step.version}: {step.what}")
                say(f"{role}: {engine.url} is at version {migrations.newest}.")


@db.command(
    epilog="**Examples**\n\ntillmesh db check\n\ntillmesh db check --payments sqlite:////var/lib/tillmesh/payments.db"
)
def check(
    data_dir: DataDir = LOCAL, orders: OrdersUrl = "", payments: PaymentsUrl = "", terminal: TerminalUrl = ""
) -> None:
    """Check that databases are whole: every page, index and reference. Only reads; the servers may run.

    A server that starts looks only at the ends of each table and index. So run this after a machine crashed, before
    you rely on a backup, and every night. PostgreSQL needs its extension amcheck for it.

    Exit status: 0 all is whole, 1 something is not, or a database cannot be checked.
    """
    from tillmesh.cli.checking import findings

    found: list[str] = []
    for role, url in (_named(orders, payments, terminal) or _local(data_dir)).items():
        of_database = [f"{role}: {finding}" for finding in findings(role, url)]
        if not of_database:
            say(f"{role}: the database is whole.")
        found += of_database
    if found:
        complain("db", found)
        raise typer.Exit(1)


@db.command(epilog="**Example**\n\ntillmesh db status")
def status(
    data_dir: DataDir = LOCAL, orders: OrdersUrl = "", payments: PaymentsUrl = "", terminal: TerminalUrl = ""
) -> None:
    """Say at which version the schemas are, and which one this release needs."""
    rows = []
    for role, url in (_named(orders, payments, terminal) or _local(data_dir)).items():
        with _opened(role, url) as (engine, migrations):
            rows.append((role.value, str(engine.url), migrations.found(engine) or "none", migrations.newest))
    show_table("Schemas", ["server", "database", "is at", "needed"], rows)


@db.command(
    epilog="**Examples**\n\ntillmesh db prune --older-than 400\n\n"
    "tillmesh db prune --older-than 400 --yes --orders postgresql://tillmesh@db.internal/orders"
)
def prune(
    older_than: Annotated[int, typer.Option(min=1, help="In days: what did not change for so long is old.")],
    data_dir: DataDir = LOCAL,
    orders: OrdersUrl = "",
    payments: PaymentsUrl = "",
    terminal: TerminalUrl = "",
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this, only count it.")] = False,
) -> None:
    """Remove old histories, and what else nobody needs any more; says how many records that are.

    Of each order, payment and checkout that was final for so long, all events but the last go. So do the lines of
    older versions of such orders, baskets that never became an order, requests of terminals that were done, and the
    tries of PINs whose requests were answered. **Never removed** are ids, attempts to pay, epochs, final states,
    refunds, the lines that were paid, and the ledger.

    What goes is written to a chain that `tillmesh audit verify` accepts and checks. A record whose history is not as
    it was written is left alone, and named. Save the heads before and after: see docs/security.md.

    Each transaction removes a few hundred rows. PostgreSQL's servers go on meanwhile; a server on a SQLite file
    has to be stopped. To cut it short does no harm: repeat it.

    Exit status: 0 all is done, 1 some records were left alone or a database cannot be used, 2 wrong usage.
    """
    from tillmesh.cli.pruning import Pruner

    named = _named(orders, payments, terminal)
    with nullcontext() if named else closing(take_data_dir(data_dir)), progress_bars() as progress:
        pruner = Pruner(older_than, progress, remove=yes)
        for role, url in (named or _local(data_dir)).items():
            with _opened(role, url) as (engine, migrations):
                if migrations.found(engine) is None:
                    raise Failure(f"{role}: {engine.url} is no database of a tillmesh server.")
                run_async(pruner.run(role, url))
    _show_pruned(pruner.found, yes=yes)


def _show_pruned(found: "Pruned", *, yes: bool) -> None:
    columns, right = ["server", "table", "old"], ["old", "removed", "rows"]
    rows = [[old.server.value, old.table, f"{old.records:,}"] for old in found.tables]
    if yes:
        columns += ["removed", "rows"]
        rows = [[*row, f"{old.removed:,}", f"{old.rows:,}"] for row, old in zip(rows, found.tables, strict=True)]
    show_table("Pruned" if yes else "To prune", columns, rows, right=right)
    if not yes:
        say("Nothing was removed. To remove it, say --yes.")
    if found.findings:
        complain("db", found.findings)
        raise typer.Exit(1)


@db.command(epilog="**Example**\n\ntillmesh db restamp --payments postgresql://tillmesh@db.internal/payments")
def restamp(
    data_dir: DataDir = LOCAL, orders: OrdersUrl = "", payments: PaymentsUrl = "", terminal: TerminalUrl = ""
) -> None:
    """Let databases that were restored into another PostgreSQL cluster be used there.

    Rows have the ids of the transactions that wrote them. In another cluster new rows might have smaller ones. So the
    database adds to those of new rows what is missing; no row changes. Stop the servers first. To repeat it does no
    harm.
    """
    from tillmesh.storage import row_order
    from tillmesh.storage.schema import alone

    for role, url in (_named(orders, payments, terminal) or _local(data_dir)).items():
        with _opened(role, url) as (engine, _), alone(engine) as connection:
            ahead = row_order.restamp(connection)
            done = f"new rows follow those that were ahead by {ahead:,}" if ahead else "no row was ahead"
            say(f"{role}: {engine.url}: {done}.")


def _named(orders: str, payments: str, terminal: str) -> Urls:
    urls = {ServerName.ORDERS: orders, ServerName.PAYMENTS: payments, ServerName.TERMINAL: terminal}
    return {role: url for role, url in urls.items() if url}


def _local(data_dir: Path) -> Urls:
    files = {role: data_dir / f"{role}.db" for role in ServerName}
    urls = {role: f"sqlite:///{file.resolve()}" for role, file in files.items() if file.exists()}
    if not urls:
        raise Failure(f"There is no database in {data_dir}; name --data-dir, or the databases themselves.")
    return urls


def migrations_of(role: ServerName) -> Path:
    """Folder of a server's migrations."""
    service = find_spec(role.value)
    assert service is not None
    assert service.origin is not None
    return Path(service.origin).parent / "migrations"


@contextmanager
def _opened(role: ServerName, url: str, *, alone: bool = False) -> "Iterator[tuple[Engine, Migrations]]":
    """A database and the migrations of its server, with a SQLite file `alone` if asked for; failures are one line."""
    # Here, as every other command would wait half a second for them.
    from sqlalchemy.exc import DBAPIError

    from tillmesh.storage.database import is_sqlite, open_engine, parse_url
    from tillmesh.storage.file_lock import sole_user
    from tillmesh.storage.migrations import Migrations

    try:
        parsed = parse_url(url)
        if is_sqlite(parsed) and not Path(parsed.database or "").is_file():
            raise Failure(f"There is no database {parsed}.")
        with sole_user(url if alone else ""):
            engine = open_engine(parsed)
            yield engine, Migrations(migrations_of(role))
            engine.dispose()
    except (ValueError, DBAPIError) as error:
        said = error.orig if isinstance(error, DBAPIError) else error
        raise Failure(f"{role}: {' '.join(str(said).split())}") from None
