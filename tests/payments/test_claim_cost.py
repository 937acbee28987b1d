"""What is presented in a whole chain makes a claim no dearer: each statement finds its rows by an index."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.dialects import sqlite

from tests.payments.books import NOW_MS, Books
from thirdparty_server.claims import queries
from thirdparty_server.claims.model import OrderPresentation
from tillmesh.claim_code import ClaimCode
from tillmesh.storage.statements import Statements, Transaction

FEW, MANY = 100, 3_000


def presentation(number: int, until_ms: int = NOW_MS + 1) -> OrderPresentation:
    return OrderPresentation(
        order_id=f"order-{number}",
        store_id=f"store-{number % 7}",
        reference="reference",
        code_hash=number.to_bytes(32),
        sticker_hash=(number + 10**9).to_bytes(32),
        presented_until_ms=until_ms,
        kept_until_ms=until_ms,
    )


def shown_by(number: int) -> ClaimCode:
    return ClaimCode("store-1", number.to_bytes(32))


def steps(path: Path, work: Callable[[Transaction], object]) -> int:
    """How many steps SQLite's machine takes for it."""
    driver, counted = sqlite3.connect(path), 0

    def step() -> None:
        nonlocal counted
        counted += 1

    driver.set_progress_handler(step, 1)
    work(Transaction(driver.cursor(), Statements(sqlite.dialect())))
    driver.rollback()
    driver.close()
    return counted


@pytest.mark.parametrize(
    "work",
    [
        lambda transaction: queries.find_shown(transaction, shown_by(50), NOW_MS),
        lambda transaction: queries.find_shown(transaction, shown_by(50 + 10**9), NOW_MS),
        lambda transaction: queries.replace_shown(transaction, presentation(50)),
        lambda transaction: queries.delete_over(transaction, NOW_MS),
        lambda transaction: queries.delete_over(transaction, NOW_MS + 1),
        lambda transaction: queries.taken_places(transaction, "ada", NOW_MS),
        lambda transaction: queries.delete_presentation(transaction, "order-50"),
    ],
)
def test_it_takes_as_long_however_much_is_presented(tmp_path: Path, work: Callable[[Transaction], object]) -> None:
    path = tmp_path / "payments.db"
    books = Books.open(f"sqlite:///{path}")

    def fill(transaction: Transaction, first: int, last: int) -> None:
        for number in range(first, last):
            queries.PRESENTATIONS.insert(transaction, presentation(number))

    books.run(fill, 0, FEW)
    of_few = steps(path, work)
    books.run(fill, FEW, MANY)
    of_many = steps(path, work)
    books.close()
    assert of_few <= of_many <= of_few * 1.2 + 20
