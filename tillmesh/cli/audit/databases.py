"""Reads the histories and the ledger of servers' databases, and changes nothing in them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import typer
from rich.progress import Progress
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, func, inspect, make_url, select, table
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from order_service.audit import version_findings
from tillmesh.cli.audit.heads import Head
from tillmesh.cli.audit.ledger import ledger_findings
from tillmesh.client.failures import Failure
from tillmesh.storage.chains import Chain, Entry, HistoryTable, pruned_findings, read_chains, read_pruned

ORDERS, VERSIONS, PRUNED = "orders", "order_versions", "pruned"
PAYMENTS, TRANSFERS = "payments", "transfers"
HISTORY_TABLES = (
    HistoryTable("order_history", ORDERS, "order_id"),
    HistoryTable("payment_history", PAYMENTS, "payment_id"),
    HistoryTable("checkout_history", "checkouts", "checkout_id"),
)


@dataclass(slots=True)
class Audit:
    """The rows read so far. `missing` holds earlier heads that were not found again yet.

    After a given time only what has changed since is read.
    """

    missing: set[Head]
    since_ms: int = 0
    pruned: int = 0
    """How many earlier heads are of rows that were pruned since."""
    heads: list[Head] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    tables: list[Sequence[str]] = field(default_factory=list)
    """Database, table, chains, rows and findings of each table."""

    def read(self, database_url: str | URL, progress: Progress) -> None:
        """Verifies all histories of a database."""
        url = _parsed(database_url)
        name = url.database if url.get_backend_name() == "sqlite" and url.database else url.render_as_string()
        try:
            with read_only(url).connect() as connection:
                self._read_tables(connection, name, progress)
        except (SQLAlchemyError, ImportError) as error:
            why = " ".join(str(getattr(error, "orig", error)).split())
            raise Failure(f"{name} cannot be read: {why}") from None

    def _read_tables(self, connection: Connection, database: str, progress: Progress) -> None:
        found = [history for history in HISTORY_TABLES if inspect(connection).has_table(history.records)]
        if not found:
            raise Failure(f"{database} has no orders, payments or checkouts: it is no database of a tillmesh server.")
        for history in found:
            task = progress.add_task(f"{database}: {history.name}", total=self._count(connection, history.name))
            chains = rows = findings = 0
            for chain in read_chains(connection, history, self.since_ms):
                self._take(chain, f"{database}: {history.name} of {chain.key}", history.name)
                chains, rows, findings = chains + 1, rows + len(chain.hashes), findings + len(chain.findings)
                progress.advance(task, len(chain.hashes))
            self.tables.append((database, history.name, f"{chains:,}", f"{rows:,}", f"{findings:,}"))
            if history.records == ORDERS:
                self._read_versions(connection, database)
            if not self.since_ms:
                self._read_pruned(connection, history, database)
            if history.records == PAYMENTS and not self.since_ms:
                self._read_ledger(connection, database, progress)

    def _count(self, connection: Connection, name: str) -> int | None:
        """How many rows are to be read; None where only some of them are."""
        if self.since_ms:
            return None
        return int(connection.execute(select(func.count()).select_from(table(name))).scalar_one())

    def _read_versions(self, connection: Connection, database: str) -> None:
        """The lines of each version of an order are not in its history, but what the history covers of them is."""
        rows, found = self._count(connection, VERSIONS), version_findings(connection, self.since_ms)
        findings = [f"{database}: {VERSIONS} of {key}: {finding}" for key, finding in found]
        self.findings += findings
        self.tables.append((database, VERSIONS, "", "" if rows is None else f"{rows:,}", f"{len(findings):,}"))

    def _read_pruned(self, connection: Connection, history: HistoryTable, database: str) -> None:
        """What was pruned is a chain of its own, whose head is saved with the others."""
        missing = defaultdict(list)
        for head in self.missing:
            if head.table == history.name:
                missing[head.key].append(head)
        broken: list[str] = []
        last = None
        for entry in read_pruned(connection, broken):
            last = Head(PRUNED, history.name, entry.number, entry.chain_hash)
            self.missing.discard(last)
            for head in missing.get(entry.key, ()):
                self._find_pruned(head, entry)
        findings = [f"{database}: {PRUNED}: {finding}" for finding in broken]
        findings += [f"{database}: {PRUNED} of {key}: {found}" for key, found in pruned_findings(connection, history)]
        self.findings += findings
        if last and not findings:
            self.heads.append(last)
        if last or findings:
            entries = last.rows if last else 0
            self.tables.append((database, PRUNED, "", f"{entries:,}", f"{len(findings):,}"))

    def _find_pruned(self, head: Head, entry: Entry) -> None:
        """An earlier head may be of rows that are gone: of the last of them its hash is known, of the others not."""
        if head.rows < entry.through and head in self.missing:
            self.missing.discard(head)
            self.pruned += 1
        elif (head.rows, head.hash) == (entry.through, entry.head):
            self.missing.discard(head)

    def _read_ledger(self, connection: Connection, database: str, progress: Progress) -> None:
        """The ledger has no chain, but what the server keeps of it follows from its transfers."""
        connection.rollback()
        see_one_moment(connection)
        rows = connection.execute(select(func.count()).select_from(table(TRANSFERS))).scalar_one()
        task = progress.add_task(f"{database}: {TRANSFERS}", total=rows)
        findings = [
            f"{database}: {finding}"
            for finding in ledger_findings(connection, lambda number: progress.advance(task, number))
        ]
        progress.update(task, completed=rows)
        self.findings += findings
        self.tables.append((database, TRANSFERS, "", f"{rows:,}", f"{len(findings):,}"))

    def _take(self, chain: Chain, name: str, table_name: str) -> None:
        self.findings += [f"{name}: {finding}" for finding in chain.findings]
        if not chain.findings:
            self.heads.append(Head(table_name, chain.key, chain.rows, chain.hashes[-1]))
        if self.missing:  # an earlier head may be any row now: chains grow
            self.missing -= {Head(table_name, chain.key, *row) for row in enumerate(chain.hashes, chain.pruned + 1)}


def see_one_moment(connection: Connection) -> None:
    """Begins a transaction that sees nothing of what is written beside it."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


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


def read_only(url: URL) -> Engine:
    """The way to a database that is neither made nor written; its server may run."""
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    return create_engine(_unwritten(url), poolclass=NullPool, execution_options={"postgresql_readonly": True})


def _unwritten(url: URL) -> URL:
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith("file:"):
        return url
    path = Path(url.database)
    if not path.is_file():
        raise Failure(f"There is no database {path}; name a server's --database-url, or a mesh's --data-dir.")
    return url.set(database=path.resolve().as_uri()).update_query_dict({"mode": "ro", "uri": "true"})
