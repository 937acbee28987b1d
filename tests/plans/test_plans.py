"""No call and no loop reads more, however long the history: each statement that they run, on both databases."""

import ast
from collections.abc import Iterator
from functools import cache

import pytest

from tests.databases import KINDS
from tests.migrations.test_migrations import tables
from tests.plans.mesh import SERVICES, Example, Noted, note_all
from tests.plans.past import Past
from tests.plans.plans import OnPostgres, OnSqlite, Planner
from tests.plans.tour import tour
from tests.postgres import Cluster
from tests.sources import ROOT, files, tree

FEW_ROWS = 10_000
MANY_ROWS = [100_000, pytest.param(1_000_000, marks=pytest.mark.chaos)]
MORE = 1.1
"""What may be read of many rows, as a multiple of what is read of few."""
READS_ALL = {
    "Histories.count", "Leftovers.count",  # how much tillmesh db prune is going to remove
}  # fmt: skip
"""Functions whose statements do."""


@cache
def noted() -> Noted:
    return note_all(tour)


@pytest.fixture
def planner(request: pytest.FixtureRequest, service: str) -> Iterator[Planner]:
    content = noted().databases[service]
    if request.param == "sqlite":
        yield OnSqlite(content, tables(service))
        return
    postgres: Cluster = request.getfixturevalue("postgres")
    with postgres.database(tables(service)) as url:
        planner = OnPostgres(url, content, tables(service))
        yield planner
        planner.connection.close()


def examples(service: str) -> Iterator[Example]:
    """Every statement of a service, a few times."""
    for of_text in noted().statements[service].values():
        yield from (example for example in of_text if example.run_in not in READS_ALL)


@pytest.mark.parametrize("rows", MANY_ROWS)
@pytest.mark.parametrize("service", SERVICES.values())
@pytest.mark.parametrize("planner", KINDS, indirect=True)
def test_no_statement_reads_more_of_a_longer_history(planner: Planner, service: str, rows: int) -> None:
    past = Past(planner.connection, tables(service))
    assert not [name for name in past.empty if any(f" {name}" in sql for sql in noted().statements[service])]
    past.grow(FEW_ROWS)
    of_few = {known: [planner.reads(example) for example in examples(service)] for known in planner.moments()}
    past.grow(rows)
    wrong = {
        f"{example.run_in} {known}: {example.statement}": flaws
        for known in planner.moments()
        for example, few in zip(examples(service), of_few[known], strict=True)
        if (flaws := flaws_of(planner, example, few))
    }
    assert not wrong, "\n\n".join(f"{', '.join(flaws)}\n{what}" for what, flaws in wrong.items())


def flaws_of(planner: Planner, example: Example, few: int) -> list[str]:
    """What is wrong with a statement, which read so much of few rows."""
    flaws = list(planner.flaws(example))
    many = planner.reads(example)
    if many > few * MORE + planner.slack:
        flaws.append(f"reads {many}, of fewer rows {few}")
    return flaws


def test_the_tour_makes_every_call() -> None:
    assert noted().served - noted().calls == set()


def test_the_tour_runs_every_statement() -> None:
    assert [site for folder in (*SERVICES.values(), "tillmesh/storage") for site in not_run(folder)] == []


def not_run(folder: str) -> Iterator[str]:
    """Where a transaction executes a statement that the tour never came to."""
    for path in files(folder):
        name = str(path.relative_to(ROOT))
        lines = {line for file, line in noted().sites if file == name}
        for node in ast.walk(tree(path)):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="transaction"), attr="execute" | "execute_many")):
                    if lines.isdisjoint(range(node.lineno, (node.end_lineno or 0) + 1)):
                        yield f"{name}:{node.lineno}: {ast.unparse(node)}"
