"""Looking for payments that have to be driven on, which every server does every second."""

import sqlite3
from pathlib import Path

from sqlalchemy.dialects import sqlite

from tests.payments.books import NOW_MS, Books
from thirdparty_server import store
from thirdparty_server.lifecycle import PaymentState
from tillmesh.runtime.statements import Connection, Statements

LATER_MS = NOW_MS + 60_000


def steps_of_a_look(path: Path) -> int:
    """How many steps SQLite's machine takes to find what is due, which is nothing."""
    driver, steps = sqlite3.connect(path), 0

    def step() -> None:
        nonlocal steps
        steps += 1

    driver.set_progress_handler(step, 1)
    assert store.due_payments(Connection(driver.cursor(), Statements(sqlite.dialect())), "", LATER_MS, 90_000) == []
    driver.close()
    return steps


def test_a_look_takes_no_longer_however_many_payments_are_final(tmp_path: Path) -> None:
    path = tmp_path / "payments.db"
    books = Books.open(f"sqlite:///{path}")
    books.in_state(PaymentState.CAPTURED)
    books.in_state(PaymentState.VOIDED)
    few = steps_of_a_look(path)
    for _ in range(50):
        books.in_state(PaymentState.CAPTURED)
        books.in_state(PaymentState.VOIDED)
    assert steps_of_a_look(path) == few
    books.close()
