"""`tillmesh db prune` on the databases of a real mesh: what is old goes, and what proves the rest stays."""

import re
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine

from order_service import operations
from order_service.model import NewOrder
from order_service.tables import METADATA
from tests.cli.command_line import TILLMESH, Done, environment, tillmesh
from tests.cli.test_audit import digest, sell_and_pay, tamper, verify
from tests.databases import NewDatabase
from tests.processes import DEADLINE_S, running, wait_until
from tests.pruning import audit
from tillmesh.line_rows import SALT_BYTES
from tillmesh.lines import LineItem
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName
from tillmesh.payer import identity
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.statements import Statements, Transaction

AGES = {
    ServerName.ORDERS: ["UPDATE orders SET updated_at_ms = 1 WHERE order_id = :order"],
    ServerName.PAYMENTS: ["UPDATE payments SET updated_at_ms = 1 WHERE order_id = :order"],
    ServerName.TERMINAL: [
        "UPDATE checkouts SET updated_at_ms = 1 WHERE checkout_id = :order",
        "UPDATE outbox SET created_at_ms = 1",
    ],
}
MANY = 300


@pytest.fixture(scope="module")
def order_id(mesh: Mesh) -> str:
    """An order that was sold, paid and captured, of which the till has heard."""
    order_id = sell_and_pay(mesh)
    wait_until(lambda: order_id in tillmesh("checkouts", "--state", "paid", mesh=mesh.addresses).stdout)
    return order_id


@pytest.fixture
def data_dir(mesh: Mesh, order_id: str, tmp_path: Path) -> Path:
    """Copies of the databases, in which that order is old; others may have been sold before it."""
    for role in ServerName:
        source, target = (sqlite3.connect(where / f"{role}.db") for where in (mesh.data_dir, tmp_path))
        with closing(source), closing(target):
            source.backup(target)
            for statement in AGES[role]:
                target.execute(statement, {"order": order_id} if ":order" in statement else {})
            target.commit()
    return tmp_path


def prune(data_dir: Path, *arguments: str) -> Done:
    return tillmesh("db", "prune", "--older-than", "1", "--data-dir", data_dir, *arguments)


def test_what_is_old_is_counted_first_and_removed_if_asked_for(data_dir: Path, order_id: str, tmp_path: Path) -> None:
    saved, first = tmp_path / "heads.csv", tmp_path / "first.csv"
    then = digest(verify(data_dir, "--save", saved))
    (line,) = (line for line in saved.read_text().splitlines() if line.startswith(f"order_history,{order_id},"))
    table, key, rows, head = line.split(",")
    assert int(rows) > 1
    first.write_text(f"table,key,rows,hash\n{table},{key},1,{head}\n")  # the head as it was one row earlier
    counted = prune(data_dir)
    assert counted.returncode == 0
    assert counted.stdout.endswith("Nothing was removed. To remove it, say --yes.\n")
    for role, name in (("order_service", "order_history"), ("store_terminal", "outbox")):
        assert re.search(rf"{role} +{name} +[1-9]", counted.stdout)
    assert digest(verify(data_dir)) == then

    pruned = prune(data_dir, "--yes")
    assert (pruned.returncode, pruned.stderr) == (0, "")
    for name in ("order_history", "payment_history", "outbox"):
        old, removed, rows = re.findall(r"\d+", re.search(rf"{name} +(\d+ +\d+ +\d+)", pruned.stdout)[0])  # type: ignore[index]
        assert old == removed != "0"
        assert int(rows) >= int(removed)
    after = verify(data_dir, "--since", saved)
    assert digest(after) != then, "it has the heads of what was pruned as well"
    assert "were pruned since" not in after.stdout, "the last row of a final record is never pruned"
    assert digest(verify(data_dir, "--since", first))
    assert "1 heads of then are of rows that were pruned since." in verify(data_dir, "--since", first).stdout
    assert re.search(r"order_service\.db +pruned +[1-9]\d* +0 *$", after.stdout, re.MULTILINE)
    assert re.search(r"order_history +0 +0 +0", prune(data_dir, "--yes").stdout)


def test_a_story_says_what_was_pruned_of_it(data_dir: Path, order_id: str) -> None:
    prune(data_dir, "--yes")
    with running(ServerName.ORDERS, data_dir) as orders:
        where = ["--orders", orders.address, "--payments", "127.0.0.1:1", "--terminal", "127.0.0.1:1"]
        story = tillmesh("--insecure", "explain", order_id, *where).stdout
    assert "2 earlier events were pruned." in story
    assert "Paid by payment" in story


