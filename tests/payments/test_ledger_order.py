"""On PostgreSQL transactions commit in another order than that of their rows: nobody misses one or counts it twice."""

import random
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.cli.command_line import tillmesh
from tests.payments.books import NOW_MS, Books
from tests.payments.trades import check_sums, plain_sum, rich_shopper, statement, transfers_of
from tests.postgres import Cluster, running_cluster
from thirdparty_server.ledger import entries, sums
from thirdparty_server.tables import METADATA
from tillmesh.runtime.money import Money

INSERT = (
    "INSERT INTO transfers (phase, debit_account_id, credit_account_id, currency, amount_minor, purpose, reference,"
    " actor, at_ms) VALUES ('SINGLE', 'external/GBP', 'sales/store-1/GBP', 'GBP', %s, 'DEPOSIT', %s, '', %s)"
)
OUTSIDE = "external/GBP"


class Reader:
    """Reads a statement on and on, from where it stopped."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.read: list[int] = []
        self._after: tuple[int, int] | None = None

    def read_on(self) -> None:
        while page := self.books.run(entries.list_entries, OUTSIDE, self._after, 2):
            self.read += [entry.transfer_id for entry in page]
            self._after = (page[-1].xact_id, page[-1].transfer_id)


class Others:
    """Transactions of other processes."""

    def __init__(self, url: str, stack: ExitStack) -> None:
        self._url, self._stack, self._numbers = url, stack, count(1)

    def begin(self) -> "psycopg.Connection[tuple[object, ...]]":
        """A transaction that has its id already."""
        connection = self._stack.enter_context(psycopg.connect(self._url))
        connection.execute("SELECT pg_current_xact_id()")
        return connection

    def write(self, transaction: "psycopg.Connection[tuple[object, ...]]") -> None:
        number = next(self._numbers)
        transaction.execute(INSERT, (number, f"other-{number}", NOW_MS))


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    with postgres.database(METADATA) as url:
        yield url


@pytest.fixture
def books(url: str) -> Iterator[Books]:
    books = Books.open(url)
    rich_shopper(books)
    yield books
    books.close()


@pytest.fixture
def others(url: str, books: Books) -> Iterator[Others]:
    with ExitStack() as stack:
        yield Others(url, stack)


def see(books: Books, reader: Reader) -> None:
    """Somebody reads on, what is settled is added up, and each balance counts all that is committed."""
    reader.read_on()
    assert books.balance(OUTSIDE)[0] == plain_sum(books, OUTSIDE)
    books.run(sums.add_up, 2)
    check_sums(books)


def test_a_smaller_row_id_that_commits_last_is_neither_missed_nor_lost(books: Books, others: Others) -> None:
    reader = Reader(books)
    see(books, reader)
    known = list(reader.read)
    first, second = others.begin(), others.begin()
    others.write(first)
    others.write(second)
    second.commit()
    see(books, reader)
    assert reader.read == known  # its place is not certain yet
    first.commit()
    see(books, reader)
    assert reader.read == transfers_of(books, OUTSIDE) == sorted(reader.read)
    assert len(reader.read) == len(known) + 2


def test_a_smaller_transaction_id_with_a_larger_row_id_is_neither_missed_nor_lost(books: Books, others: Others) -> None:
    reader = Reader(books)
    see(books, reader)
    first, second = others.begin(), others.begin()
    others.write(second)
    second.commit()
    see(books, reader)
    others.write(first)
    first.commit()
    see(books, reader)
    assert reader.read == transfers_of(books, OUTSIDE)
    assert reader.read[-2] > reader.read[-1]


def test_a_transaction_that_is_given_up_holds_nothing_back(books: Books, others: Others) -> None:
    reader = Reader(books)
    see(books, reader)
    first, second = others.begin(), others.begin()
    others.write(first)
    others.write(second)
    second.commit()
    first.rollback()
    see(books, reader)
    assert reader.read == transfers_of(books, OUTSIDE)


@pytest.mark.parametrize("seed", [1, 2])
def test_in_whatever_order_transactions_commit_each_transfer_is_read_and_counted_once(
    books: Books, others: Others, seed: int
) -> None:
    rng, reader = random.Random(seed), Reader(books)
    under_way = [others.begin() for _ in (1, 2)]
    for _ in range(60):
        transaction = rng.choice(under_way)
        match rng.choice(("write", "write", "commit", "roll back", "see")):
            case "write":
                others.write(transaction)
            case "see":
                see(books, reader)
            case end:
                transaction.commit() if end == "commit" else transaction.rollback()
                transaction.close()
                under_way[under_way.index(transaction)] = others.begin()
    for transaction in under_way:
        transaction.commit()
    see(books, reader)
    assert reader.read == transfers_of(books, OUTSIDE)
    books.upkeep()
    check_sums(books)


def copy(url: str, database: str, to: Cluster) -> None:
    """Dumps a database and restores it into another cluster."""
    dump = subprocess.run([str(to.binaries / "pg_dump"), "--no-owner", url], check=True, capture_output=True)
    with psycopg.connect(to.url("postgres"), autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(database)))
    restore = [str(to.binaries / "psql"), "--quiet", "--set", "ON_ERROR_STOP=1", to.url(database)]
    subprocess.run(restore, input=dump.stdout, check=True, capture_output=True)


def transaction_ids(url: str, number: int) -> None:
    """Uses up transaction ids, as years do."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            SQL("DO $$ BEGIN FOR i IN 1..{} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$").format(number)
        )


def test_a_database_restored_into_a_younger_cluster_is_used_once_it_is_restamped(url: str, books: Books) -> None:
    transaction_ids(url, 5_000)
    books.deposit(payer := books.shopper(), Money("GBP", 1))
    books.upkeep()
    books.deposit(payer, Money("GBP", 2))
    written = statement(books, OUTSIDE)
    with running_cluster() as younger:
        copy(url, "restored", younger)
        restored = younger.url("restored")
        with pytest.raises(ValueError, match="stop what uses it and run tillmesh db restamp"):
            Books.open(restored)
        first, again = (tillmesh("db", "restamp", "--payments", restored).stdout for _ in range(2))
        assert re.search(r": new rows follow those that were ahead by \d{1,3},\d{3}\.$", first)
        assert again.endswith(": no row was ahead.\n")
        after = Books.open(restored)
        after.numbers = books.numbers
        for minor in (3, 4):
            after.deposit(payer, Money("GBP", minor))
        assert statement(after, OUTSIDE)[:-2] == written
        assert len(statement(after, OUTSIDE)) == len(written) + 2
        check_sums(after)
        after.upkeep()
        check_sums(after)
        assert after.balance(f"wallet/{payer}/GBP") == (10, 0)
        after.close()
