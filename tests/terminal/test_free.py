"""An order that comes to nothing: it is completed without a payment."""

from pathlib import Path

from grpc import StatusCode

from tests.processes import Server, running, wait_until
from tests.terminal.shaky import Shaky
from tests.terminal.till import TEA, TEA_MINOR, Behind, Till, gbp, goods, refused, said, steady, terminal_flags
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.runtime.ids import new_request_id

GIFT = api.NewLine(sku="GIFT", title="Gift", quantity=1, unit_price_minor=0)


def test_a_checkout_of_nothing_is_paid_without_a_payment(till: Till, behind: Behind) -> None:
    pending, payment_id = till.submitted(lines=[GIFT]), new_request_id()
    assert (said(pending), pending.amount) == ("SUBMITTED NOT_TRIED", gbp(0))
    paid = till.pay(pending, payment_id)
    assert (said(paid), paid.verdict_reason) == ("PAID HAND_OVER_GOODS", "")
    assert (paid.payment_id, paid.paid_by_payment_id, paid.busy) == ("", "", False)
    assert till.pay(pending, payment_id) == paid
    assert behind.order_events(paid) == ["CREATED", "COMPLETED_FREE"]
    assert behind.payment_states(paid) == []
    assert till.events(paid) == ["OPENED", "SUBMITTED", "PAID"]
    assert "TOTAL GBP                             0.00\nNothing to pay\n" in till.receipt(paid).text
    with refused("NOTHING_WAS_PAID", StatusCode.FAILED_PRECONDITION):
        till.refund(paid)
    with refused("NO_PAYMENT", StatusCode.FAILED_PRECONDITION):
        till.cancel_payment(paid)


def test_a_basket_that_a_discount_makes_free_is_completed_after_a_payment_was_declined(
    till: Till, behind: Behind
) -> None:
    declined = till.pay(till.submitted(behind.shopper(funds=0)))
    assert said(declined) == "SUBMITTED SAFE_TO_RETRY"
    paid = till.pay(till.adjust(declined, -TEA_MINOR))
    assert (said(paid), paid.verdict_reason, paid.paid_by_payment_id) == ("PAID HAND_OVER_GOODS", "", "")


def test_the_shopper_gets_for_nothing_what_was_shown_or_nothing(till: Till, behind: Behind) -> None:
    pending = till.submitted(lines=[GIFT])
    with refused("AMOUNT_MISMATCH", StatusCode.ABORTED):
        till.pay(checkout_pb2.Checkout(checkout_id=pending.checkout_id, order_version=1, amount=gbp(1)))
    with refused("VERSION_MISMATCH", StatusCode.ABORTED):
        till.pay(checkout_pb2.Checkout(checkout_id=pending.checkout_id, order_version=2, amount=gbp(0)))
    behind.change_order(pending, goods(0), goods(0))
    with refused("VERSION_MISMATCH", StatusCode.ABORTED, "order.tillmesh"):
        till.pay(pending)
    fresh = till.get(pending)
    assert (fresh.order_version, len(fresh.lines)) == (2, 2)
    assert said(till.pay(fresh)) == "PAID HAND_OVER_GOODS"


def test_two_tills_that_complete_one_order_both_hand_over_the_goods(
    till: Till, order_service: Server, payment_server: Server, tmp_path: Path
) -> None:
    flags = terminal_flags(order_service.address, payment_server.address)
    with running("tests.terminal.deaf", tmp_path, *flags) as second, second.channel() as channel:
        other = Till(channel)
        mine = till.submitted(lines=[GIFT])
        theirs = other.resume(mine.checkout_id)
        assert said(till.pay(mine)) == "PAID HAND_OVER_GOODS"
        assert said(other.pay(theirs)) == "PAID HAND_OVER_GOODS"
        assert other.events(theirs) == ["RESUMED", "PAID"]


def test_a_free_order_that_was_completed_elsewhere_is_taken_up_as_paid(
    till: Till, order_service: Server, payment_server: Server, tmp_path: Path
) -> None:
    free = till.pay(till.submitted(lines=[GIFT]))
    flags = terminal_flags(order_service.address, payment_server.address)
    with running("tests.terminal.deaf", tmp_path, *flags) as second, second.channel() as channel:
        taken = Till(channel).resume(free.checkout_id)
    assert (said(taken), taken.paid_by_payment_id, taken.verdict_reason) == ("PAID HAND_OVER_GOODS", "", "")


def test_what_the_order_service_did_not_answer_is_completed_once_by_itself(shaky: Shaky, behind: Behind) -> None:
    payment_id = new_request_id()
    with shaky.till() as till:
        pending = till.submitted(lines=[GIFT])
        shaky.orders.lose_answers()
        with refused("PEER_UNAVAILABLE", StatusCode.UNAVAILABLE):
            till.pay(pending, payment_id, timeout=1.5)
        with refused("CHECKOUT_BUSY", StatusCode.FAILED_PRECONDITION):
            till.add(pending, TEA)
    shaky.server.kill()
    shaky.orders.heal()
    shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: said(till.get(pending)) == "PAID HAND_OVER_GOODS")
        assert steady(till.pay(pending, payment_id)) == steady(till.get(pending))
    assert behind.order_events(pending) == ["CREATED", "COMPLETED_FREE"]


def test_after_a_decline_nothing_is_safe_to_retry_while_the_order_may_be_completed(
    shaky: Shaky, behind: Behind
) -> None:
    with shaky.till() as till:
        declined = till.pay(till.submitted(behind.shopper(funds=0)))
        assert said(declined) == "SUBMITTED SAFE_TO_RETRY"
        free = till.adjust(declined, -TEA_MINOR)
        shaky.orders.lose_answers()
        with refused("PEER_UNAVAILABLE", StatusCode.UNAVAILABLE):
            till.pay(free, timeout=1.5)
        wait_until(lambda: behind.order_events(free)[-1] == "COMPLETED_FREE")
        told = till.get(free)
        assert (said(told), told.verdict_reason, told.busy) == ("SUBMITTED WAIT", "", True)
        assert not told.HasField("verdict_remaining")
        shaky.orders.heal()
        wait_until(lambda: said(till.get(free)) == "PAID HAND_OVER_GOODS")
