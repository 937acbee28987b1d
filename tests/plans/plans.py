"""How a database runs a statement: its plan, and how much it reads to run it."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import psycopg
from psycopg.adapt import PyFormat, Transformer
from sqlalchemy import Connection, Insert, MetaData, StaticPool, create_engine, insert, select

from tests.plans.mesh import Example
from tests.plans.past import grows, written
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.statements import Statements

SORTED_MAX = 2_000
"""Rows that may be sorted, or kept aside, as the database estimates: what is of one page, or of one record."""
STEPS_MAX = 2_000_000
"""Steps after which a statement is not run to its end: it reads everything."""
STEPS_AT_A_TIME = 10
KEEPING = ("Sort", "Incremental Sort", "Hash", "HashAggregate", "Aggregate", "Materialize")
PLACE = re.compile(r"%\((\w+)\)s")
MADE = ("alembic_version", "seal_key")
Node = dict[str, Any]
Execute = tuple[str, Sequence[Any]]
EXECUTED = 7
"""PostgreSQL plans a prepared statement for its values five times, then decides whether one plan is as good for all."""


class Planner(Protocol):
    """A database that is asked how it runs statements."""

    connection: Connection
    slack: int
    """How much a statement may read more of a longer history, as chance or a choice of plans has it."""

    def flaws(self, example: Example) -> Iterator[str]:
        """What is wrong with a statement's plan."""

    def reads(self, example: Example) -> int:
        """How much a statement reads; 0 for one that only adds rows."""

    def moments(self) -> Iterator[str]:
        """What the database knows of its rows, at each of the moments in which it must run statements well."""


def load(rows: bytes, metadata: MetaData, connection: Connection) -> None:
    """Copies the rows of a service's SQLite database, but those that are there from the start."""
    source = create_engine("sqlite://", creator=lambda: _opened(rows), poolclass=StaticPool)
    with source.connect() as reading:
        for table in (table for table in metadata.sorted_tables if table.name not in MADE):
            if found := reading.execute(select(*written(table, connection))).mappings().all():
                connection.execute(insert(table), [dict(row) for row in found])


def _large(metadata: MetaData) -> set[str]:
    return {table.name for table in metadata.sorted_tables if grows(table)}


def _opened(content: bytes) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.deserialize(content)
    return connection


class OnSqlite:
    """SQLite in memory: what it reads is counted in steps of its virtual machine."""

    slack = 1_000

    def __init__(self, content: bytes, metadata: MetaData) -> None:
        self._driver = sqlite3.connect(":memory:", isolation_level=None)
        _opened(content).backup(self._driver)
        engine = create_engine("sqlite://", creator=lambda: self._driver, poolclass=StaticPool)
        self._statements = Statements(engine.dialect)
        self._large = _large(metadata)
        self.connection = engine.connect()

    def flaws(self, example: Example) -> Iterator[str]:
        """Tables that are read as a whole, or in the order of an index but without an end."""
        text, parameters = self._compiled(example)
        for *_, detail in self._driver.execute(f"EXPLAIN QUERY PLAN {text}", parameters):
            scanned = re.match(r"SCAN (\w+)(.*)", detail)
            if scanned and scanned[1] in self._large and not ("INDEX" in scanned[2] and " LIMIT " in text):
                yield detail

    def reads(self, example: Example) -> int:
        """Steps, of which each row takes the same number."""
        if isinstance(example.statement, Insert):
            return 0
        counted = 0

        def count() -> bool:
            nonlocal counted
            counted += STEPS_AT_A_TIME
            return counted > STEPS_MAX

        text, parameters = self._compiled(example)
        self._driver.execute("SAVEPOINT reading")
        self._driver.set_progress_handler(count, STEPS_AT_A_TIME)
        try:
            self._driver.execute(text, parameters).fetchall()
        except sqlite3.OperationalError:
            assert counted > STEPS_MAX  # and what it wrote is rolled back
        self._driver.set_progress_handler(None, 0)
        if self._driver.in_transaction:
            self._driver.execute("ROLLBACK TO reading")
            self._driver.execute("RELEASE reading")
        return counted

    def moments(self) -> Iterator[str]:
        """A file has statistics only where somebody asked for them, and keeps them however it grows."""
        yield "with the statistics that it had"
        if self._driver.execute("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_stat1'").fetchall():
            self._driver.execute("DELETE FROM sqlite_stat1")
            self._driver.execute("ANALYZE sqlite_schema")
        yield "without statistics"
        self._driver.execute("ANALYZE")
        yield "with statistics"

    def _compiled(self, example: Example) -> tuple[str, Any]:
        compiled = self._statements.compiled(example.statement, example.values)
        return compiled.text, compiled.parameters(example.values)


