"""Balances that are sums are the same sums, however far their roll-ups are."""

import asyncio
import random
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql import ClauseElement

from tests.clocks import ManualClock
from tests.payments.books import NOW_MS, STORE, Books
from thirdparty_server.ledger import accounts, entries, roll_ups
from thirdparty_server.ledger.model import Purpose, Transfer, external, store_sales, wallet
from thirdparty_server.ledger.roll_ups import SAFE_AGE_S, RollUps
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import NO_VALUES, Result, Transaction, Values

SALES, OTHER_SALES = store_sales(STORE, "GBP"), store_sales("store-2", "GBP")
OUTSIDE = external("GBP")
SUMMED = [account.account_id for account in (OUTSIDE, SALES, OTHER_SALES)]
MIN, AT_MOST = 5, 7
SAFE_AGE_MS = int(SAFE_AGE_S * 1000)


@pytest.fixture
def books(database_url: str) -> Iterator[Books]:
    books = Books.open(database_url)
    yield books
    books.close()


@pytest.fixture(autouse=True)
def few_transfers_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roll_ups, "TRANSFERS_MIN", MIN)
    monkeypatch.setattr(roll_ups, "TRANSFERS_A_TRANSACTION", AT_MOST)


@pytest.fixture
def payer_id(books: Books) -> str:
    """A shopper who never runs out of money; the stores' accounts are open."""

    def open_accounts(transaction: Transaction) -> None:
        for account in (SALES, OTHER_SALES):
            accounts.open_account(transaction, account)

    books.run(open_accounts)
    return books.shopper(1_000_000)


def trade(books: Books, rng: random.Random, payer_id: str, times: int) -> None:
    """Sales, sales that come to nothing, refunds larger than any sale and deposits, with two stores."""
    payer = wallet(payer_id, "GBP")

    def book(transaction: Transaction) -> None:
        for _ in range(times):
            shop, reference = rng.choice((SALES, OTHER_SALES)), books.new_id("trade")
            amount = Money("GBP", rng.randint(1, 100))
            match rng.choice(("sale", "nothing", "refund", "deposit")):
                case "sale":
                    sale = Transfer(payer, shop, amount, Purpose.PAYMENT, reference)
                    entries.post(transaction, sale, entries.hold(transaction, sale, NOW_MS), NOW_MS)
                case "nothing":
                    sale = Transfer(payer, shop, amount, Purpose.PAYMENT, reference)
                    entries.void(transaction, sale, entries.hold(transaction, sale, NOW_MS), NOW_MS)
                case "refund":
                    back = Money("GBP", 2 * amount.minor)
                    entries.transfer(transaction, Transfer(shop, payer, back, Purpose.REFUND, reference), NOW_MS)
                case "deposit":
                    entries.transfer(transaction, Transfer(OUTSIDE, payer, amount, Purpose.DEPOSIT, reference), NOW_MS)

    books.run(book)


def rolled_up(books: Books) -> dict[str, tuple[int, int]]:
    """Last transfer and sum of each roll-up."""
    rows = books.sql("SELECT account_id, through_transfer_id, posted_minor FROM account_sums")
    return {str(account_id): (int(str(through)), int(str(minor))) for account_id, through, minor in rows}


def transfers_of(books: Books, account_id: str) -> list[int]:
    """Ids of all transfers of an account, read by the simplest means."""
    query = "SELECT transfer_id FROM transfers WHERE ? IN (debit_account_id, credit_account_id) ORDER BY transfer_id"
    return [int(str(row[0])) for row in books.sql(query, account_id)]


def plain_sum(books: Books, account_id: str) -> int:
    """What all transfers of an account come to, likewise."""
    ((minor,),) = books.sql(
        "SELECT sum(CASE WHEN credit_account_id = ? THEN amount_minor ELSE -amount_minor END) FROM transfers"
        " WHERE phase IN ('SINGLE', 'POST') AND ? IN (debit_account_id, credit_account_id)",
        account_id,
        account_id,
    )
    return int(str(minor or 0))


def check(books: Books) -> None:
    """Each balance is the plain sum, alone and in a list, and the books balance."""
    expected = {account_id: plain_sum(books, account_id) for account_id in SUMMED}
    assert {account_id: books.balance(account_id)[0] for account_id in SUMMED} == expected
    listed = books.run(lambda transaction: accounts.list_accounts(transaction, None, 100))
    assert [account.account_id for account in listed] == sorted(account.account_id for account in listed)
    assert {
        account.account_id: account.posted_minor for account in listed if account.account_id in expected
    } == expected
    books.check()


