"""A sale that is undone, however far it is."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from grpc import StatusCode

from tests.processes import wait_until
from tests.terminal.sales import outcome, sale, sell, void
from tests.terminal.shaky import Shaky
from tests.terminal.test_free import GIFT
from tests.terminal.till import COFFEE, TEA_MINOR, Behind, Till, gbp, goods, refund_state, refused, said, state
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.runtime.ids import new_request_id

CANCELED, REFUNDED, PENDING = "CANCELED", "REFUNDED", "PENDING"
SHORT_S = 1.5


def test_a_paid_sale_is_given_back_whole_and_once(till: Till, behind: Behind) -> None:
    shopper, refund_id = behind.shopper(), new_request_id()
    sold = sell(till, sale(shopper))
    for _ in range(2):
        undone = void(till, sold.checkout_id, refund_id, note="wrong shopper")
        assert (outcome(undone), undone.refunded) == (REFUNDED, gbp(TEA_MINOR))
        assert (said(undone.checkout), undone.checkout.refunded) == ("PAID HAND_OVER_GOODS", gbp(TEA_MINOR))
    assert behind.wallet(shopper) == (100_000, 0)
    refund = till.get_refund(refund_id)
    assert (refund_state(refund), refund.amount, refund.note) == ("DONE", gbp(TEA_MINOR), "wrong shopper")
    assert (refund.lane, refund.cashier_id, refund.checkout_id) == ("lane-9", "c-17", sold.checkout_id)
    assert till.events(sold)[-3:] == ["VOID_ASKED", "REFUND_STARTED", "REFUNDED"]
    assert {event.reference for event in till.history(sold)[-3:]} == {refund_id}
    with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
        till.refund(sold, refund_id=refund_id)


def test_of_a_sale_that_was_given_back_in_part_the_rest_is_given_back(till: Till, behind: Behind) -> None:
    shopper, last = behind.shopper(), new_request_id()
    sold = sell(till, sale(shopper))
    till.refund(sold, gbp(100))
    assert void(till, sold.checkout_id).refunded == gbp(TEA_MINOR - 100)
    for _ in range(2):
        nothing = void(till, sold.checkout_id, last)
        assert (outcome(nothing), nothing.HasField("refunded")) == (REFUNDED, False)
    assert behind.wallet(shopper) == (100_000, 0)


def test_what_came_to_nothing_is_undone_with_nothing_to_give_back(till: Till) -> None:
    undone = void(till, sell(till, sale("", [GIFT], gbp(0))).checkout_id)
    assert (outcome(undone), undone.HasField("refunded")) == (REFUNDED, False)


def test_what_is_not_paid_is_canceled(till: Till, behind: Behind) -> None:
    basket, pending = till.create(), till.submitted(behind.shopper())
    waiting = sell(till, sale(behind.shopper(threshold=1)))
    assert said(waiting) == "PAYING ASK_PAYER"
    for checkout in (basket, pending, waiting):
        refund_id = new_request_id()
        for _ in range(2):
            undone = void(till, checkout.checkout_id, refund_id)
            assert (outcome(undone), undone.HasField("refunded")) == (CANCELED, False)
            assert (said(undone.checkout), undone.checkout.busy) == ("CANCELED CLOSED", False)
        with refused("REFUND_NOT_FOUND", StatusCode.NOT_FOUND):
            till.get_refund(refund_id)
    assert till.events(basket) == ["OPENED", "VOID_ASKED", "CANCELED"]
    assert till.events(pending) == ["OPENED", "SUBMITTED", "VOID_ASKED", "CANCELED"]
    assert till.events(waiting)[4:] == ["VOID_ASKED", "PAYMENT_CANCEL_ASKED", "PAYMENT_ENDED", "CANCELED"]
    assert behind.order(waiting).state == order_pb2.Order.STATE_CANCELED
    wait_until(lambda: behind.payment_states(waiting) == ["VOIDED"])


def test_what_is_canceled_already_stays_so(till: Till) -> None:
    gone = till.cancel(till.submitted())
    assert outcome(void(till, gone.checkout_id)) == CANCELED
    assert till.events(gone) == ["OPENED", "SUBMITTED", "CANCELED"]


def test_an_order_that_was_changed_elsewhere_is_canceled_as_it_is(till: Till, behind: Behind) -> None:
    pending = till.submitted()
    behind.change_order(pending, goods(5), goods(6))
    assert outcome(void(till, pending.checkout_id)) == CANCELED
    assert till.events(pending)[-3:] == ["VOID_ASKED", "REFRESHED", "CANCELED"]


def test_an_order_that_the_phone_paid_is_given_back(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    pending = till.submitted(shopper)
    behind.pay_from_phone(pending)
    undone = void(till, pending.checkout_id)
    assert (outcome(undone), undone.refunded) == (REFUNDED, gbp(TEA_MINOR))
    assert behind.wallet(shopper) == (100_000, 0)


@pytest.mark.parametrize("phone_pays", [True, False])
def test_a_phones_payment_is_waited_for_and_nothing_new_begins(till: Till, behind: Behind, phone_pays: bool) -> None:
    shopper, refund_id = behind.shopper(threshold=1), new_request_id()
    pending = till.submitted(shopper)
    phone = behind.pay_from_phone(pending)
    undone = void(till, pending.checkout_id, refund_id, timeout=SHORT_S)
    assert (outcome(undone), said(undone.checkout), undone.checkout.busy) == (PENDING, "SUBMITTED WAIT", True)
    for change in (till.pay, till.add_tea, till.cancel):
        with refused("CHECKOUT_BUSY", StatusCode.FAILED_PRECONDITION) as seen:
            change(pending)
        assert seen[0].metadata["request_id"] == refund_id
    if phone_pays:
        behind.confirm(phone.payment_id, phone.amount)
    else:
        behind.cancel_payment(phone.payment_id)
    wait_until(lambda: outcome(void(till, pending.checkout_id, refund_id)) != PENDING)
    assert outcome(void(till, pending.checkout_id, refund_id)) == (REFUNDED if phone_pays else CANCELED)
    assert behind.wallet(shopper) == (100_000, 0)
    assert till.events(pending).count("REFUSED") == 0


def test_two_who_undo_one_sale_at_once_give_it_back_once(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    checkouts = [sell(till, sale(shopper)), till.submitted(shopper), sell(till, sale(behind.shopper(threshold=1)))]
    ends = [REFUNDED, CANCELED, CANCELED]
    with ThreadPoolExecutor(6) as callers:
        undone = list(callers.map(lambda checkout: void(till, checkout.checkout_id), checkouts * 2))
    assert [outcome(answer) for answer in undone] == ends * 2
    assert behind.wallet(shopper) == (100_000, 0)


def test_an_unknown_sale_is_not_undone(till: Till) -> None:
    with refused("ORDER_NOT_FOUND", StatusCode.NOT_FOUND, "order.tillmesh"):
        void(till, "0000-0000-0000")
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as seen:
        void(till, "no number")
    assert [violation.field for violation in seen[0].violations] == ["checkout_id"]


def test_a_sale_that_comes_after_it_was_undone_is_refused(till: Till, behind: Behind) -> None:
    """The request to sell may be on its way for longer than the one to undo it."""
    shopper = behind.shopper()
    late, refund_id = sale(shopper), new_request_id()
    for _ in range(2):
        with refused("ORDER_NOT_FOUND", StatusCode.NOT_FOUND, "order.tillmesh"):
            void(till, late.checkout_id, refund_id)
    for _ in range(2):
        with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
            sell(till, late)
    assert behind.wallet(shopper) == (100_000, 0)
    assert said(sell(till, sale(shopper, payment_id=late.payment_id))) == "PAID HAND_OVER_GOODS"


def test_what_is_undone_says_so_beside_its_verdict(till: Till, behind: Behind) -> None:
    request = sale(behind.shopper())
    given_back, undone = sell(till, sale(behind.shopper())), sell(till, request)
    till.refund(given_back, gbp(TEA_MINOR - 1))
    assert till.get(given_back).verdict_reason == ""
    till.refund(given_back)
    assert till.get(given_back).verdict_reason == "REFUNDED"
    assert void(till, undone.checkout_id).checkout.verdict_reason == "VOID_ASKED"
    assert sell(till, request).verdict_reason == "VOID_ASKED"


def test_an_order_from_elsewhere_is_taken_up_and_undone(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    paid, pending = behind.raise_order(shopper), behind.raise_order(shopper)
    behind.pay_from_phone(checkout_pb2.Checkout(checkout_id=paid.order_id))
    assert outcome(void(till, paid.order_id)) == REFUNDED
    assert outcome(void(till, pending.order_id)) == CANCELED
    assert behind.wallet(shopper) == (100_000, 0)


def test_a_sale_is_undone_while_its_order_is_not_there_yet(shaky: Shaky, behind: Behind) -> None:
    """The order service does not answer: what is sold waits, and is undone before it is paid."""
    with shaky.till() as till:
        shopper, refund_id = behind.shopper(), new_request_id()
        request = sale(shopper)
        shaky.orders.lose_requests()
        with refused("PEER_UNAVAILABLE", StatusCode.UNAVAILABLE):
            sell(till, request, timeout=SHORT_S)
        named = checkout_pb2.Checkout(checkout_id=request.checkout_id)
        assert (said(till.get(named)), till.get(named).busy) == ("BASKET WAIT", True)
        for change in (till.cancel, till.cancel_payment):
            with refused("CHECKOUT_BUSY", StatusCode.FAILED_PRECONDITION):
                change(named)
        assert outcome(void(till, request.checkout_id, refund_id, timeout=SHORT_S)) == PENDING
        shaky.server.kill()
        shaky.orders.heal()
        shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: outcome(void(till, request.checkout_id, refund_id)) == CANCELED)
        with refused("CHECKOUT_CANCELED", StatusCode.FAILED_PRECONDITION):
            sell(till, request)
        assert till.events(named) == ["OPENED", "VOID_ASKED", "SUBMITTED", "CANCELED"]
    assert behind.payment_states(named) == []
    assert behind.wallet(shopper) == (100_000, 0)


def test_a_void_goes_on_after_the_till_died(shaky: Shaky, behind: Behind) -> None:
    with shaky.till() as till:
        shopper, ids = behind.shopper(), [new_request_id() for _ in range(3)]
        paid, pending = sell(till, sale(shopper)), till.submitted(shopper)
        waiting = sell(till, sale(behind.shopper(threshold=1)))
        shaky.orders.lose_answers()
        shaky.payments.lose_requests()
        checkouts = (paid, pending, waiting)
        for checkout, refund_id in zip(checkouts, ids, strict=True):
            assert outcome(void(till, checkout.checkout_id, refund_id, timeout=SHORT_S)) == PENDING
        shaky.server.kill()
        shaky.orders.heal()
        shaky.payments.heal()
        shaky.restart()
    with shaky.till() as till:
        ends = [REFUNDED, CANCELED, CANCELED]

        def undone() -> list[api.VoidCheckoutResponse]:
            pairs = zip(checkouts, ids, strict=True)
            return [void(till, checkout.checkout_id, refund_id) for checkout, refund_id in pairs]

        wait_until(lambda: [outcome(answer) for answer in undone()] == ends)
        assert [state(till.get(checkout)) for checkout in checkouts] == ["PAID", "CANCELED", "CANCELED"]
        assert till.add(till.create(shopper), COFFEE).amount == gbp(TEA_MINOR + 400)
    assert behind.wallet(shopper) == (100_000, 0)
