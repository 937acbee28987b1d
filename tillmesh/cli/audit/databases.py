"""Reads the histories of servers' databases, and changes nothing in them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer
from rich.progress import Progress
from sqlalchemy import URL, Connection, NullPool, create_engine, func, inspect, make_url, select, table
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from order_service.audit import version_findings
from tillmesh.cli.audit.heads import Head
from tillmesh.client.failures import Failure
from tillmesh.storage.chains import Chain, HistoryTable, read_chains

ORDERS, VERSIONS = "orders", "order_versions"
HISTORY_TABLES = (
    HistoryTable("order_history", ORDERS, "order_id"),
    HistoryTable("payment_history", "payments", "payment_id"),
    HistoryTable("checkout_history", "checkouts", "checkout_id"),
)


@dataclass(slots=True)
class Audit:
    """The rows read so far. `missing` holds earlier heads that were not found again yet."""

    missing: set[Head]
    heads: list[Head] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    tables: list[Sequence[str]] = field(default_factory=list)
    """Database, table, chains, rows and findings of each table."""

    def read(self, database_url: str | URL, progress: Progress) -> None:
        """Verifies all histories of a database."""
        url = _parsed(database_url)
        name = url.database if url.get_backend_name() == "sqlite" and url.database else url.render_as_string()
        try:
            engine = create_engine(_read_only(url), poolclass=NullPool, execution_options={"postgresql_readonly": True})
            with engine.connect() as connection:
                self._read_tables(connection, name, progress)
        except (SQLAlchemyError, ImportError) as error:
            why = " ".join(str(getattr(error, "orig", error)).split())
            raise Failure(f"{name} cannot be read: {why}") from None

    def _read_tables(self, connection: Connection, database: str, progress: Progress) -> None:
        found = [history for history in HISTORY_TABLES if inspect(connection).has_table(history.records)]
        if not found:
            raise Failure(f"{database} has no orders, payments or checkouts: it is no database of a tillmesh server.")
        for history in found:
            total = connection.execute(select(func.count()).select_from(table(history.name))).scalar_one()
            task = progress.add_task(f"{database}: {history.name}", total=total)
            chains = rows = findings = 0
            for chain in read_chains(connection, history):
                self._take(chain, f"{database}: {history.name} of {chain.key}", history.name)
                chains, rows, findings = chains + 1, rows + len(chain.hashes), findings + len(chain.findings)
                progress.advance(task, len(chain.hashes))
            self.tables.append((database, history.name, f"{chains:,}", f"{rows:,}", f"{findings:,}"))
            if history.records == ORDERS:
                self._read_versions(connection, database)

    def _read_versions(self, connection: Connection, database: str) -> None:
        """The lines of each version of an order are not in its history, but what the history covers of them is."""
        rows = connection.execute(select(func.count()).select_from(table(VERSIONS))).scalar_one()
        findings = [f"{database}: {VERSIONS} of {key}: {finding}" for key, finding in version_findings(connection)]
        self.findings += findings
        self.tables.append((database, VERSIONS, "", f"{rows:,}", f"{len(findings):,}"))

    def _take(self, chain: Chain, name: str, table_name: str) -> None:
        self.findings += [f"{name}: {finding}" for finding in chain.findings]
        if not chain.findings:
            self.heads.append(Head(table_name, chain.key, len(chain.hashes), chain.hashes[-1]))
        if self.missing:  # an earlier head may be any row now: chains grow
            self.missing -= {Head(table_name, chain.key, *row) for row in enumerate(chain.hashes, 1)}


def sqlite_url(path: Path) -> URL:
    """The URL of a SQLite file."""
    return URL.create("sqlite", database=str(path))


def _parsed(database_url: str | URL) -> URL:
    try:
        return make_url(database_url)
    except ArgumentError:
        example = "sqlite:////var/lib/tillmesh/order_service.db"
        problem = f"{database_url!r} is no database URL such as {example}"
        raise typer.BadParameter(problem, param_hint="DATABASE_URL") from None


def _read_only(url: URL) -> URL:
    """Of SQLite: the file is neither made nor written."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return url
    path = Path(url.database)
    if not path.is_file():
        raise Failure(f"There is no database {path}; name a server's --database-url, or a mesh's --data-dir.")
    return url.set(database=path.resolve().as_uri()).update_query_dict({"mode": "ro", "uri": "true"})