def roll_up_once(books: Books, account_id: str) -> int:
    """One transaction, of all transfers that are there."""
    return books.run(lambda transaction: _roll_up(transaction, account_id))


def _roll_up(transaction: Transaction, account_id: str) -> int:
    up_to_id = roll_ups.newest_transfer_id(transaction)
    return roll_ups.roll_up(transaction, account_id, up_to_id=up_to_id, at_least=MIN, at_most=AT_MOST)


def process(books: Books, clock: ManualClock) -> RollUps:
    """What a process that starts now rolls up with."""
    return RollUps(books.database, lambda: clock.now_ms() / 1000, "")


def roll_all_up(books: Books, clock: ManualClock, *others: Books) -> int:
    """Some processes see what there is, and a safe time later roll it up at once; returns how many transfers."""
    rolls = [process(each, clock) for each in (books, *others)]

    async def everywhere() -> int:
        return sum(await asyncio.gather(*(each.round() for each in rolls)))

    assert books.runner.run(everywhere()) == 0
    clock.advance(SAFE_AGE_MS)
    return books.runner.run(everywhere())


@pytest.mark.parametrize("seed", range(5))
def test_a_balance_is_the_sum_of_its_transfers_before_between_and_after_roll_ups(
    books: Books, clock: ManualClock, payer_id: str, seed: int
) -> None:
    rng = random.Random(seed)
    rolls = process(books, clock)
    for _ in range(6):
        trade(books, rng, payer_id, rng.randint(1, 40))
        check(books)
        roll_up_once(books, rng.choice(SUMMED))
        check(books)
        books.runner.run(rolls.round())
        check(books)
        clock.advance(SAFE_AGE_MS)
    roll_all_up(books, clock)
    check(books)
    for account_id in SUMMED:
        through_id, _ = rolled_up(books)[account_id]
        assert len([one for one in transfers_of(books, account_id) if one > through_id]) < MIN


def test_a_roll_up_takes_the_oldest_first_and_no_more_than_a_short_transaction_may(books: Books, payer_id: str) -> None:
    trade(books, random.Random(1), payer_id, 60)
    ids = transfers_of(books, SALES.account_id)
    for end in (AT_MOST, 2 * AT_MOST):
        assert roll_up_once(books, SALES.account_id) == AT_MOST
        assert rolled_up(books)[SALES.account_id][0] == ids[end - 1]
        check(books)


def test_few_transfers_are_not_rolled_up(books: Books, payer_id: str) -> None:
    for _ in range(MIN - 2):  # and there was a deposit
        books.deposit(payer_id, Money("GBP", 1))
    assert roll_up_once(books, OUTSIDE.account_id) == 0
    assert rolled_up(books) == {}
    books.deposit(payer_id, Money("GBP", 1))
    assert roll_up_once(books, OUTSIDE.account_id) == MIN
    assert rolled_up(books) == {OUTSIDE.account_id: (transfers_of(books, OUTSIDE.account_id)[-1], -1_000_000 - MIN + 1)}


def test_what_a_store_gave_back_beyond_its_sales_is_rolled_up_below_zero(books: Books, payer_id: str) -> None:
    def give_back(transaction: Transaction) -> None:
        for _ in range(MIN):
            payer, reference = wallet(payer_id, "GBP"), books.new_id("refund")
            back = Transfer(SALES, payer, Money("GBP", 3), Purpose.REFUND, reference)
            entries.transfer(transaction, back, NOW_MS)

    books.run(give_back)
    roll_up_once(books, SALES.account_id)
    assert rolled_up(books)[SALES.account_id][1] == -3 * MIN
    check(books)


def test_a_young_transfer_is_not_rolled_up(books: Books, clock: ManualClock, payer_id: str) -> None:
    """On PostgreSQL a transfer with a smaller id may still be under way."""
    rolls, rng = process(books, clock), random.Random(2)
    trade(books, rng, payer_id, 40)
    seen = {account_id: transfers_of(books, account_id) for account_id in SUMMED}
    assert books.runner.run(rolls.round()) == 0
    trade(books, rng, payer_id, 40)
    clock.advance(SAFE_AGE_MS - 1)
    assert books.runner.run(rolls.round()) == 0
    assert rolled_up(books) == {}
    clock.advance(1)
    books.runner.run(rolls.round())
    for account_id, (through_id, _) in rolled_up(books).items():
        assert through_id <= seen[account_id][-1] < transfers_of(books, account_id)[-1]
    assert rolled_up(books).keys() == set(SUMMED)
    check(books)


