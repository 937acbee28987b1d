"""A server does not serve from a damaged database: it says so in one line and ends."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from order_service.tables import METADATA
from tests.chaos.books import broken_in
from tests.processes import DEADLINE_S
from tillmesh.local.processes import ServerName
from tillmesh.storage.database import open_database


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """A database that a server closed."""
    path = tmp_path / "order_service.db"
    await open_database(f"sqlite:///{path}", METADATA).close()
    return path


def said_by_server(database: Path) -> str:
    """What the server says of it, which must be one line."""
    flags = ["--insecure", "--listen", "127.0.0.1:0", "--database-url", f"sqlite:///{database}"]
    done = subprocess.run(
        [sys.executable, "-m", "order_service", *flags], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


def replace_all(content: bytes) -> bytes:
    return b"not a database at all " * (len(content) // 22)


def cut_off_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def blank_pages(content: bytes) -> bytes:
    return content[:8192] + bytes(8192) + content[16384:]


@pytest.mark.process
@pytest.mark.parametrize("damage", [replace_all, cut_off_half, blank_pages])
def test_a_damaged_database_is_refused_in_one_line(database: Path, damage: Callable[[bytes], bytes]) -> None:
    database.write_bytes(damage(database.read_bytes()))
    line = said_by_server(database)
    assert line.startswith("order_service: cannot open the database")
    assert str(database) in line


def test_a_lost_history_row_is_found(database: Path) -> None:
    """What the chaos run looks at would show if a server came back with half a transaction."""
    shared = {"order_id": "o-1", "version": 1, "amount_minor": 1}
    order = shared | {
        **dict.fromkeys(("terminal_id", "lane", "cashier_id", "payment_id"), ""),
        **dict.fromkeys(("epoch", "lease_ms", "lease_expires_at_ms", "created_at_ms", "updated_at_ms"), 0),
        "store_id": "s",
        "payer_kind": "IDENTITY",
        "payer_value": "p",
        "currency": "GBP",
        "state": "OPEN",
        "event_count": 2,
        "history_hash": b"0",
        "labels": "{}",
        "labels_length": 2,
        "lines_length": 2,
    }
    version = shared | {"lines": "[]", "prices_include_tax": True, "salt": b"0", "created_at_ms": 0}
    event = shared | {
        **dict.fromkeys(("payment_id", "actor", "trace_id"), ""),
        "store_id": "s",
        "event": "X",
        "to_state": "OPEN",
        "epoch": 0,
        "currency": "GBP",
        "at_ms": 0,
        "chain_hash": b"0",
    }
    with sqlite3.connect(database) as connection:
        for table, row in (
            ("orders", order),
            ("order_versions", version),
            *(("order_history", event | {"number": number}) for number in (1, 2)),
        ):
            places = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", list(row.values()))
    assert broken_in(ServerName.ORDERS, database) == []
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TRIGGER order_history_no_delete")  # or the database itself would refuse
        connection.execute("DELETE FROM order_history WHERE number = 1")
    assert [one.split(": ", 1)[1] for one in broken_in(ServerName.ORDERS, database)] == ["history: ('o-1',)"]