class OnPostgres:
    """PostgreSQL: what it reads is counted in rows."""

    slack = 5_000  # of a payer with half of all orders it may read those of others as well, in an index of all

    def __init__(self, url: str, content: bytes, metadata: MetaData) -> None:
        engine = open_engine(parse_url(url))
        self._statements = Statements(engine.dialect)
        self._large = _large(metadata)
        self.connection = engine.connect()
        driver: Any = self.connection.connection.driver_connection
        self._cursor: psycopg.Cursor[Any] = psycopg.ClientCursor(driver)
        for setting in ("session_replication_role = replica", "synchronous_commit = off"):  # no trigger, no reference
            self.connection.exec_driver_sql(f"SET {setting}")
        load(content, metadata, self.connection)

    def flaws(self, example: Example) -> Iterator[str]:
        """Large tables that are read as a whole, and sorts of many rows; in any plan that is made as time goes by."""
        with self._prepared(example) as execute:
            plans = [self._explained(execute) for _ in range(EXECUTED)]
        yield from sorted({flaw for plan in plans for flaw in self._flaws(plan)})

    def reads(self, example: Example) -> int:
        """Rows of tables, also those that a filter leaves out."""
        if isinstance(example.statement, Insert):
            return 0
        self._cursor.execute("SAVEPOINT reading")
        with self._prepared(example) as execute:
            plan = self._explained(execute, "ANALYZE, TIMING OFF, ")
        self._cursor.execute("ROLLBACK TO reading")
        return sum(map(_rows_read, _nodes(plan)))

    def moments(self) -> Iterator[str]:
        """Autovacuum counts a minute later."""
        self._cursor.execute("ANALYZE")
        yield "with statistics"

    def _flaws(self, plan: Node) -> Iterator[str]:
        for node in _nodes(plan):
            kind, table = node["Node Type"], node.get("Relation Name")
            if kind == "Seq Scan" and table in self._large:
                yield f"Seq Scan on {table}"
            if kind in KEEPING and (most := max(part["Plan Rows"] for part in node["Plans"])) > SORTED_MAX:
                yield f"{kind} of {most} rows"

    @contextmanager
    def _prepared(self, example: Example) -> Iterator[Execute]:
        """The statement as the driver prepares it, ready to be executed."""
        compiled = self._statements.compiled(example.statement, example.values)
        given = compiled.parameters(example.values)
        names = list(dict.fromkeys(PLACE.findall(compiled.text)))
        query = PLACE.sub(lambda place: f"${names.index(place[1]) + 1}", compiled.text).replace("%%", "%")
        parameters = [given[name] for name in names]
        self._cursor.execute(f"PREPARE noted {_listed(self._types(parameters))} AS {query}")
        yield f"EXECUTE noted {_listed(['%s'] * len(names))}", parameters
        self._cursor.execute("DEALLOCATE noted")

    def _types(self, parameters: Sequence[Any]) -> list[str]:
        """The types that the driver says values have."""
        connection = self._cursor.connection
        transformer = Transformer(connection)
        transformer.dump_sequence(parameters, [PyFormat.AUTO] * len(parameters))
        known = connection.adapters.types
        return [known[oid].regtype if oid else "unknown" for oid in transformer.types or ()]

    def _explained(self, execute: Execute, how: str = "") -> Node:
        text, parameters = execute
        ((found,),) = self._cursor.execute(f"EXPLAIN ({how}FORMAT JSON) {text}", parameters).fetchall()
        plan: Node = found[0]["Plan"]
        return plan


def _listed(things: Sequence[str]) -> str:
    return f"({', '.join(things)})" if things else ""


def _nodes(plan: Node) -> Iterator[Node]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)


def _rows_read(node: Node) -> int:
    if "Relation Name" not in node or node["Node Type"] == "ModifyTable":
        return 0
    removed = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Filter", "Index Recheck"))
    read: int = round((node["Actual Rows"] + removed) * node["Actual Loops"])
    return read
