"""No amount of the ledger leaves the range in which it is exact, whatever the code does."""

import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.payments.books import CHECK, Books
from tests.payments.side import refused
from tests.payments.test_ledger_cost import SERIES
from thirdparty_server.errors import Reason
from thirdparty_server.ledger import accounts
from thirdparty_server.ledger.model import BALANCE_MAX, ISSUED_MAX
from tillmesh.runtime.money import MINOR_UNITS_MAX, Money


def keeps(books: Books, column: str, value: float) -> None:
    """Writes an amount past all code."""
    books.sql(f"UPDATE accounts SET {column} = ? WHERE credit_limit_minor IS NOT NULL", value)


def test_a_wallet_takes_money_up_to_the_most_there_may_be_and_pays_on(books: Books) -> None:
    payer = books.shopper(threshold=MINOR_UNITS_MAX)
    account = f"wallet/{payer}/GBP"
    keeps(books, "posted_minor", BALANCE_MAX - MINOR_UNITS_MAX)
    books.deposit(payer, Money("GBP", MINOR_UNITS_MAX))
    assert books.balance(account) == (BALANCE_MAX, 0)
    for minor in (1, MINOR_UNITS_MAX):
        with refused(Reason.BALANCE_LIMIT_EXCEEDED):
            books.deposit(payer, Money("GBP", minor))
    assert books.balance(account) == (BALANCE_MAX, 0)
    payment = books.lock(books.create(payer, Money("GBP", MINOR_UNITS_MAX)).payment_id)
    assert books.balance(account) == (BALANCE_MAX, MINOR_UNITS_MAX)
    books.deposit(books.shopper(), Money("GBP", 1))  # another wallet has room
    assert payment.amount.minor == MINOR_UNITS_MAX


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("posted_minor", BALANCE_MAX + 1),
        ("posted_minor", -MINOR_UNITS_MAX - 1),
        ("held_minor", -1),
        ("held_minor", BALANCE_MAX + 1),
        ("credit_limit_minor", MINOR_UNITS_MAX + 1),
        ("credit_limit_minor", -1),
    ],
)
def test_the_database_keeps_no_balance_out_of_range(books: Books, column: str, value: int) -> None:
    books.shopper(1000)
    with pytest.raises(IntegrityError, match=CHECK):
        keeps(books, column, value)


@pytest.mark.parametrize("column", ["posted_minor", "held_minor", "credit_limit_minor"])
def test_the_database_keeps_no_fraction(books: Books, column: str) -> None:
    payer = books.shopper(1000)
    try:
        keeps(books, column, 0.5)
    except DBAPIError:
        assert books.balance(f"wallet/{payer}/GBP") == (1000, 0)
    else:  # PostgreSQL rounds it to an integer
        assert all(
            isinstance(value, int)
            for row in books.sql(f"SELECT {column} FROM accounts")
            for value in row
            if value is not None
        )


@pytest.mark.parametrize("minor", [0, MINOR_UNITS_MAX + 1])
def test_the_database_moves_no_amount_out_of_range(books: Books, minor: int) -> None:
    payer = books.shopper(1000)
    insert = (
        "INSERT INTO transfers (phase, debit_account_id, credit_account_id, currency, amount_minor, purpose,"
        " reference, actor, at_ms) VALUES ('SINGLE', 'external/GBP', ?, 'GBP', ?, 'DEPOSIT', 'd', '', 0)"
    )
    with pytest.raises(IntegrityError, match=CHECK):
        books.sql(insert, f"wallet/{payer}/GBP", minor)


DEPOSITS = (
    "INSERT INTO transfers (phase, debit_account_id, credit_account_id, currency, amount_minor, purpose, reference,"
    " actor, at_ms) SELECT 'SINGLE', 'external/GBP', ?, 'GBP', ?, 'DEPOSIT', 'raw-' || n, '', 0 FROM {series}"
)


@pytest.mark.parametrize("added_up", [False, True])
def test_deposits_beyond_what_sums_can_hold_are_refused_and_all_sums_stay_exact(books: Books, added_up: bool) -> None:
    """9,223 deposits of the largest amount would leave the range of 64 bits."""
    payer, other = books.shopper(1), books.shopper()
    wallet, most = f"wallet/{payer}/GBP", ISSUED_MAX // MINOR_UNITS_MAX - 1
    books.sql(DEPOSITS.format(series=SERIES[books.placeholder]), wallet, MINOR_UNITS_MAX, 1, most)
    keeps(books, "posted_minor", 0)
    books.sql("UPDATE accounts SET posted_minor = ? WHERE account_id = ?", 1 + most * MINOR_UNITS_MAX, wallet)
    if added_up:
        books.upkeep()
    for refused_one in (payer, other):
        with refused(Reason.LEDGER_LIMIT_EXCEEDED):
            books.deposit(refused_one, Money("GBP", MINOR_UNITS_MAX))
    books.deposit(other, Money("GBP", MINOR_UNITS_MAX - 1))
    with refused(Reason.LEDGER_LIMIT_EXCEEDED):
        books.deposit(payer, Money("GBP", 1))
    books.deposit(books.shopper(0, "EUR"), Money("EUR", MINOR_UNITS_MAX))  # another currency has room
    assert books.balance("external/GBP") == (-ISSUED_MAX, 0)
    listed = books.run(lambda transaction: accounts.list_accounts(transaction, None, 100))
    assert {type(account.posted_minor) for account in listed} == {int}
    books.upkeep()
    euros, pounds = books.trial_balances()
    assert sum(pounds.minor_by_kind.values()) == sum(euros.minor_by_kind.values()) == 0
    books.check()
