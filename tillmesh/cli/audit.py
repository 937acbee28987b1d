"""`tillmesh audit verify`: whether the history of orders, payments and checkouts is as it was written."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import URL, Connection, NullPool, create_engine, func, inspect, make_url, select, table
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from tillmesh.cli.display import err, out, show_table
from tillmesh.cli.failures import BadFile, CliError
from tillmesh.cli.mesh import Role
from tillmesh.cli.options import DataDir
from tillmesh.cli.rows import Row, printable, read_rows
from tillmesh.runtime.history import Chain, HistoryTable, read_chains

HISTORY_TABLES = (
    HistoryTable("order_history", "orders", "order_id"),
    HistoryTable("payment_history", "payments", "payment_id"),
    HistoryTable("checkout_history", "checkouts", "checkout_id"),
)
COLUMNS = ("table", "key", "rows", "hash")
FINDINGS_SHOWN = 20

audit = typer.Typer(help="Prove that no history was rewritten: see docs/security.md.", no_args_is_help=True)


@dataclass(frozen=True, order=True, slots=True)
class Head:
    """Where the history of one record ends: its table, its key, how many rows it has, the hash of the last."""

    table: str
    key: str
    rows: int
    hash: bytes


@dataclass(slots=True)
class Audit:
    """What was read so far; `missing` are earlier heads that were not met again yet."""

    missing: set[Head]
    heads: list[Head] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    tables: list[Sequence[str]] = field(default_factory=list)

    def read(self, connection: Connection, database: str, history: HistoryTable, progress: Progress) -> None:
        """Verifies a table of chains."""
        total = connection.execute(select(func.count()).select_from(table(history.name))).scalar_one()
        task = progress.add_task(f"{database}: {history.name}", total=total)
        chains = rows = findings = 0
        for chain in read_chains(connection, history):
            self._take(chain, f"{database}: {history.name} of {chain.key}", history.name)
            chains, rows, findings = chains + 1, rows + len(chain.hashes), findings + len(chain.findings)
            progress.advance(task, len(chain.hashes))
        self.tables.append((database, history.name, f"{chains:,}", f"{rows:,}", f"{findings:,}"))

    def _take(self, chain: Chain, name: str, table_name: str) -> None:
        self.findings += [f"{name}: {finding}" for finding in chain.findings]
        if not chain.findings:
            self.heads.append(Head(table_name, chain.key, len(chain.hashes), chain.hashes[-1]))
        if self.missing:  # an earlier head may be any row now: chains grow
            self.missing -= {Head(table_name, chain.key, *row) for row in enumerate(chain.hashes, 1)}


@audit.command(
    epilog="**Examples**\n\ntillmesh audit verify --save heads-2026-11.csv\n\n"
    "tillmesh audit verify --since heads-2026-11.csv\n\n"
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
) -> None:
    """Verify that the history of every order, payment and checkout is as it was written.

    Each row of a history has the SHA-256 of the row before it and of itself; each record has that of its
    last row, its head. A row that was changed, removed, put in or moved shows. Only reads; the servers may run.

    Who can write a database can also write all its hashes anew. Against that, **keep the digest** that is
    printed at the end where they have no access: it is the SHA-256 of all heads, and of the file that
    --save writes. Later, **--since FILE** proves that every history still begins as it was then, as far
    as FILE still has the digest that you kept.

    Exit status: 0 all is as it was written, 1 something is not or a database can not be read,
    2 wrong usage or the file of --since can not be read.
    """
    local = [URL.create("sqlite", database=f"{data_dir / role}.db") for role in Role]
    urls = [_url(given) for given in database_urls] if database_urls else local
    earlier = _read_heads(since) if since else []
    seen = Audit(set(earlier))
    with _progress() as progress:
        for url in urls:
            _read_database(url, seen, progress)
    for head in sorted(seen.missing):
        seen.findings.append(f"{since}: {head.table} of {head.key}: row {head.rows} of then is not there any more")
    right = ["chains", "rows", "findings"]
    show_table("History", ["database", "table", *right], seen.tables, right=right)
    if seen.findings:
        _complain(seen.findings)
        raise typer.Exit(1)
    content = _as_csv(seen.heads)
    if since:
        digest = _digest(_as_csv(earlier))
        out.print(
            f"Every history begins as it was in {since}, whose digest is\n{digest}\n", markup=False, soft_wrap=True
        )
    if save:
        _write(save, content)
    out.print(f"Digest of the {len(seen.heads):,} heads, to be kept elsewhere\n{_digest(content)}", soft_wrap=True)


def _url(given: str) -> URL:
    try:
        return make_url(given)
    except ArgumentError:
        raise typer.BadParameter(
            f"{given!r} is no database URL such as sqlite:////var/lib/tillmesh/order_service.db",
            param_hint="DATABASE_URL",
        ) from None


def _read_database(url: URL, seen: Audit, progress: Progress) -> None:
    name = url.database if url.get_backend_name() == "sqlite" and url.database else url.render_as_string()
    try:
        engine = create_engine(_read_only(url), poolclass=NullPool, execution_options={"postgresql_readonly": True})
        with engine.connect() as connection:
            found = [history for history in HISTORY_TABLES if inspect(connection).has_table(history.records)]
            if not found:
                raise CliError(f"{name} has no orders, payments or checkouts: it is no database of a tillmesh server.")
            for history in found:
                seen.read(connection, name, history, progress)
    except (SQLAlchemyError, ImportError) as error:
        raise CliError(f"{name} can not be read: {getattr(error, 'orig', None) or error}") from None


def _read_only(url: URL) -> URL:
    """Of SQLite: the file is neither made nor written."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return url
    path = Path(url.database)
    if not path.is_file():
        raise CliError(f"There is no database {path}; name a server's --database-url, or a mesh's --data-dir.")
    return url.set(database=path.resolve().as_uri()).update_query_dict({"mode": "ro", "uri": "true"})


def _read_heads(file: Path) -> list[Head]:
    return [_head(file, row) for row in read_rows(file, COLUMNS)]


def _head(file: Path, row: Row) -> Head:
    name, key, rows, chain_hash = (row.cell(column) for column in COLUMNS)
    is_head = re.fullmatch("[1-9][0-9]{0,17}", rows) and re.fullmatch("[0-9a-f]{64}", chain_hash)
    if not is_head or printable(name + key) != name + key:
        raise BadFile(f"{file}: line {row.line_number}: this is no head that --save wrote")
    return Head(name, key, int(rows), bytes.fromhex(chain_hash))


def _as_csv(heads: Iterable[Head]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows((head.table, head.key, head.rows, head.hash.hex()) for head in sorted(heads))
    return text.getvalue().encode()


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise CliError(f"{file} can not be written: {error.strerror}") from None


def _complain(findings: Sequence[str]) -> None:
    for finding in findings[:FINDINGS_SHOWN]:
        err.print(f"tillmesh audit: {finding}", markup=False, soft_wrap=True)
    if len(findings) > FINDINGS_SHOWN:
        err.print(f"tillmesh audit: and {len(findings) - FINDINGS_SHOWN:,} more")


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=err, disable=not err.is_terminal)
