"""`tillmesh db`: the schemas of the servers' databases."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tillmesh.cli.display import out, show_table
from tillmesh.cli.options import DataDir
from tillmesh.client.failures import Failure
from tillmesh.local.mesh import take_data_dir
from tillmesh.local.processes import ServerName

if TYPE_CHECKING:
    from sqlalchemy import Engine

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

    Make a backup and stop the servers first.
    """
    named = _named(orders, payments, terminal)
    urls = named or _local(data_dir)
    with nullcontext() if named else closing(take_data_dir(data_dir)):
        for role, url in urls.items():
            with _opened(role, url) as (engine, migrations):
                for step in migrations.upgrade(engine):
                    out.print(f"{role}: {step.version}: {step.what}", soft_wrap=True)
                out.print(f"{role}: {engine.url} is at version {migrations.newest}.", soft_wrap=True)


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
def _opened(role: ServerName, url: str) -> "Iterator[tuple[Engine, Migrations]]":
    """A database and the migrations of its server; failures are one plain line."""
    # Here, as every other command would wait half a second for them.
    from sqlalchemy.exc import DBAPIError

    from tillmesh.storage.database import is_sqlite, open_engine, parse_url
    from tillmesh.storage.migrations import Migrations

    try:
        parsed = parse_url(url)
        if is_sqlite(parsed) and not Path(parsed.database or "").is_file():
            raise Failure(f"There is no database {parsed}.")
        engine = open_engine(parsed)
        yield engine, Migrations(migrations_of(role))
        engine.dispose()
    except (ValueError, DBAPIError) as error:
        said = error.orig if isinstance(error, DBAPIError) else error
        raise Failure(f"{role}: {' '.join(str(said).split())}") from None
