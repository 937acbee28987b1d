"""What a second version of a schema will need, tried with one that is made up."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy

import pytest
from sqlalchemy import Column, Engine, ForeignKey, String, Table, insert, select

from tests.migrations.shape import shape
from tests.migrations.test_migrations import all_at_once, folder, oldest, run, seal_keys, tables
from tests.sources import SERVICES
from tillmesh.storage.database import append_only, open_engine, parse_url
from tillmesh.storage.migrations import Migrations
from tillmesh.storage.schema import prepare, versioned

FIRST = '''"""Authors and their notes."""

from tests.migrations.test_second_version import OLD
from tillmesh.storage.migrations import make_tables

revision, down_revision = "0001", None


def upgrade():
    make_tables(OLD)
'''
SECOND = '''"""Authors have a name, which every note needs."""

import sqlalchemy as sa
from alembic import op

from tillmesh.storage.schema import BYTEWISE

revision, down_revision = "0002", "0001"


def upgrade():
    op.create_table("more", sa.Column("body", BYTEWISE))
    op.add_column("authors", sa.Column("name", BYTEWISE))
    op.execute("UPDATE authors SET name = 'unknown'")
    with op.batch_alter_table("authors") as batch:
        batch.alter_column("name", nullable=False)
    op.execute("{last}")
'''
EXPAND = '''"""A table that nobody of the release before knows."""

import sqlalchemy as sa
from alembic import op

revision, down_revision, oldest = "0002", "0001", "0001"


def upgrade():
    op.create_table(f"more_{revision}", sa.Column("body", sa.String))
'''
GOOD = "INSERT INTO more VALUES ('good')"
TO_A_SERVICE = '''"""A table more, and a column."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade():
    op.create_table("more", sa.Column("body", sa.String))
    op.add_column("requests", sa.Column("note", sa.String))
