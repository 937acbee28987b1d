"""What the database itself refuses, whatever the code does."""

import pytest
from sqlalchemy.exc import IntegrityError

from tests.payments.books import FOREIGN_KEY, NOW_MS, STORE, Books, twice, without
from thirdparty_server.payments.lifecycle import PaymentState
from thirdparty_server.payments.model import Payment
from tillmesh.runtime.money import Money

SALES = f"sales/{STORE}/GBP"
INSERT_TRANSFER = (
    "INSERT INTO transfers (phase, debit_account_id, credit_account_id, currency, amount_minor, hold_id, purpose,"
    " reference, actor, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', ?)"
)


@pytest.fixture
def held(books: Books) -> Payment:
    """A payment of 10.00 whose money is held, and accounts in two currencies."""
    books.shopper(1000, "JPY")
    return books.in_state(PaymentState.AUTHORIZED)


def payer(payment: Payment) -> str:
    assert payment.identity_id is not None
    return payment.identity_id


def wallet_of(payment: Payment) -> str:
    return f"wallet/{payer(payment)}/GBP"


def write(
    books: Books,
    debit: str | None,
    credit: str | None,
    *,
    amount: int | None = 1000,
    currency: str = "GBP",
    phase: str = "SINGLE",
    hold_id: int | None = None,
    purpose: str = "PAYMENT",
    reference: str = "raw",
) -> None:
    books.sql(INSERT_TRANSFER, phase, debit, credit, currency, amount, hold_id, purpose, reference, NOW_MS)


def test_what_is_right_is_written(books: Books, held: Payment) -> None:
    """The counterpart of all refusals below: the statements themselves are sound."""
    wallet = wallet_of(held)
    write(books, wallet, SALES)
    write(books, wallet, SALES, phase="HOLD")
    write(books, wallet, SALES, phase="POST", hold_id=held.hold_id)
    written = books.sql("SELECT phase FROM transfers WHERE reference = 'raw' ORDER BY transfer_id")
    assert written == [("SINGLE",), ("HOLD",), ("POST",)]


@pytest.mark.parametrize("amount", [0, -1, None])
def test_a_transfer_of_nothing_or_less_is_refused(books: Books, held: Payment, amount: int | None) -> None:
    with pytest.raises(IntegrityError, match="amount_minor"):
        write(books, wallet_of(held), SALES, amount=amount)


def test_half_a_transfer_is_refused(books: Books, held: Payment) -> None:
    with pytest.raises(IntegrityError, match=without("credit_account_id")):
        write(books, wallet_of(held), None)
    with pytest.raises(IntegrityError, match=without("debit_account_id")):
        write(books, None, SALES)
    with pytest.raises(IntegrityError, match=FOREIGN_KEY):
        write(books, wallet_of(held), "sales/nowhere/GBP")


def test_a_transfer_to_itself_is_refused(books: Books, held: Payment) -> None:
    with pytest.raises(IntegrityError, match="two_accounts"):
        write(books, SALES, SALES)


@pytest.mark.parametrize("currency", ["JPY", "GBP", "BHD"])
def test_a_transfer_between_two_currencies_is_refused(books: Books, held: Payment, currency: str) -> None:
    with pytest.raises(IntegrityError, match=FOREIGN_KEY):
        write(books, wallet_of(held), "external/JPY", currency=currency)


@pytest.mark.parametrize("phase", ["POST", "VOID"])
def test_a_hold_is_ended_once(books: Books, held: Payment, phase: str) -> None:
    books.capture(held.payment_id)
    with pytest.raises(IntegrityError, match=twice("hold_id")):
        write(books, wallet_of(held), SALES, phase=phase, hold_id=held.hold_id)


