"""`tillmesh audit verify` on the databases of a real mesh."""

import hashlib
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.command_line import Done, tillmesh
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName
from tillmesh.runtime.lifecycle import NO_HISTORY
from tillmesh.storage.chains import NOT_COVERED
from tillmesh.storage.history import next_hash

CHANGED = "version 1 was changed: the history covers other lines, labels or texts"


@pytest.fixture(scope="module")
def order_id(mesh: Mesh) -> str:
    """An order that was sold, locked, paid and captured."""
    return sell_and_pay(mesh)


@pytest.fixture(scope="module")
def copies(mesh: Mesh, order_id: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of the three databases after that, which nobody writes to."""
    folder = tmp_path_factory.mktemp("copies")
    for role in ServerName:
        source, target = (sqlite3.connect(where / f"{role}.db") for where in (mesh.data_dir, folder))
        with closing(source), closing(target):
            source.backup(target)
    return folder


@pytest.fixture
def data_dir(copies: Path, tmp_path: Path) -> Path:
    """Copies to tamper with."""
    return shutil.copytree(copies, tmp_path / "copies")


def sell_and_pay(mesh: Mesh) -> str:
    for command in (("identity", "hopper", "--confirm-above", "5"), ("deposit", "hopper", "5")):
        tillmesh(*command, mesh=mesh.addresses)
    sold = tillmesh("sell", "hopper", "MUG@2.50", mesh=mesh.addresses).stdout
    match = re.search(r"Order (\S+):", sold)
    assert match, sold
    assert "CAPTURED" in tillmesh("pay", match[1], mesh=mesh.addresses).stdout
    return match[1]


def verify(data_dir: Path, *arguments: str | Path) -> Done:
    return tillmesh("audit", "verify", "--data-dir", data_dir, *arguments)


def digest(done: Done) -> str:
    """The last line of what a verification without findings says."""
    assert (done.returncode, done.stderr) == (0, "")
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch("[0-9a-f]{64}", last)
    return last


def tamper(data_dir: Path, role: ServerName, *statements: str) -> None:
    with closing(sqlite3.connect(data_dir / f"{role}.db")) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for statement in (*(f"DROP TRIGGER {name}" for (name,) in triggers), *statements):
            connection.execute(statement)
        connection.commit()


def test_the_servers_of_a_mesh_are_verified_while_they_run(mesh: Mesh, order_id: str) -> None:
    done = verify(mesh.data_dir)
    digest(done)
    for role, table in zip(ServerName, ("order_history", "payment_history", "checkout_history"), strict=True):
        assert re.search(rf"{role}\.db +{table} +[1-9]\d* +[1-9]\d* +0 *$", done.stdout, re.MULTILINE)
    assert re.search(rf"{ServerName.ORDERS}\.db +order_versions +[1-9]\d* +0 *$", done.stdout, re.MULTILINE)


def test_the_digest_stays_and_is_that_of_the_saved_heads(data_dir: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in data_dir.glob("*.db")}
    saved = tmp_path / "heads.csv"
    one = digest(verify(data_dir, "--save", saved))
    assert digest(verify(data_dir)) == one
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == one
    assert {path.name: path.read_bytes() for path in data_dir.glob("*.db")} == before
    urls = [f"sqlite:///{data_dir / role}.db" for role in reversed(ServerName)]
    assert digest(tillmesh("audit", "verify", *urls)) == one


def test_what_was_saved_is_still_there_after_more_was_sold(mesh: Mesh, data_dir: Path, tmp_path: Path) -> None:
    saved = tmp_path / "heads.csv"
    then = digest(verify(data_dir, "--save", saved))
    sell_and_pay(mesh)
    done = verify(mesh.data_dir, "--since", saved)
    assert digest(done) != then
    assert f"Every history begins as it was in {saved}, whose digest is\n{then}\n" in done.stdout


@pytest.mark.parametrize(
    ("role", "table", "key", "statement"),
    [
        (ServerName.ORDERS, "order_history", "order_id", "UPDATE order_history SET epoch = 9 WHERE {}"),
        (ServerName.PAYMENTS, "payment_history", "payment_id", "UPDATE payment_history SET at_ms = 1 WHERE {}"),
        (ServerName.TERMINAL, "checkout_history", "checkout_id", "UPDATE checkout_history SET reason = 'X' WHERE {}"),
    ],
)
def test_a_rewritten_row_is_named_and_nothing_is_saved(
    data_dir: Path, tmp_path: Path, role: ServerName, table: str, key: str, statement: str
) -> None:
    with closing(sqlite3.connect(data_dir / f"{role}.db")) as connection:
        ((record,),) = connection.execute(f"SELECT max({key}) FROM {table}").fetchall()
    tamper(data_dir, role, statement.format(f"{key} = '{record}' AND number = 1"))
    done = verify(data_dir, "--save", tmp_path / "heads.csv")
    assert done.returncode == 1
    assert done.stderr == (
        f"tillmesh audit: {data_dir / role}.db: {table} of {record}: "
        "row 1 was changed: its hash is not that of its content and the row before\n"
    )
    assert re.search(rf"{table} .* 1 *$", done.stdout, re.MULTILINE)
    assert not (tmp_path / "heads.csv").exists()


def test_a_history_that_was_rewritten_with_all_its_hashes_shows_against_what_was_saved(
    data_dir: Path, order_id: str, tmp_path: Path
) -> None:
    saved = tmp_path / "heads.csv"
    then = digest(verify(data_dir, "--save", saved))
    forge(data_dir / f"{ServerName.ORDERS}.db", order_id)
    assert digest(verify(data_dir)) != then
    done = verify(data_dir, "--since", saved)
    assert done.returncode == 1
    assert done.stderr == (f"tillmesh audit: {saved}: order_history of {order_id}: row 3 of then is no longer there\n")


def forge(database: Path, order_id: str) -> None:
    """What somebody can do who can write the database: a cheaper order, and every hash anew."""
    cheaper = [
        f"UPDATE {table} SET amount_minor = 1 WHERE order_id = '{order_id}'"
        for table in ("order_history", "order_versions")
    ]
    tamper(database.parent, ServerName.ORDERS, *cheaper)
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        previous = NO_HISTORY
        query = "SELECT * FROM order_history WHERE order_id = ? ORDER BY number"
        for row in map(dict, connection.execute(query, [order_id]).fetchall()):
            previous = next_hash(previous, {name: row[name] for name in row.keys() - NOT_COVERED})
            change = "UPDATE order_history SET chain_hash = ? WHERE order_id = ? AND number = ?"
            connection.execute(change, [previous, order_id, row["number"]])
        connection.execute("UPDATE orders SET history_hash = ? WHERE order_id = ?", [previous, order_id])
        connection.commit()


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE order_versions SET lines = replace(lines, 'MUG', 'CAR') WHERE {}", CHANGED),
        ("UPDATE order_versions SET prices_include_tax = NOT prices_include_tax WHERE {}", CHANGED),
        ("UPDATE order_versions SET lines = 'nothing' WHERE {}", CHANGED),
        ("UPDATE orders SET cashier_id = 'somebody' WHERE {}", CHANGED),
        ("DELETE FROM order_versions WHERE {}", "version 1 is missing"),
    ],
)
def test_lines_that_are_not_those_of_the_history_are_named(
    data_dir: Path, order_id: str, tmp_path: Path, statement: str, finding: str
) -> None:
    tamper(data_dir, ServerName.ORDERS, statement.format(f"order_id = '{order_id}'"))
    done = verify(data_dir, "--save", tmp_path / "heads.csv")
    assert done.returncode == 1
    assert (
        done.stderr == f"tillmesh audit: {data_dir / ServerName.ORDERS}.db: order_versions of {order_id}: {finding}\n"
    )
    assert re.search(r"order_versions .* 1 *$", done.stdout, re.MULTILINE)
    assert not (tmp_path / "heads.csv").exists()


def test_an_order_that_was_removed_with_its_history_shows_against_what_was_saved(
    data_dir: Path, order_id: str, tmp_path: Path
) -> None:
    saved = tmp_path / "heads.csv"
    digest(verify(data_dir, "--save", saved))
    tables = ("orders", "order_versions", "order_history")
    tamper(data_dir, ServerName.ORDERS, *(f"DELETE FROM {table} WHERE order_id = '{order_id}'" for table in tables))
    digest(verify(data_dir))
    assert f"order_history of {order_id}: row 3 of then" in verify(data_dir, "--since", saved).stderr


def test_many_findings_are_counted_and_only_some_are_told(data_dir: Path, order_id: str) -> None:
    same = """number, event, from_state, to_state, store_id, version, epoch, currency, amount_minor, payment_id, actor,
        trace_id, content_hash, at_ms, chain_hash"""
    copies = f"""
        INSERT INTO order_history (order_id, {same}) SELECT 'x-' || value, {same} FROM order_history JOIN generated
        WHERE order_id = '{order_id}' AND number = 1
    """
    numbers = "WITH RECURSIVE generated(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM generated LIMIT 30)"
    tamper(data_dir, ServerName.ORDERS, f"{numbers} {copies}")
    done = verify(data_dir)
    assert done.returncode == 1
    *told, last = done.stderr.splitlines()
    assert len(told) == 20
    assert last == "tillmesh audit: and 70 more"


def test_what_can_not_be_read_is_told_in_a_line(tmp_path: Path, data_dir: Path) -> None:
    missing = verify(tmp_path)
    assert missing.returncode == 1
    assert missing.stderr.startswith(f"tillmesh audit: There is no database {tmp_path / ServerName.ORDERS}.db; name")

    other = tmp_path / "other.db"
    other.write_text("this is no database")
    done = tillmesh("audit", "verify", f"sqlite:///{other}")
    assert (done.returncode, done.stderr) == (1, f"tillmesh audit: {other} cannot be read: file is not a database\n")

    tamper(data_dir, ServerName.ORDERS, "DROP TABLE order_history")
    assert verify(data_dir).stderr.endswith("cannot be read: no such table: order_history\n")
    assert tillmesh("audit", "verify", "order_service.db").returncode == 2

    heads = tmp_path / "heads.csv"
    heads.write_text("table,key,rows,hash\norder_history,o-1,0,00\n")
    done = verify(data_dir, "--since", heads)
    assert (done.returncode, done.stderr) == (
        2, f"tillmesh audit: {heads}: line 2: this is no head that --save wrote\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (
            "UPDATE accounts SET posted_minor = 251 WHERE {}",
            "accounts: {} has 251 posted and 0 held, its transfers come",
        ),
        (
            "UPDATE transfers SET amount_minor = 1 WHERE phase = 'SINGLE'",
            "accounts: {} has 250 posted and 0 held, its ",
        ),
        ("DELETE FROM transfers WHERE phase = 'POST'", "accounts: {} has 250 posted and 0 held, its transfers come to"),
    ],
)
def test_a_ledger_that_does_not_add_up_is_told(data_dir: Path, order_id: str, statement: str, finding: str) -> None:
    assert re.search(r"transfers +[1-9]\d* +0 *$", verify(data_dir).stdout, re.MULTILINE)
    wallet = "wallet/hopper/GBP"
    tamper(data_dir, ServerName.PAYMENTS, statement.format(f"account_id = '{wallet}'"))
    done = verify(data_dir)
    assert done.returncode == 1
    assert finding.format(wallet) in done.stderr
