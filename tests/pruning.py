"""Prunes a database as the command does, and verifies what is left."""

from collections.abc import Sequence

from sqlalchemy import Connection

from order_service.audit import version_findings
from tillmesh.cli.audit.databases import HISTORY_TABLES
from tillmesh.storage.chains import HistoryTable, pruned_findings, read_chains, read_pruned
from tillmesh.storage.database import Database, open_engine, parse_url
from tillmesh.storage.pruning import START, Page, Position, Prunable


async def prune(database: Database, parts: Sequence[Prunable], before_ms: int, now_ms: int = 0) -> list[Page]:
    """Removes all that is older, a page at a time."""
    pages = []
    for part in parts:
        after: Position | None = START
        while after is not None:
            page = await database.run(part.prune, before_ms, after, now_ms)
            pages.append(page)
            after = page.after
    return pages


async def counts(database: Database, parts: Sequence[Prunable], before_ms: int) -> dict[str, int]:
    """What there is to prune."""
    return {part.name: await database.run(part.count, before_ms) for part in parts}


def audit(url: str, name: str) -> list[str]:
    """What is wrong with the histories of a database."""
    table: HistoryTable = next(table for table in HISTORY_TABLES if table.name == name)
    engine = open_engine(parse_url(url))
    with engine.connect() as connection:
        found = findings(connection, table)
    engine.dispose()
    return found


def findings(connection: Connection, table: HistoryTable) -> list[str]:
    """The same, of one that is open."""
    found = [f"{chain.key}: {finding}" for chain in read_chains(connection, table) for finding in chain.findings]
    list(read_pruned(connection, found))
    found += [f"{key}: {finding}" for key, finding in pruned_findings(connection, table)]
    if table.records == "orders":
        found += [f"{key}: {finding}" for key, finding in version_findings(connection)]
    return found
