"""What the database refuses about payers by itself, whatever the code does."""

import pytest
from sqlalchemy.exc import IntegrityError

from tests.payments.books import CHECK, FOREIGN_KEY, NOW_MS, STORE, Books, twice
from tillmesh.runtime.money import Money

INSERT_DEVICE = (
    "INSERT INTO payer_devices (device_uri, identity_id, handle, key_id, last_step, code_failures,"
    " code_locked_until_ms, token_hash, token_expires_at_ms, created_at_ms) VALUES (?, ?, ?, ?, 0, 0, 0, ?, ?, 0)"
)


def device(
    books: Books, identity_id: str, uri: str = "a", handle: str = "12345678", token: bytes | None = None
) -> None:
    books.sql(INSERT_DEVICE, uri, identity_id, handle, books.new_id("key"), token, None)


def test_a_device_is_one_identity_s_and_has_a_handle_of_its_own(books: Books) -> None:
    ada, bob = books.shopper(), books.shopper()
    device(books, ada)
    with pytest.raises(IntegrityError, match=twice("device_uri")):
        device(books, bob, handle="87654321")
    with pytest.raises(IntegrityError, match=twice("handle")):
        device(books, bob, uri="b")
    with pytest.raises(IntegrityError, match=FOREIGN_KEY):
        device(books, "nobody", uri="c", handle="00000000")
    with pytest.raises(IntegrityError, match=CHECK):
        device(books, bob, uri="d", handle="1234567")


def test_a_session_without_an_end_is_none(books: Books) -> None:
    with pytest.raises(IntegrityError, match="a_session_ends"):
        device(books, books.shopper(), token=b"hash")


@pytest.mark.parametrize("failures", [-1, 6])
def test_a_pin_has_five_tries(books: Books, failures: int) -> None:
    identity_id = books.shopper()
    with pytest.raises(IntegrityError, match=CHECK):
        books.sql("UPDATE identities SET pin_failures = ? WHERE identity_id = ?", failures, identity_id)


def test_whom_a_reference_stands_for_never_changes(books: Books) -> None:
    ada, bob = books.shopper(), books.shopper()
    insert = f"INSERT INTO payer_references VALUES (?, ?, '{STORE}', 'order-1', {NOW_MS})"
    books.sql(insert, "r-1", ada)
    for statement in ("UPDATE payer_references SET order_id = 'order-2'", "DELETE FROM payer_references"):
        with pytest.raises(IntegrityError, match="payer_references is append-only"):
            books.sql(statement)
    with pytest.raises(IntegrityError, match=twice("payer_reference")):
        books.sql(insert, "r-1", bob)
    with pytest.raises(IntegrityError, match=FOREIGN_KEY):
        books.sql(insert, "r-2", "nobody")


def test_money_is_held_of_a_known_account_alone(books: Books) -> None:
    payment = books.lock(books.create(books.shopper(1000), Money("GBP", 1000)).payment_id)
    for nobody in ("NULL", "'nobody'"):
        with pytest.raises(IntegrityError, match="who_pays_is_known" if nobody == "NULL" else FOREIGN_KEY):
            books.sql(f"UPDATE payments SET identity_id = {nobody} WHERE payment_id = ?", payment.payment_id)
