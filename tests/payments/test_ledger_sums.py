"""Balances that are sums are the same sums, however far their transfers are added up."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from sqlalchemy.sql import ClauseElement

from tests.clocks import ManualClock
from tests.payments.books import NOW_MS, Books
from tests.payments.trades import SUMMED, check_sums, rich_shopper, statement, trade, transfers_of
from thirdparty_server.ledger import comparison, sums
from thirdparty_server.ledger.model import AccountKind
from thirdparty_server.ledger.upkeep import Upkeep
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import NO_VALUES, Result, Transaction, Values

AT_MOST = 7


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    books = Books.open(database_url)
    yield books
    books.close()


@pytest.fixture(autouse=True)
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "TRANSFERS_A_STEP", AT_MOST)
    monkeypatch.setattr(comparison, "ACCOUNTS_A_STEP", 2)


@pytest.fixture
def payer_id(books: Books) -> str:
    return rich_shopper(books)


def added_up(books: Books) -> int:
    """How many transfers are in the sums."""
    ((number,),) = books.sql(
        "SELECT count(*) FROM transfers JOIN ledger_progress ON (xact_id, transfer_id)"
        " <= (through_xact_id, through_transfer_id)"
    )
    return int(str(number))


@pytest.mark.parametrize("seed", range(4))
def test_a_balance_is_the_sum_of_its_transfers_however_far_they_are_added_up(
    books: Books, payer_id: str, seed: int
) -> None:
    rng = random.Random(seed)
    for _ in range(6):
        trade(books, rng, payer_id, rng.randint(1, 40))
        check_sums(books)
        books.run(sums.add_up, rng.randint(1, 20))
        check_sums(books)
    books.upkeep()
    assert books.run(sums.add_up, AT_MOST) == 0
    assert added_up(books) == len(books.sql("SELECT 1 FROM transfers"))
    check_sums(books)


def test_a_step_adds_up_the_oldest_and_no_more_than_a_short_transaction_may(books: Books, payer_id: str) -> None:
    trade(books, random.Random(1), payer_id, 60)
    for steps in (1, 2):
        assert books.run(sums.add_up, AT_MOST) == AT_MOST
        assert added_up(books) == steps * AT_MOST
        check_sums(books)


def test_trial_balances_count_what_is_not_added_up_yet_as_far_as_one_step_goes(books: Books) -> None:
    payer_id = books.shopper()
    for minor in range(1, AT_MOST + 2):
        books.deposit(payer_id, Money("GBP", minor))
    (pounds,) = books.trial_balances()
    assert pounds.minor_by_kind[AccountKind.WALLET] == AT_MOST * (AT_MOST + 1) / 2
    assert pounds.through_at_ms == NOW_MS
    books.run(sums.add_up, AT_MOST)
    (pounds,) = books.trial_balances()
    assert pounds.minor_by_kind[AccountKind.WALLET] == (AT_MOST + 1) * (AT_MOST + 2) / 2


def test_several_processes_add_up_at_once_and_count_nothing_twice(
    books: Books, database_url: str, payer_id: str
) -> None:
    trade(books, random.Random(4), payer_id, 100)
    others = [Books.open(database_url) for _ in range(2)]

    async def everywhere() -> None:
        rounds = [Upkeep(each.database, ManualClock(NOW_MS), "").round() for each in (books, *others)]
        await asyncio.gather(*rounds)

    books.runner.run(everywhere())
    for other in others:
        other.close()
    assert added_up(books) == len(books.sql("SELECT 1 FROM transfers"))
    check_sums(books)


class Overtaken(Transaction):
    """Somebody else adds up after the next transfers were read, before the sums are written."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction._cursor, transaction._statements)
        self._connection = transaction

    def execute(self, statement: ClauseElement, values: Values = NO_VALUES) -> Result:
        result = self._connection.execute(statement, values)
        if statement is sums._NEXT:
            sums.add_up(self._connection, AT_MOST)
        return result