@pytest.mark.parametrize("phase", ["POST", "VOID"])
def test_a_hold_is_ended_by_its_own_amount_between_its_own_accounts(books: Books, held: Payment, phase: str) -> None:
    wallet, other = wallet_of(held), f"wallet/{books.shopper()}/GBP"
    for debit, credit, amount in (
        (wallet, SALES, 999),
        (wallet, SALES, 1001),
        (other, SALES, 1000),
        (SALES, wallet, 1000),
    ):
        with pytest.raises(IntegrityError, match=FOREIGN_KEY):
            write(books, debit, credit, amount=amount, phase=phase, hold_id=held.hold_id)


@pytest.mark.parametrize("phase", ["POST", "VOID"])
def test_nothing_is_posted_or_voided_that_was_not_held(books: Books, held: Payment, phase: str) -> None:
    wallet = wallet_of(held)
    with pytest.raises(IntegrityError, match="post_and_void_end_a_hold"):
        write(books, wallet, SALES, phase=phase)
    with pytest.raises(IntegrityError, match=FOREIGN_KEY):
        write(books, wallet, SALES, phase=phase, hold_id=4711)
    books.capture(held.payment_id)
    ((posted_id,),) = books.sql("SELECT transfer_id FROM transfers WHERE phase = 'POST'")
    assert isinstance(posted_id, int)
    with pytest.raises(IntegrityError, match=FOREIGN_KEY):
        write(books, wallet, SALES, phase=phase, hold_id=posted_id)


@pytest.mark.parametrize("phase", ["SINGLE", "HOLD"])
def test_only_post_and_void_end_a_hold(books: Books, held: Payment, phase: str) -> None:
    with pytest.raises(IntegrityError, match="post_and_void_end_a_hold"):
        write(books, wallet_of(held), SALES, phase=phase, hold_id=held.hold_id)


def test_a_transfer_is_booked_once_for_its_reference(books: Books, held: Payment) -> None:
    with pytest.raises(IntegrityError, match=twice("purpose.*reference.*phase")):
        write(books, wallet_of(held), SALES, phase="HOLD", reference=held.payment_id)


@pytest.mark.parametrize(("phase", "purpose"), [("MAYBE", "PAYMENT"), ("SINGLE", "GIFT")])
def test_a_transfer_of_an_unknown_kind_is_refused(books: Books, held: Payment, phase: str, purpose: str) -> None:
    with pytest.raises(IntegrityError, match="is_known"):
        write(books, wallet_of(held), SALES, phase=phase, purpose=purpose)


@pytest.mark.parametrize(
    "change",
    [
        "posted_minor = 999",  # 10.00 are held
        "posted_minor = -1, held_minor = 0",
        "held_minor = 1001",
        "credit_limit_minor = -1",
    ],
)
def test_a_wallet_below_its_limit_is_refused(books: Books, held: Payment, change: str) -> None:
    with pytest.raises(IntegrityError, match=r"within_limit|credit_limit_minor"):
        books.sql(f"UPDATE accounts SET {change} WHERE account_id = ?", wallet_of(held))


def test_a_negative_hold_is_refused(books: Books, held: Payment) -> None:
    with pytest.raises(IntegrityError, match=r"(?i)check constraint.*held_minor"):
        books.sql("UPDATE accounts SET held_minor = -1 WHERE account_id = ?", wallet_of(held))


def test_an_account_without_a_limit_keeps_no_balance(books: Books, held: Payment) -> None:
    with pytest.raises(IntegrityError, match="only_guarded_keep_balance"):
        books.sql("UPDATE accounts SET posted_minor = 1 WHERE account_id = ?", SALES)


def test_an_account_does_not_change_its_currency(books: Books, held: Payment) -> None:
    with pytest.raises(IntegrityError, match=FOREIGN_KEY):
        books.sql("UPDATE accounts SET currency = 'JPY' WHERE account_id = ?", SALES)