def test_what_was_seen_a_safe_age_ago_is_rolled_up_in_that_very_round(
    books: Books, clock: ManualClock, payer_id: str
) -> None:
    rolls, rng = process(books, clock), random.Random(2)
    books.runner.run(rolls.round())
    clock.advance(1)
    trade(books, rng, payer_id, 40)
    books.runner.run(rolls.round())
    clock.advance(SAFE_AGE_MS)
    assert books.runner.run(rolls.round()) > 0
    check(books)


def test_after_a_restart_what_is_there_is_young_again(books: Books, clock: ManualClock, payer_id: str) -> None:
    trade(books, random.Random(3), payer_id, 40)
    books.runner.run(process(books, clock).round())
    clock.advance(SAFE_AGE_MS)
    assert books.runner.run(process(books, clock).round()) == 0
    assert rolled_up(books) == {}


def test_several_processes_roll_up_at_once_and_count_nothing_twice(
    books: Books, database_url: str, clock: ManualClock, payer_id: str
) -> None:
    trade(books, random.Random(4), payer_id, 100)
    others = [Books.open(database_url) for _ in range(2)]
    count = roll_all_up(books, clock, *others)
    for other in others:
        other.close()
    behind = {account_id: through for account_id, (through, _) in rolled_up(books).items()}
    assert behind.keys() == set(SUMMED)
    assert count == sum(
        len([one for one in transfers_of(books, account_id) if one <= through])
        for account_id, through in behind.items()
    )
    check(books)


class Overtaken(Transaction):
    """Somebody else rolls the account up after its transfers were read, before the sum is written."""

    def __init__(self, transaction: Transaction, account_id: str) -> None:
        super().__init__(transaction._cursor, transaction._statements)
        self._account_id = account_id
        self._connection = transaction

    def execute(self, statement: ClauseElement, values: Values = NO_VALUES) -> Result:
        result = self._connection.execute(statement, values)
        if statement is roll_ups._SUM_NEXT:
            _roll_up(self._connection, self._account_id)
        return result


def test_who_is_overtaken_changes_nothing(books: Books, payer_id: str) -> None:
    trade(books, random.Random(5), payer_id, 60)

    def overtaken() -> None:
        books.run(lambda transaction: _roll_up(Overtaken(transaction, SALES.account_id), SALES.account_id))

    with pytest.raises(IntegrityError, match="account_sums"):  # the first time there is a row to insert
        overtaken()
    check(books)
    roll_up_once(books, SALES.account_id)
    with pytest.raises(Refusal, match=CommonReason.CONCURRENT_CHANGE.name):
        overtaken()
    check(books)


@pytest.mark.parametrize(
    "change",
    [
        "posted_minor = posted_minor + 1",
        "through_transfer_id = (SELECT min(transfer_id) FROM transfers)",
        "through_transfer_id = (SELECT max(transfer_id) FROM transfers)",
    ],
)
def test_the_trial_balance_names_a_roll_up_that_differs_from_its_transfers(
    books: Books, clock: ManualClock, payer_id: str, change: str
) -> None:
    trade(books, random.Random(6), payer_id, 60)
    roll_all_up(books, clock)
    trade(books, random.Random(7), payer_id, 20)
    check(books)
    books.sql(f"UPDATE account_sums SET {change} WHERE account_id = ?", SALES.account_id)
    (pounds,) = books.trial_balances()
    assert pounds.differing_account_ids == [SALES.account_id]
    assert sum(pounds.minor_by_kind.values()) == 0  # it adds the transfers up, not what somebody wrote beside them
    books.sql("DELETE FROM account_sums")
    check(books)
    roll_all_up(books, clock)
    check(books)


def test_a_statement_is_read_in_pages_as_before(books: Books, clock: ManualClock, payer_id: str) -> None:
    trade(books, random.Random(8), payer_id, 60)
    roll_all_up(books, clock)
    for account_id in (*SUMMED, f"wallet/{payer_id}/GBP"):
        read, ids = list[int](), transfers_of(books, account_id)
        while page := statement_page(books, account_id, after_id=read[-1] if read else 0):
            assert len(page) == min(7, len(ids) - len(read))
            read += page
        assert read == ids


def statement_page(books: Books, account_id: str, after_id: int) -> list[int]:
    listed = books.run(lambda transaction: entries.list_entries(transaction, account_id, [after_id], 7))
    return [entry.transfer_id for entry in listed]