def test_who_is_overtaken_changes_nothing(books: Books, payer_id: str) -> None:
    trade(books, random.Random(5), payer_id, 60)
    for known in (False, True):
        with pytest.raises(Refusal, match=CommonReason.CONCURRENT_CHANGE.name):
            books.run(lambda transaction: sums.add_up(Overtaken(transaction), AT_MOST))
        check_sums(books)
        if not known:
            books.run(sums.add_up, AT_MOST)


def test_the_sums_are_made_anew_when_they_are_lost(books: Books, payer_id: str) -> None:
    trade(books, random.Random(6), payer_id, 60)
    books.upkeep()
    for table in ("ledger_progress", "account_sums", "currency_sums"):
        books.sql(f"DELETE FROM {table}")
    check_sums(books)
    books.upkeep()
    check_sums(books)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("account_sums SET posted_minor = posted_minor + 1 WHERE account_id = 'external/GBP'", "account_sums: ext"),
        ("account_sums SET held_minor = held_minor + 1 WHERE account_id LIKE 'wallet/%'", "account_sums: wallet/"),
        ("currency_sums SET posted_minor = 1 WHERE kind = 'WALLET'", "currency_sums: GBP WALLET has "),
        ("ledger_progress SET through_transfer_id = through_transfer_id - 1", "account_sums: "),
        ("accounts SET posted_minor = posted_minor + 1 WHERE credit_limit_minor IS NOT NULL", "accounts: wallet/"),
    ],
)
def test_the_audit_names_what_differs_from_the_transfers(
    books: Books, payer_id: str, change: str, finding: str
) -> None:
    trade(books, random.Random(7), payer_id, 60)
    books.upkeep()
    trade(books, random.Random(8), payer_id, 20)
    assert books.findings() == []
    books.sql(f"UPDATE {change}".replace("%", "%%") if books.placeholder == "%s" else f"UPDATE {change}")
    findings = books.findings()
    assert [one for one in findings if one.startswith(finding)], findings


def test_an_account_that_differs_is_named_until_it_is_right_again(books: Books, payer_id: str) -> None:
    books.shopper(1)
    books.upkeep()
    tampered = f"UPDATE accounts SET posted_minor = posted_minor + ? WHERE account_id = 'wallet/{payer_id}/GBP'"
    for change, named in ((5, [f"wallet/{payer_id}/GBP"]), (-5, [])):
        books.sql(tampered, change)
        books.deposit(payer_id, Money("GBP", 1))
        for _ in range(3):  # a few accounts each time
            books.upkeep()
        (pounds,) = books.trial_balances()
        assert pounds.differing_account_ids == named
        assert sum(pounds.minor_by_kind.values()) == (5 if named else 0)


def test_balances_are_verified_since_the_first_of_them_was_compared(books: Books, payer_id: str) -> None:
    for number in range(9):
        books.shopper(number + 1)
    books.upkeep(NOW_MS + 1)
    assert [balance.verified_at_ms for balance in books.trial_balances()] == [0]
    for later_ms in range(2, 5):
        books.upkeep(NOW_MS + later_ms)
    assert [balance.verified_at_ms for balance in books.trial_balances()] == [NOW_MS + 1]
    before = books.sql("SELECT * FROM ledger_progress")
    books.upkeep(NOW_MS + comparison.REST_MS)  # nothing happened: nothing is compared
    assert books.sql("SELECT * FROM ledger_progress") == before
    for _ in range(4):
        books.upkeep(NOW_MS + 1 + comparison.REST_MS)
    assert [balance.verified_at_ms for balance in books.trial_balances()] == [NOW_MS + 1 + comparison.REST_MS]


def test_a_statement_is_read_in_pages(books: Books, payer_id: str) -> None:
    trade(books, random.Random(9), payer_id, 60)
    books.upkeep()
    for account_id in (*SUMMED, f"wallet/{payer_id}/GBP"):
        assert statement(books, account_id) == transfers_of(books, account_id)
