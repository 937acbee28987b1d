"""`tillmesh db`: schemas are brought on, and never beside a running mesh."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import LiteralString
from unittest.mock import patch

import psycopg
import pytest

from tests.cli.command_line import Done, tillmesh
from tests.postgres import Cluster
from tests.processes import running, start_server
from tillmesh.api.order.v1.order_service_pb2 import ListOrdersRequest
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.cli.commands import db
from tillmesh.client.failures import Failure
from tillmesh.local.mesh import take_data_dir
from tillmesh.local.processes import ServerName

SECOND = '''"""A column for a note."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade():
    op.add_column("requests", sa.Column("note", sa.String))
'''
LOST_ENTRY = """
    INSERT INTO checkout_history (
        checkout_id, lane, number, event, to_state, order_version, currency, amount_minor, reference, reason, actor,
        trace_id, at_ms, chain_hash
    ) VALUES ('gone', '', 1, '', '', 0, '', 0, '', '', '', '', 0, '')
"""
"""A history without its checkout."""


@pytest.fixture
def old_mesh(tmp_path: Path) -> Path:
    """The data directory of a mesh whose servers made their databases and stopped."""
    for role in ServerName:
        (tmp_path / f"{role}.db").touch()
    made = tillmesh("db", "upgrade", "--data-dir", tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    for role in ServerName:
        assert f"{role}: 0001: " in made.stdout
    return tmp_path


@pytest.fixture
def next_release(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """The command line of a release that has a second version of each schema."""
    folder = tmp_path_factory.mktemp("next")
    for role in ServerName:
        shutil.copytree(db.migrations_of(role), folder / role, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / role / "0002_second.py").write_text(SECOND)

    def run(*arguments: str | Path) -> Done:
        with patch.object(db, "migrations_of", lambda role: folder / role):
            return tillmesh(*arguments)

    return run


def columns(data_dir: Path, role: ServerName) -> list[str]:
    """Those of the table of requests."""
    with closing(sqlite3.connect(data_dir / f"{role}.db")) as connection:
        return [row[1] for row in connection.execute("PRAGMA table_info(requests)")]


@pytest.mark.process
def test_what_is_at_the_needed_version_stays_as_it_is_and_is_served(old_mesh: Path) -> None:
    status = tillmesh("db", "status", "--data-dir", old_mesh).stdout
    for role in ServerName:
        assert re.search(rf"{role} .*{role}\.db +0001 +0001 ", status)
    again = tillmesh("db", "upgrade", "--data-dir", old_mesh).stdout
    assert [line.endswith("is at version 0001.") for line in again.splitlines()] == [True] * len(ServerName)
    with running(ServerName.ORDERS, old_mesh) as server, server.channel() as channel:
        assert not OrderServiceStub(channel).ListOrders(ListOrdersRequest()).orders


@pytest.mark.process
def test_the_next_release_brings_databases_on(old_mesh: Path, next_release: Callable[..., Done]) -> None:
    where = ["--data-dir", str(old_mesh)]
    status = next_release("db", "status", *where).stdout
    assert re.search(rf"{ServerName.ORDERS} .* 0001 +0002 ", status)
    upgraded = next_release("db", "upgrade", *where)
    assert upgraded.returncode == 0
    for role in ServerName:
        assert f"{role}: 0002: A column for a note.\n" in upgraded.stdout
        assert "note" in columns(old_mesh, role)

    started = tillmesh("up", *where)
    assert started.returncode == 1
    assert "is at version 0002 of its schema, this server needs version 0001: run the release that" in started.stderr
    refused = tillmesh("db", "upgrade", *where)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "is at version 0002 of its schema, this release knows 0001 as the newest" in line


def test_nothing_is_upgraded_under_a_running_mesh(old_mesh: Path) -> None:
    with closing(take_data_dir(old_mesh)):
        refused = tillmesh("db", "upgrade", "--data-dir", old_mesh)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"tillmesh db: A mesh is running in {old_mesh} already; stop it, or take another --data-dir.\n"
    )


@pytest.mark.process
def test_nothing_is_upgraded_beside_a_running_server(old_mesh: Path, next_release: Callable[..., Done]) -> None:
    url = f"sqlite:///{old_mesh}/{ServerName.ORDERS}.db"
    with running(ServerName.ORDERS, old_mesh, "--database-url", url) as server:
        refused = next_release("db", "upgrade", "--orders", url)
        assert refused.returncode == 1
        assert refused.stderr == (
            f"tillmesh db: order_service: a server uses the database {old_mesh}/order_service.db already; "
            "stop it, or name another database\n"
        )
        assert "note" not in columns(old_mesh, ServerName.ORDERS)
        assert server.stop() == 0
    assert "order_service: 0002: " in next_release("db", "upgrade", "--orders", url).stdout


def test_a_postgresql_database_is_upgraded_and_then_served(
    postgres: Cluster, tmp_path: Path, next_release: Callable[..., Done]
) -> None:
    with postgres.database() as url:
        assert re.search(r"order_service .* none +0001 ", tillmesh("db", "status", "--orders", url).stdout)
        assert "order_service: 0001: " in tillmesh("db", "upgrade", "--orders", url).stdout
        start_server(ServerName.ORDERS, tmp_path, "--database-url", url).kill()
        assert "order_service: 0002: " in next_release("db", "upgrade", "--orders", url).stdout
        with pytest.raises(Failure, match="is at version 0002 of its schema, this server needs version 0001"):
            start_server(ServerName.ORDERS, tmp_path, "--database-url", url)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["upgrade", "--data-dir", "nowhere"], "There is no database in nowhere; name --data-dir, or the databases"),
        (["upgrade", "--orders", "sqlite:///nowhere.db"], "There is no database sqlite:///nowhere.db."),
        (["status", "--orders", "mysql://me:secret@host/x"], "must start with sqlite:/// or postgresql://, was mysql:"),
        (["status", "--terminal", "postgresql://me:secret@127.0.0.1:1/x"], "port 1 failed: Connection refused"),
    ],
)
def test_a_failure_is_one_plain_line(arguments: list[str], says: str) -> None:
    done = tillmesh("db", *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("tillmesh db: ")
    assert says in line
    assert "secret" not in line


def blank_a_page(file: Path) -> None:
    """One in the middle of the rows of the largest table."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executemany(
            "INSERT INTO requests VALUES (?, '', '', x'', '', NULL, 0)", [(f"request-{n:06}",) for n in range(20_000)]
        )
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages, size = (connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size"))
    with file.open("r+b") as content:
        content.seek(pages // 2 * size)
        content.write(bytes(size))


def test_a_check_reads_everything_of_each_database_and_tells_each_finding_in_a_line(old_mesh: Path) -> None:
    whole = tillmesh("db", "check", "--data-dir", old_mesh)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout.splitlines() == [f"{role}: the database is whole." for role in ServerName]

    blank_a_page(old_mesh / f"{ServerName.PAYMENTS}.db")
    with closing(sqlite3.connect(old_mesh / f"{ServerName.TERMINAL}.db")) as connection:
        connection.execute(LOST_ENTRY)
        connection.commit()
    damaged = tillmesh("db", "check", "--data-dir", old_mesh)
    assert damaged.returncode == 1
    assert damaged.stdout == f"{ServerName.ORDERS}: the database is whole.\n"
    found = damaged.stderr.splitlines()
    lost = "references: row 1 of checkout_history names a row of checkouts that is not there"
    assert f"tillmesh db: {ServerName.TERMINAL}: {lost}" in found
    assert [line for line in found if line.startswith(f"tillmesh db: {ServerName.PAYMENTS}: pages: ")]


@pytest.mark.process
def test_a_check_stops_no_server(old_mesh: Path) -> None:
    with running(ServerName.ORDERS, old_mesh) as server, server.channel() as channel:
        assert tillmesh("db", "check", "--data-dir", old_mesh).returncode == 0
        assert not OrderServiceStub(channel).ListOrders(ListOrdersRequest()).orders


AMCHECK: tuple[LiteralString, ...] = (
    "CREATE FUNCTION bt_index_check(index regclass, heapallindexed boolean) RETURNS void LANGUAGE plpgsql AS "
    "$$ BEGIN IF index = 'checkouts_newest'::regclass THEN RAISE index_corrupted USING MESSAGE = 'it lacks a row'; "
    "END IF; END $$",
    "CREATE FUNCTION verify_heapam(relation regclass, OUT blkno bigint, OUT offnum int, OUT attnum int, OUT msg text) "
    "RETURNS SETOF record LANGUAGE sql AS "
    "$$ SELECT 7::bigint, 3, 1, 'it has no end' WHERE relation = 'checkouts'::regclass $$",
)
"""Functions of the extension, of which the PostgreSQL of the tests has none; as these are called, so are those."""


def test_what_amcheck_finds_is_told_by_table_and_index(postgres: Cluster) -> None:
    with postgres.database() as url:
        assert tillmesh("db", "upgrade", "--terminal", url).returncode == 0
        unchecked = tillmesh("db", "check", "--terminal", url)
        assert (unchecked.returncode, unchecked.stdout) == (1, "")
        assert "cannot be checked without the extension amcheck: let a superuser run CREATE" in unchecked.stderr
        with psycopg.connect(url) as connection:
            for statement in (*AMCHECK, "SET session_replication_role = replica", LOST_ENTRY):
                connection.execute(statement)
        damaged = tillmesh("db", "check", "--terminal", url)
        assert damaged.returncode == 1
        assert [line.removeprefix("tillmesh db: store_terminal: ") for line in damaged.stderr.splitlines()] == [
            "checkouts: block 7, row 3: it has no end",
            "checkouts_newest: it lacks a row",
            "references of checkout_history: gone names a row of checkouts that is not there",
        ]
