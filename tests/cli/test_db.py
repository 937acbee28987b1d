"""`tillmesh db`: schemas are brought on, and never beside a running mesh."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.command_line import tillmesh
from tests.migrations.rows import rows_of, write
from tests.postgres import Cluster
from tests.processes import running, start_server
from tests.sources import ROOT
from tillmesh.api.order.v1.order_service_pb2 import ListOrdersRequest
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.cli.mesh import Role, take_data_dir
from tillmesh.runtime.database import open_engine, parse_url
from tillmesh.runtime.migrations import Migrations


def migrations(role: Role) -> Migrations:
    return Migrations(ROOT / role / "migrations")


def made_by_an_earlier_release(role: Role, url: str) -> None:
    """A database of version 0001 with rows in it."""
    engine = open_engine(parse_url(url))
    next(migrations(role).upgrade(engine))
    write(engine, rows_of(role))
    engine.dispose()


@pytest.fixture
def old_mesh(tmp_path: Path) -> Path:
    """The data directory of a mesh of an earlier release, which noted no versions yet."""
    for role in Role:
        made_by_an_earlier_release(role, f"sqlite:///{tmp_path / role}.db")
        with sqlite3.connect(tmp_path / f"{role}.db") as connection:
            connection.execute("DROP TABLE alembic_version")
    return tmp_path


def test_an_earlier_mesh_is_upgraded_and_then_served(old_mesh: Path) -> None:
    started = tillmesh("up", "--data-dir", old_mesh)
    assert started.returncode == 1
    assert "has tables of which nobody noted the version" in started.stderr
    assert "stop what uses it and run tillmesh db upgrade" in started.stderr

    upgraded = tillmesh("db", "upgrade", "--data-dir", old_mesh)
    assert (upgraded.returncode, upgraded.stderr) == (0, "")
    for role in Role:
        for version, what in list(migrations(role).versions.items())[1:]:
            assert f"{role}: {version}: {what}\n" in upgraded.stdout
    again = tillmesh("db", "upgrade", "--data-dir", old_mesh).stdout
    assert len(again.splitlines()) == len(Role), "there is nothing left to do"

    with running(Role.ORDERS, old_mesh) as server, server.channel() as channel:
        assert len(OrderServiceStub(channel).ListOrders(ListOrdersRequest()).orders) == 4


def test_nothing_is_upgraded_under_a_running_mesh(old_mesh: Path) -> None:
    with closing(take_data_dir(old_mesh)):
        refused = tillmesh("db", "upgrade", "--data-dir", old_mesh)
    assert refused.returncode == 1
    assert refused.stderr == (
        f"tillmesh db: A mesh is running in {old_mesh} already; stop it, or take another --data-dir.\n"
    )


def test_a_postgresql_database_is_upgraded_and_then_served(postgres: Cluster, tmp_path: Path) -> None:
    with postgres.database() as url:
        made_by_an_earlier_release(Role.ORDERS, url)
        status = tillmesh("db", "status", "--orders", url).stdout
        assert re.search(r"order_service .* 0001 +0002 ", status)
        with pytest.raises(AssertionError, match="is at version 0001 of its schema, this server needs version 0002"):
            start_server(Role.ORDERS, tmp_path, "--database-url", url)
        assert "order_service: 0002: " in tillmesh("db", "upgrade", "--orders", url).stdout
        start_server(Role.ORDERS, tmp_path, "--database-url", url).kill()


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
