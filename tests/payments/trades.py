"""Transfers of all kinds, and what they come to by the simplest means."""

import random

from tests.payments.books import NOW_MS, STORE, Books
from thirdparty_server.ledger import accounts, entries
from thirdparty_server.ledger.model import Purpose, Transfer, external, store_sales, wallet
from tillmesh.runtime.money import Money
from tillmesh.storage.statements import Transaction

SALES, OTHER_SALES, OUTSIDE = store_sales(STORE, "GBP"), store_sales("store-2", "GBP"), external("GBP")
SUMMED = [account.account_id for account in (OUTSIDE, SALES, OTHER_SALES)]


def rich_shopper(books: Books) -> str:
    """A shopper who never runs out of money; the stores' accounts are open."""

    def open_accounts(transaction: Transaction) -> None:
        for account in (SALES, OTHER_SALES):
            accounts.open_account(transaction, account)

    books.run(open_accounts)
    return books.shopper(1_000_000)


def trade(books: Books, rng: random.Random, payer_id: str, times: int) -> None:
    """Sales, sales that come to nothing or wait, refunds larger than any sale and deposits, with two stores."""
    payer = wallet(payer_id, "GBP")

    def book(transaction: Transaction) -> None:
        for _ in range(times):
            shop, reference = rng.choice((SALES, OTHER_SALES)), books.new_id("trade")
            amount = Money("GBP", rng.randint(1, 100))
            sale = Transfer(payer, shop, amount, Purpose.PAYMENT, reference)
            match rng.choice(("sale", "nothing", "wait", "refund", "deposit")):
                case "sale":
                    entries.post(transaction, sale, entries.hold(transaction, sale, NOW_MS), NOW_MS)
                case "nothing":
                    entries.void(transaction, sale, entries.hold(transaction, sale, NOW_MS), NOW_MS)
                case "wait":
                    entries.hold(transaction, sale, NOW_MS)
                case "refund":
                    back = Money("GBP", 2 * amount.minor)
                    entries.transfer(transaction, Transfer(shop, payer, back, Purpose.REFUND, reference), NOW_MS)
                case "deposit":
                    entries.transfer(transaction, Transfer(OUTSIDE, payer, amount, Purpose.DEPOSIT, reference), NOW_MS)

    books.run(book)


def transfers_of(books: Books, account_id: str) -> list[int]:
    """Ids of all transfers of an account, in their order."""
    query = (
        "SELECT transfer_id FROM transfers WHERE ? IN (debit_account_id, credit_account_id)"
        " ORDER BY xact_id, transfer_id"
    )
    return [int(str(row[0])) for row in books.sql(query, account_id)]


def plain_sum(books: Books, account_id: str) -> int:
    """What all transfers of an account come to."""
    ((minor,),) = books.sql(
        "SELECT sum(CASE WHEN credit_account_id = ? THEN amount_minor ELSE -amount_minor END) FROM transfers"
        " WHERE phase IN ('SINGLE', 'POST') AND ? IN (debit_account_id, credit_account_id)",
        account_id,
        account_id,
    )
    return int(str(minor or 0))


def check_sums(books: Books) -> None:
    """Each balance is the plain sum, alone and in a list, and the books balance."""
    expected = {account_id: plain_sum(books, account_id) for account_id in SUMMED}
    assert {account_id: books.balance(account_id)[0] for account_id in SUMMED} == expected
    listed = books.run(lambda transaction: accounts.list_accounts(transaction, None, 100))
    assert [account.account_id for account in listed] == sorted(account.account_id for account in listed)
    assert {one.account_id: one.posted_minor for one in listed if one.account_id in expected} == expected
    books.check()


def statement(books: Books, account_id: str, page_size: int = 7) -> list[int]:
    """Ids of what an account's statement shows, page by page."""
    read: list[int] = []
    after = None
    while page := books.run(entries.list_entries, account_id, after, page_size):
        assert len(page) <= page_size
        read += [entry.transfer_id for entry in page]
        after = (page[-1].xact_id, page[-1].transfer_id)
    return read
