"""What changes the verdict of a checkout and is no change of its state leaves an event as well."""

from collections.abc import Sequence

import pytest

from store_terminal.checkouts import moves
from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Attempt
from store_terminal.checkouts.queries import HISTORY
from store_terminal.outbox import replies
from tests.processes import wait_until
from tests.terminal.test_lifecycle import NOW_MS, in_state, order, pay
from tests.terminal.till import Behind, Till, said
from tillmesh.storage.statements import Transaction

S = CheckoutState


def events(transaction: Transaction, since: int) -> Sequence[tuple[str, str]]:
    """Event and reference of each row of the history after that number."""
    return [(entry.event, entry.reference) for entry in HISTORY.list(transaction, "c-1", (since,), 20)]


def attempt(transaction: Transaction) -> Attempt:
    found = moves.get_checkout(transaction, "c-1").attempt
    assert found is not None
    return found


def ask_payer(transaction: Transaction, remaining_ms: int) -> None:
    replies.awaiting_payer(
        transaction,
        payment_id="pay-2",
        payer_display_name="Ada",
        remaining_ms=remaining_ms,
        patience_ms=1_000,
        now_ms=NOW_MS,
    )


def read(
    transaction: Transaction, locked_by: str = "", epoch: int = 0, *, at_ms: int = NOW_MS, version: int = 1
) -> None:
    news = order(locked_by=locked_by, epoch=epoch, lease_remaining_ms=9_000, version=version)
    replies.order_read(transaction, checkout_id="c-1", order=news, now_ms=at_ms)


def test_that_a_payer_is_asked_is_one_event_however_often_the_time_left_changes(transaction: Transaction) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    pay(transaction, "pay-2")
    for remaining_ms in (60_000, 60_500, 50_000):
        ask_payer(transaction, remaining_ms)
    assert attempt(transaction).payer_until_ms == NOW_MS + 50_000
    assert moves.get_checkout(transaction, "c-1").payer_display_name == "Ada"
    for _ in range(2):
        replies.payer_acted(transaction, payment_id="pay-2", wait_ms=5_000, now_ms=NOW_MS)
    assert (attempt(transaction).payer_until_ms, attempt(transaction).deadline_at_ms) == (0, NOW_MS + 5_000)
    ask_payer(transaction, 40_000)
    asked, acted = ("PAYER_ASKED", "pay-2"), ("PAYER_ACTED", "pay-2")
    assert events(transaction, 2) == [asked, acted, asked]


def test_who_locks_an_order_is_an_event_each_time_that_it_changes(transaction: Transaction) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    read(transaction)
    answers = [("phone-1", 1), ("phone-1", 1), ("phone-2", 2), ("", 2), ("", 2), ("pay-1", 3)]
    for number, (payment_id, epoch) in enumerate(answers):
        read(transaction, payment_id, epoch, at_ms=NOW_MS + number)
        kept = moves.get_checkout(transaction, "c-1")
        if number == 1:
            assert (kept.locked_by, kept.locked_until_ms) == ("phone-1", NOW_MS + 9_000)
    assert (kept.locked_by, kept.locked_until_ms) == ("", 0)  # that of the till's own payment is none
    locked = [("ORDER_LOCKED", "phone-1"), ("ORDER_LOCKED", "phone-2"), ("ORDER_UNLOCKED", "phone-2")]
    assert events(transaction, 1) == locked


def test_a_lock_is_news_while_the_till_pays_as_well_and_ends_once_its_own_payment_has_it(
    transaction: Transaction,
) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    pay(transaction, "pay-2")
    read(transaction, "phone-1", 1)
    read(transaction, "pay-2", 2)
    read(transaction, "phone-2", 3)
    ask_payer(transaction, 60_000)
    locked = [("ORDER_LOCKED", "phone-1"), ("ORDER_UNLOCKED", "phone-1"), ("ORDER_LOCKED", "phone-2")]
    assert events(transaction, 2) == [*locked, ("PAYER_ASKED", "pay-2")]
    assert moves.get_checkout(transaction, "c-1").locked_by == ""


@pytest.mark.parametrize("end", [{"paid": True, "paid_by": "phone-1"}, {"canceled": True}])
def test_what_is_final_is_not_locked(transaction: Transaction, end: dict[str, object]) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    read(transaction, "phone-1", 1)
    final = replies.order_read(transaction, checkout_id="c-1", order=order(**end), now_ms=NOW_MS)
    assert (final.locked_by, final.locked_until_ms) == ("", 0)
    assert final == moves.get_checkout(transaction, "c-1")


def test_an_order_that_is_older_than_the_till_knows_says_nothing_of_its_lock(transaction: Transaction) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    read(transaction, version=2)
    read(transaction, "phone-1", 1)
    newer = moves.get_checkout(transaction, "c-1")
    assert (newer.order_version, newer.locked_by) == (2, "")


def test_an_answer_that_another_one_overtook_does_not_turn_a_lock_back(transaction: Transaction) -> None:
    HISTORY.begin(transaction, in_state(S.SUBMITTED), "OPENED")
    read(transaction, "", 1)  # the lock of epoch 1 came and went
    read(transaction, "phone-1", 1)
    assert events(transaction, 1) == []
    read(transaction, "phone-2", 2)
    for payment_id, epoch in (("", 1), ("phone-1", 1), ("", 0)):
        read(transaction, payment_id, epoch)
    assert moves.get_checkout(transaction, "c-1").locked_by == "phone-2"
    read(transaction, "", 2)
    read(transaction, "phone-2", 2)
    assert moves.get_checkout(transaction, "c-1").locked_by == ""


def test_an_order_that_is_taken_up_locked_says_so(transaction: Transaction) -> None:
    news = order(locked_by="phone-1", epoch=1, lease_remaining_ms=9_000)
    taken = replies.resume_checkout(transaction, order=news, store_id="store-1", now_ms=NOW_MS)
    assert (taken.locked_by, taken.locked_until_ms) == ("phone-1", NOW_MS + 9_000)
    read(transaction, epoch=1)
    assert events(transaction, 0) == [("RESUMED", ""), ("ORDER_UNLOCKED", "phone-1")]


def test_a_display_could_tell_each_verdict_from_the_history(till: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper(threshold=1))
    phone = behind.pay_from_phone(pending)
    wait_until(lambda: said(till.get(pending)) == "SUBMITTED WAIT")
    behind.cancel_payment(phone.payment_id)
    wait_until(lambda: said(till.get(pending)) == "SUBMITTED NOT_TRIED")
    waiting = till.pay(pending)
    assert said(waiting) == "PAYING ASK_PAYER"
    behind.confirm(waiting.payment_id, waiting.amount)
    wait_until(lambda: said(till.get(waiting)) == "PAID HAND_OVER_GOODS")
    told = [name for name in till.events(pending) if name != "PAYER_ACTED"]  # the payment may be over by the next look
    locked = ["ORDER_LOCKED", "ORDER_UNLOCKED"]
    assert told == ["OPENED", "SUBMITTED", *locked, "PAYMENT_STARTED", "PAYER_ASKED", "PAID"]
