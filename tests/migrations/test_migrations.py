"""Databases come from any version to this one, and a server runs on no other."""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, MetaData

from tests.migrations.shape import shape
from tests.sources import ROOT, SERVICES
from tillmesh.runtime.database import open_engine, parse_url
from tillmesh.runtime.migrations import Migrations
from tillmesh.runtime.schema import prepare

AT_ONCE = 4

FIRST = """
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.execute("CREATE TABLE notes (body TEXT)")
    op.execute("INSERT INTO notes VALUES ('first')")
"""
SECOND = """
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.execute("CREATE TABLE more (body TEXT)")
    op.execute("UPDATE notes SET body = 'second'")
    op.execute("{last}")
"""


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_engine(new_database: Callable[[], str]) -> Callable[[], Engine]:
    return lambda: open_engine(parse_url(new_database()))


def migrations(service: str) -> Migrations:
    return Migrations(ROOT / service / "migrations")


def tables(service: str) -> MetaData:
    metadata: MetaData = importlib.import_module(f"{service}.tables").METADATA
    return metadata


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def bodies(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT body FROM notes").scalars())


def all_at_once(url: str, work: Callable[[Engine], object]) -> None:
    """Does something several times, each with a connection of its own; all wait for each other before they begin."""
    barrier = Barrier(AT_ONCE)

    def begin(engine: Engine) -> None:
        barrier.wait()
        work(engine)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        for done in [threads.submit(begin, open_engine(parse_url(url))) for _ in range(AT_ONCE)]:
            done.result()


def test_an_upgraded_schema_is_the_one_that_a_new_server_makes(service: str, new_engine: Callable[[], Engine]) -> None:
    upgraded, made = new_engine(), new_engine()
    steps = list(migrations(service).upgrade(upgraded))
    prepare(made, tables(service))
    assert [step.version for step in steps] == list(migrations(service).versions)
    assert shape(upgraded) == shape(made)
    assert migrations(service).found(made) == migrations(service).newest
    assert list(migrations(service).upgrade(made)) == []


def test_servers_that_start_at_once_on_an_empty_database_make_one_schema(
    service: str, new_engine: Callable[[], Engine], new_database: Callable[[], str]
) -> None:
    url, alone = new_database(), new_engine()
    all_at_once(url, lambda engine: prepare(engine, tables(service)))
    prepare(alone, tables(service))
    assert shape(open_engine(parse_url(url))) == shape(alone)


def test_upgrades_at_once_take_each_step_once(service: str, new_database: Callable[[], str]) -> None:
    taken: list[str] = []
    all_at_once(
        new_database(), lambda engine: taken.extend(step.version for step in migrations(service).upgrade(engine))
    )
    assert taken == list(migrations(service).versions)


def test_a_server_refuses_a_schema_of_another_version(service: str, new_engine: Callable[[], Engine]) -> None:
    engine, needed = new_engine(), migrations(service).newest
    prepare(engine, tables(service))
    run(engine, "UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(ValueError, match="version 0000") as older:
        prepare(engine, tables(service))
    assert str(older.value) == (
        f"the database {engine.url} is at version 0000 of its schema, this server needs version {needed}: "
        "stop what uses it and run tillmesh db upgrade"
    )
    run(engine, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ValueError, match=f"9999 of its schema, this server needs version {needed}: run the release"):
        prepare(engine, tables(service))
    with pytest.raises(ValueError, match=f"version 9999 of its schema, this release knows {needed} as the newest"):
        list(migrations(service).upgrade(engine))


def test_another_programs_database_is_left_alone(service: str, new_engine: Callable[[], Engine]) -> None:
    engine = new_engine()
    run(engine, "CREATE TABLE orders (order_id TEXT PRIMARY KEY, state TEXT)")
    before = shape(engine)
    with pytest.raises(ValueError, match="has tables of which nobody noted the version, this server needs version"):
        prepare(engine, tables(service))
    with pytest.raises(ValueError, match="is it another program"):
        list(migrations(service).upgrade(engine))
    assert shape(engine) == before


def test_a_database_from_before_versions_were_noted_is_upgraded(service: str, new_engine: Callable[[], Engine]) -> None:
    engine, made = new_engine(), new_engine()
    next(migrations(service).upgrade(engine))
    run(engine, "DROP TABLE alembic_version")
    steps = list(migrations(service).upgrade(engine))
    prepare(made, tables(service))
    assert [step.version for step in steps] == list(migrations(service).versions)[1:]
    assert shape(engine) == shape(made)


def test_an_upgrade_that_fails_has_done_whole_steps_and_goes_on_later(
    tmp_path: Path, new_engine: Callable[[], Engine]
) -> None:
    engine = new_engine()
    (tmp_path / "0001_first.py").write_text(FIRST)
    (tmp_path / "0002_second.py").write_text(SECOND.format(last="INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(Exception, match="nowhere"):
        list(Migrations(tmp_path).upgrade(engine))
    assert Migrations(tmp_path).found(engine) == "0001"
    assert bodies(engine) == ["first"]
    assert "more" not in shape(engine)

    (tmp_path / "0002_second.py").write_text(SECOND.format(last="INSERT INTO more VALUES ('good')"))
    assert [step.version for step in Migrations(tmp_path).upgrade(engine)] == ["0002"]
    assert bodies(engine) == ["second"]