def test_what_was_pruned_is_part_of_the_digest(data_dir: Path, order_id: str, tmp_path: Path) -> None:
    prune(data_dir, "--yes")
    saved = tmp_path / "heads.csv"
    digest(verify(data_dir, "--save", saved))
    assert len([line for line in saved.read_text().splitlines() if line.startswith("pruned,")]) == 3
    tamper(data_dir, ServerName.ORDERS, "UPDATE pruned SET actor = 'nobody' WHERE number = 1")
    done = verify(data_dir, "--since", saved)
    assert done.returncode == 1
    assert f"{ServerName.ORDERS}.db: pruned: row 1 was changed" in done.stderr
    gone = [f"DELETE FROM {table} WHERE order_id = '{order_id}'" for table in ("order_history", "orders")]
    tamper(data_dir, ServerName.ORDERS, "DELETE FROM pruned", *gone)
    done = verify(data_dir, "--since", saved)
    assert f"{saved}: pruned of order_history: row 1 of then is no longer there" in done.stderr


def test_a_record_that_was_tampered_with_is_named_and_left_alone(data_dir: Path, order_id: str) -> None:
    tamper(data_dir, ServerName.ORDERS, f"UPDATE order_history SET epoch = 9 WHERE order_id = '{order_id}'")
    done = prune(data_dir, "--yes")
    assert done.returncode == 1
    assert f"tillmesh db: order_service: order_history of {order_id}: row 1 was changed" in done.stderr
    assert re.search(r"order_history +1 +0 +0", done.stdout)
    assert f"order_history of {order_id}: row 1 was changed" in verify(data_dir).stderr


def test_only_what_has_changed_since_a_day_is_read(data_dir: Path, order_id: str) -> None:
    broken = f"UPDATE order_history SET epoch = 9 WHERE order_id = '{order_id}'"
    tamper(data_dir, ServerName.ORDERS, broken, f"UPDATE order_versions SET lines = '[]' WHERE order_id = '{order_id}'")
    done = verify(data_dir, "--changed-since", "2000-01-01")
    assert (done.returncode, done.stderr) == (0, ""), "it is of 1970"
    assert done.stdout.endswith("What has changed since 2000-01-01 is as it was written.\n")
    tamper(data_dir, ServerName.ORDERS, f"UPDATE orders SET updated_at_ms = 2e12 WHERE order_id = '{order_id}'")
    done = verify(data_dir, "--changed-since", "2000-01-01")
    assert done.returncode == 1
    assert f"order_history of {order_id}: row 1 was changed" in done.stderr
    assert f"order_versions of {order_id}: version 1 was changed" in done.stderr
    assert verify(data_dir, "--changed-since", "2000-01-01", "--save", "heads.csv").returncode == 2


def test_a_server_on_a_file_has_to_be_stopped_first(mesh: Mesh, data_dir: Path) -> None:
    done = prune(mesh.data_dir)
    assert (done.returncode, done.stderr[:34]) == (1, "tillmesh db: A mesh is running in ")
    with running(ServerName.ORDERS, data_dir):
        done = tillmesh("db", "prune", "--older-than", "1", "--orders", f"sqlite:///{data_dir}/order_service.db")
    assert done.stderr == "tillmesh db: order_service: A server uses this SQLite file; stop it first.\n"


@pytest.fixture
def many(new_database: NewDatabase) -> Iterator[tuple[str, Engine]]:
    """A database of an order service with many old orders."""
    url = new_database(METADATA)
    engine = open_engine(parse_url(url))
    with closing(engine.raw_connection()) as driver:
        transaction = Transaction(driver.cursor(), Statements(engine.dialect))
        for number in range(MANY):
            new = NewOrder(
                f"o-{number}", "s", identity("p"), "GBP", [LineItem("MUG", "", 1, 650)], prices_include_tax=True
            )
            operations.create_order(transaction, new, salt=bytes(SALT_BYTES), now_ms=1)
            operations.cancel_order(transaction, order_id=new.order_id, version=1, now_ms=1)
        driver.commit()
    yield url, engine
    engine.dispose()


def count(engine: Engine, table: str) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


@pytest.mark.process
def test_a_prune_that_is_killed_leaves_what_can_be_verified_and_is_finished_by_the_next(
    many: tuple[str, Engine],
) -> None:
    url, engine = many
    command = ["db", "prune", "--older-than", "1", "--yes", "--orders", url]
    process = subprocess.Popen([TILLMESH, *command], env=environment(), stdout=subprocess.DEVNULL)
    until = time.monotonic() + DEADLINE_S
    while not count(engine, "pruned"):
        assert time.monotonic() < until
    process.kill()
    process.wait()
    removed = count(engine, "pruned")
    assert count(engine, "order_history") == 2 * MANY - removed
    assert audit(url, "order_history") == []
    again = tillmesh(*command)
    assert (again.returncode, again.stderr) == (0, "")
    assert re.search(rf"order_history +{MANY - removed:,} +{MANY - removed:,}", again.stdout)
    assert count(engine, "order_history") == count(engine, "pruned") == count(engine, "orders") == MANY
    assert audit(url, "order_history") == []
