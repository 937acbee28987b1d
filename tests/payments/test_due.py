"""Looking for payments costs no more however many there are."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import ClauseElement

from tests.payments.books import NOW_MS, Books
from thirdparty_server.payments import queries as payment_queries
from thirdparty_server.payments.lifecycle import PaymentState
from tillmesh.runtime.driver import DUE_A_PAGE
from tillmesh.storage.statements import Statements, Transaction, Values

LATER_MS = NOW_MS + 60_000


def steps_of_a_look(path: Path) -> int:
    """How many steps SQLite's machine takes to find what is due, which is nothing."""
    driver, steps = sqlite3.connect(path), 0

    def step() -> None:
        nonlocal steps
        steps += 1

    driver.set_progress_handler(step, 1)
    transaction = Transaction(driver.cursor(), Statements(sqlite.dialect()))
    assert payment_queries.due_payments(transaction, "", LATER_MS, 90_000, None, DUE_A_PAGE) == []
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


LATEST = {"key": "order-1", "reference": "r", "since_ms": 0}


@pytest.mark.parametrize(
    ("statement", "values", "index"),
    [
        (payment_queries._LATEST_BY_CODE, LATEST, "payments_by_code"),
        (payment_queries._LATEST_BY_CODE_AT_STORE, LATEST | {"store": "store-1"}, "payments_by_code"),
        (payment_queries._LARGER_EPOCH, {"key": "order-1", "granted": 1}, "payments_granted"),
        (payment_queries._GUESS_OF_RANK, {"key": "store-1", "since_ms": 0, "newer": 99}, "payments_guessed"),
        (payment_queries._TAKE_UNFINISHED, {"key": "payment-1"}, "payments_of_order"),
    ],
    ids=["by-code", "by-code-at-store", "larger-epoch", "guesses", "unfinished"],
)
def test_what_an_order_or_a_store_had_is_found_by_an_index(
    tmp_path: Path, statement: ClauseElement, values: Values, index: str
) -> None:
    books = Books.open(f"sqlite:///{tmp_path}/payments.db")
    compiled = Statements(sqlite.dialect()).compiled(statement, values)
    driver = sqlite3.connect(tmp_path / "payments.db")
    plan = [row[3] for row in driver.execute(f"EXPLAIN QUERY PLAN {compiled.text}", compiled.parameters(values))]
    driver.close()
    books.close()
    assert any(index in step for step in plan), plan
    assert not any(step.startswith("SCAN") for step in plan), plan
