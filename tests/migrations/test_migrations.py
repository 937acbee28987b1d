"""Databases come from any version to this one, and a server runs on no other."""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, MetaData, Table, select

from tests.migrations.shape import shape
from tests.sources import ROOT, SERVICES
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.migrations import Migrations
from tillmesh.storage.schema import prepare, stored_oldest
from tillmesh.storage.seal import KEY_BYTES

AT_ONCE = 4


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_engine(new_database: Callable[[], str]) -> Callable[[], Engine]:
    return lambda: open_engine(parse_url(new_database()))


def folder(service: str) -> Path:
    return ROOT / service / "migrations"


def migrations(service: str) -> Migrations:
    return Migrations(folder(service))


def tables(service: str) -> MetaData:
    metadata: MetaData = importlib.import_module(f"{service}.tables").METADATA
    return metadata


def run(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def seal_keys(engine: Engine) -> list[bytes]:
    with engine.connect() as connection:
        return list(connection.execute(select(Table("seal_key", MetaData(), autoload_with=connection))).scalars())


def oldest(engine: Engine) -> str:
    with engine.connect() as connection:
        return stored_oldest(connection)


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
    assert oldest(upgraded) == oldest(made)
    assert migrations(service).found(made) == migrations(service).newest
    assert list(migrations(service).upgrade(made)) == []


def test_sqlite_makes_partial_indexes_after_those_of_a_whole_table(service: str, tmp_path: Path) -> None:
    engine = open_engine(parse_url(f"sqlite:///{tmp_path}/made.db"))
    prepare(engine, tables(service))
    with engine.connect() as connection:
        made = connection.exec_driver_sql("SELECT tbl_name, sql FROM sqlite_master WHERE type = 'index' AND sql <> ''")
        partial = [(table, " WHERE " in text) for table, text in made]
    for name in {table for table, _ in partial}:
        of_table = [is_partial for table, is_partial in partial if table == name]
        assert of_table == sorted(of_table), name


def test_until_the_first_release_there_is_one_version(service: str) -> None:
    assert [path.name for path in folder(service).glob("*.py")] == ["0001_first.py"]


def test_every_database_has_a_key_of_its_own_and_keeps_it(service: str, new_engine: Callable[[], Engine]) -> None:
    upgraded, made = new_engine(), new_engine()
    list(migrations(service).upgrade(upgraded))
    prepare(made, tables(service))
    (first,), (second,) = seal_keys(upgraded), seal_keys(made)
    assert len(first) == len(second) == KEY_BYTES
    assert first != second
    prepare(made, tables(service))
    assert seal_keys(made) == [second]


def test_servers_that_start_at_once_on_an_empty_database_make_one_schema(
    service: str, new_engine: Callable[[], Engine], new_database: Callable[[], str]
) -> None:
    url, alone = new_database(), new_engine()
    all_at_once(url, lambda engine: prepare(engine, tables(service)))
    prepare(alone, tables(service))
    assert shape(open_engine(parse_url(url))) == shape(alone)
    assert len(seal_keys(open_engine(parse_url(url)))) == 1


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
        "run tillmesh db upgrade"
    )
    run(engine, "UPDATE alembic_version SET version_num = '9999'", "UPDATE oldest_version SET version_num = '9999'")
    with pytest.raises(ValueError, match=f"9999 of its schema, this server needs version {needed}: run the release"):
        prepare(engine, tables(service))
    with pytest.raises(ValueError, match=f"version 9999 of its schema, this release knows {needed} as the newest"):
        list(migrations(service).upgrade(engine))


@pytest.mark.parametrize("version_table", [False, True])
def test_another_programs_database_is_left_alone(
    service: str, new_engine: Callable[[], Engine], version_table: bool
) -> None:
    """Also that of a program which keeps its own versions in the same way, and has noted none."""
    engine = new_engine()
    run(engine, "CREATE TABLE orders (order_id VARCHAR PRIMARY KEY, state VARCHAR)")
    if version_table:
        run(engine, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    before = shape(engine)
    for act in (lambda: prepare(engine, tables(service)), lambda: list(migrations(service).upgrade(engine))):
        with pytest.raises(ValueError, match="has tables but no version of a schema: is it another program's"):
            act()
    assert shape(engine) == before