@pytest.mark.parametrize("table", ["transfers", "payment_history", "refunds", "refund_lines"])
def test_what_happened_is_never_changed_and_never_deleted(books: Books, held: Payment, table: str) -> None:
    books.capture(held.payment_id)
    books.refund(held.payment_id, Money("GBP", 1))
    ((refund_id,),) = books.sql("SELECT refund_id FROM refunds")
    books.sql("INSERT INTO refund_lines VALUES (?, 1, ?, 1, 1)", refund_id, held.payment_id)
    ((rows,),) = books.sql(f"SELECT count(*) FROM {table}")
    assert rows
    for statement in (f"UPDATE {table} SET amount_minor = 4711", f"DELETE FROM {table}"):
        with pytest.raises(IntegrityError, match=f"{table} is append-only"):
            books.sql(statement)
    assert books.sql(f"SELECT count(*) FROM {table} WHERE amount_minor <> 4711") == [(rows,)]


def test_two_captured_payments_of_one_order_are_refused(books: Books, held: Payment) -> None:
    books.capture(held.payment_id)
    books.deposit(payer(held), Money("GBP", 1000))
    second = books.create(payer(held), held.amount, held.order_id)
    second = books.lock(second.payment_id, epoch=2)
    assert second.state is PaymentState.AUTHORIZED
    with pytest.raises(IntegrityError, match=twice("order_id")):
        books.sql("UPDATE payments SET state = 'CAPTURED' WHERE payment_id = ?", second.payment_id)


def test_a_second_capture_by_the_code_takes_nothing(books: Books, held: Payment) -> None:
    """The index stands behind the operation: the whole transaction is undone."""
    books.capture(held.payment_id)
    books.deposit(payer(held), Money("GBP", 1000))
    second = books.create(payer(held), held.amount, held.order_id)
    books.lock(second.payment_id, epoch=2)
    with pytest.raises(IntegrityError):
        books.capture(second.payment_id)
    assert books.balance(wallet_of(held)) == (1000, 1000)
    assert books.balance(SALES) == (1000, 0)
    books.check()


@pytest.mark.parametrize("refunded", [-1, 1001])
def test_refunds_beyond_the_payment_are_refused(books: Books, held: Payment, refunded: int) -> None:
    books.capture(held.payment_id)
    with pytest.raises(IntegrityError, match="refunds_within_amount"):
        books.sql("UPDATE payments SET refunded_minor = ? WHERE payment_id = ?", refunded, held.payment_id)


def test_a_payment_that_is_not_captured_has_no_refunds(books: Books, held: Payment) -> None:
    with pytest.raises(IntegrityError, match="only_captured_is_refunded"):
        books.sql("UPDATE payments SET refunded_minor = 1 WHERE payment_id = ?", held.payment_id)


def test_no_payment_is_authorized_or_captured_without_its_own_hold(books: Books, held: Payment) -> None:
    pending = books.in_state(PaymentState.PENDING)
    for state in ("AUTHORIZED", "CAPTURED"):
        with pytest.raises(IntegrityError, match="money_was_held"):
            books.sql("UPDATE payments SET state = ? WHERE payment_id = ?", state, pending.payment_id)
    with pytest.raises(IntegrityError, match=twice("hold_id")):
        books.sql("UPDATE payments SET hold_id = ? WHERE payment_id = ?", held.hold_id, pending.payment_id)


def test_an_unknown_state_is_refused(books: Books, held: Payment) -> None:
    with pytest.raises(IntegrityError, match="state_is_known"):
        books.sql("UPDATE payments SET state = 'LOST' WHERE payment_id = ?", held.payment_id)


@pytest.mark.parametrize("change", ["held_minor = 999", "posted_minor = 1001"])
def test_the_trial_balance_names_a_wallet_that_differs_from_its_transfers(
    books: Books, held: Payment, change: str
) -> None:
    books.check()
    books.sql(f"UPDATE accounts SET {change} WHERE account_id = ?", wallet_of(held))
    books.upkeep()
    assert [balance.differing_account_ids for balance in books.trial_balances()] == [[wallet_of(held)], []]
    (finding,) = books.findings()
    assert finding.startswith(f"accounts: {wallet_of(held)} has ")