'''

OLD = versioned("0001")
AUTHORS = Table("authors", OLD, Column("author_id", String, primary_key=True))
NOTES = Table("notes", OLD, Column("author_id", String, ForeignKey("authors.author_id")), Column("body", String))
append_only(NOTES)

NEW = versioned("0002")
Table("authors", NEW, Column("author_id", String, primary_key=True), Column("name", String, nullable=False))
append_only(Table("notes", NEW, Column("author_id", String, ForeignKey("authors.author_id")), Column("body", String)))
Table("more", NEW, Column("body", String))


@pytest.fixture
def old(tmp_path: Path, new_database: Callable[[], str]) -> Engine:
    """A database that a server of the first version made and wrote to; the second version has come out since."""
    engine = open_engine(parse_url(new_database()))
    prepare(engine, OLD)
    with engine.begin() as connection:
        connection.execute(insert(AUTHORS), {"author_id": "ada"})
        connection.execute(insert(NOTES), {"author_id": "ada", "body": "first"})
    (tmp_path / "0001_first.py").write_text(FIRST)
    (tmp_path / "0002_second.py").write_text(SECOND.format(last=GOOD))
    return engine


def rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def reopened(engine: Engine) -> Engine:
    """The same database, as the next process has it."""
    return open_engine(engine.url.set(drivername=engine.dialect.name))


def test_what_was_written_is_there_in_the_schema_that_a_new_server_makes(
    old: Engine, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    made, keys = open_engine(parse_url(new_database())), seal_keys(old)
    prepare(made, NEW)
    steps = list(Migrations(tmp_path).upgrade(old))
    assert [(step.version, step.what) for step in steps] == [("0002", "Authors have a name, which every note needs.")]
    assert shape(old) == shape(made)
    assert rows(old, "SELECT author_id, name FROM authors") == [("ada", "unknown")]
    assert rows(old, "SELECT author_id, body FROM notes") == [("ada", "first")]
    assert seal_keys(old) == keys


def test_each_release_runs_on_its_own_version_alone(old: Engine, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at version 0001 of its schema, this server needs version 0002: run till"):
        prepare(old, NEW)
    list(Migrations(tmp_path).upgrade(old))
    with pytest.raises(ValueError, match="at version 0002 of its schema, this server needs version 0001: run the rel"):
        prepare(old, OLD)
    prepare(old, NEW)


def test_the_release_before_runs_on_a_schema_that_was_only_expanded(
    old: Engine, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    """Also on one that a server of the new release made, and on none that a later release went on with."""
    expanded, made = versioned("0002", oldest="0001"), open_engine(parse_url(new_database()))
    Table("authors", expanded, Column("author_id", String, primary_key=True))
    Table("notes", expanded, Column("body", String))
    Table("more_0002", expanded, Column("body", String))
    (tmp_path / "0002_second.py").write_text(EXPAND)
    list(Migrations(tmp_path).upgrade(old))
    prepare(made, expanded)
    assert oldest(old) == oldest(made) == "0001"
    for engine in (old, made):
        prepare(engine, OLD)
        prepare(engine, expanded)
    (tmp_path / "0003_third.py").write_text(EXPAND.replace('"0002", "0001", "0001"', '"0003", "0002", "0002"'))
    list(Migrations(tmp_path).upgrade(made))
    prepare(made, expanded)
    with pytest.raises(ValueError, match="at version 0003 of its schema, this server needs version 0001: run the rel"):
        prepare(made, OLD)


def test_an_empty_database_goes_through_all_versions(
    tmp_path: Path, old: Engine, new_database: Callable[[], str]
) -> None:
    empty, made = open_engine(parse_url(new_database())), open_engine(parse_url(new_database()))
    prepare(made, NEW)
    assert [step.version for step in Migrations(tmp_path).upgrade(empty)] == ["0001", "0002"]
    assert shape(empty) == shape(made)
    assert len(seal_keys(empty)) == 1


def test_upgrades_at_once_take_the_step_once(tmp_path: Path, old: Engine) -> None:
    taken: list[str] = []
    url = old.url.set(drivername=old.dialect.name).render_as_string(hide_password=False)
    all_at_once(url, lambda engine: taken.extend(step.version for step in Migrations(tmp_path).upgrade(engine)))
    assert taken == ["0002"]
    assert rows(old, "SELECT body FROM more") == [("good",)]


def test_an_upgrade_that_fails_has_done_whole_steps_and_goes_on_later(tmp_path: Path, old: Engine) -> None:
    before = shape(old)
    (tmp_path / "0002_second.py").write_text(SECOND.format(last="INSERT INTO nowhere VALUES (1)"))
    with pytest.raises(Exception, match="nowhere"):
        list(Migrations(tmp_path).upgrade(old))
    assert Migrations(tmp_path).found(old) == "0001"
    assert shape(old) == before
    prepare(old, OLD)

    (tmp_path / "0002_second.py").write_text(SECOND.format(last=GOOD))
    assert [step.version for step in Migrations(tmp_path).upgrade(old)] == ["0002"]
    assert rows(old, "SELECT body FROM more") == [("good",)]


def test_no_step_leaves_rows_that_refer_to_nothing(tmp_path: Path, old: Engine) -> None:
    """On SQLite nothing minds while a table is made anew, so the end of the step has to."""
    (tmp_path / "0002_second.py").write_text(SECOND.format(last="DELETE FROM authors"))
    with pytest.raises(Exception, match=r"rows refer to others that are not there|violates foreign key"):
        list(Migrations(tmp_path).upgrade(old))
    assert rows(old, "SELECT author_id FROM authors") == [("ada",)]
    assert Migrations(tmp_path).found(old) == "0001"


def test_references_count_again_after_an_upgrade(tmp_path: Path, old: Engine) -> None:
    list(Migrations(tmp_path).upgrade(old))
    old.dispose()
    with pytest.raises(Exception, match=r"FOREIGN KEY|foreign key"), reopened(old).begin() as connection:
        connection.execute(insert(NOTES), {"author_id": "nobody", "body": "x"})
    with pytest.raises(Exception, match="notes is append-only"):
        run(reopened(old), "DELETE FROM notes")
    with reopened(old).connect() as connection:
        assert connection.execute(select(NOTES.c.body)).scalars().all() == ["first"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_s_database_goes_on_to_a_second_version(
    service: str, tmp_path: Path, new_database: Callable[[], str]
) -> None:
    engine = open_engine(parse_url(new_database()))
    prepare(engine, tables(service))
    before = shape(engine)
    copy(folder(service) / "0001_first.py", tmp_path)
    (tmp_path / "0002_more.py").write_text(TO_A_SERVICE)
    assert [step.version for step in Migrations(tmp_path).upgrade(engine)] == ["0002"]
    after = shape(engine)
    assert after.keys() - before.keys() == {"more"}
    assert {name for name in before if before[name] != after[name]} == {"requests"}
    with pytest.raises(ValueError, match="at version 0002 of its schema, this server needs version 0001: run the rel"):
        prepare(engine, tables(service))
