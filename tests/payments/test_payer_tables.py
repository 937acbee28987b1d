"""What the database refuses about payers by itself, whatever the code does."""

import pytest
from sqlalchemy.exc import IntegrityError

from tests.payments.books import CHECK, FOREIGN_KEY, Books, twice
from tillmesh.runtime.money import Money

INSERT_PHONE = (
    "INSERT INTO phones (phone_uri, identity_id, handle, key_id, last_step, code_failures,"
    " code_locked_until_ms, token_hash, token_expires_at_ms, created_at_ms) VALUES (?, ?, ?, ?, 0, 0, 0, ?, ?, 0)"
)


def phone(books: Books, identity_id: str, uri: str = "a", handle: str = "12345678", token: bytes | None = None) -> None:
    books.sql(INSERT_PHONE, uri, identity_id, handle, books.new_id("key"), token, None)


def test_a_phone_is_one_identity_s_and_has_a_handle_of_its_own(books: Books) -> None:
    ada, bob = books.shopper(), books.shopper()
    phone(books, ada)
    with pytest.raises(IntegrityError, match=twice("phone_uri")):
        phone(books, bob, handle="87654321")
    with pytest.raises(IntegrityError, match=twice("handle")):
        phone(books, bob, uri="b")
    with pytest.raises(IntegrityError, match=FOREIGN_KEY):
        phone(books, "nobody", uri="c", handle="00000000")
    with pytest.raises(IntegrityError, match=CHECK):
        phone(books, bob, uri="d", handle="1234567")


def test_a_session_without_an_end_is_none(books: Books) -> None:
    with pytest.raises(IntegrityError, match="a_session_ends"):
        phone(books, books.shopper(), token=b"hash")


@pytest.mark.parametrize("failures", [-1, 6])
def test_a_pin_has_five_tries(books: Books, failures: int) -> None:
    identity_id = books.shopper()
    with pytest.raises(IntegrityError, match=CHECK):
        books.sql("UPDATE identities SET pin_failures = ? WHERE identity_id = ?", failures, identity_id)


def test_a_wallet_is_one_identity_s_and_there_is_one_a_currency(books: Books) -> None:
    ada = books.shopper()
    insert = "INSERT INTO wallets VALUES (?, ?, ?, NULL, NULL, 0, 0, 1, 0)"
    with pytest.raises(IntegrityError, match=twice("identity_id.*currency|account_id")):
        books.sql(insert, ada, "GBP", f"wallet/{ada}/GBP")
    with pytest.raises(IntegrityError, match=FOREIGN_KEY):
        books.sql(insert, ada, "JPY", f"wallet/{ada}/JPY")
    with pytest.raises(IntegrityError, match=CHECK):
        books.sql("UPDATE wallets SET threshold_minor = -1")


def test_a_refund_gives_nothing_back_below_zero_and_a_line_at_least_a_piece(books: Books) -> None:
    refund = "INSERT INTO refunds VALUES (?, '', 's', 'IDENTITY', 'p', ?, 'GBP', ?, '', '', '', '', '', 0, 0, 0, '[]')"
    with pytest.raises(IntegrityError, match=CHECK):
        books.sql(refund, "r-1", False, -1)
    books.sql(refund, "r-2", False, 0)
    payment = books.create(books.shopper(1000), Money("GBP", 1000))
    line = "INSERT INTO refund_lines VALUES ('r-2', ?, ?, ?, ?)"
    for number, quantity, amount in ((0, 1, 1), (1, 0, 1), (1, 1, -1)):
        with pytest.raises(IntegrityError, match=CHECK):
            books.sql(line, number, payment.payment_id, quantity, amount)
    books.sql(line, 1, payment.payment_id, 1, 0)
    with pytest.raises(IntegrityError, match=twice("refund_id.*line_number")):
        books.sql(line, 1, payment.payment_id, 1, 0)


def test_money_is_held_of_a_known_account_alone(books: Books) -> None:
    payment = books.lock(books.create(books.shopper(1000), Money("GBP", 1000)).payment_id)
    for nobody in ("NULL", "'nobody'"):
        with pytest.raises(IntegrityError, match="who_pays_is_known" if nobody == "NULL" else FOREIGN_KEY):
            books.sql(f"UPDATE payments SET identity_id = {nobody} WHERE payment_id = ?", payment.payment_id)
