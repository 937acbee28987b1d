"""Payment through three processes, and the one word that the operator is told."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc import StatusCode

from tests.processes import DEADLINE_S, wait_until
from tests.terminal.till import COFFEE, TEA_MINOR, Behind, Till, code_of, gbp, goods, refused, said
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.ids import new_request_id


def test_a_basket_becomes_an_order_and_is_paid(till: Till, behind: Behind) -> None:
    shopper = behind.shopper(funds=1000)
    basket = till.create(shopper)
    assert said(basket) == "BASKET NOT_TRIED"
    assert (basket.order_version, basket.amount) == (0, gbp(TEA_MINOR))
    pending = till.submit(basket)
    assert said(pending) == "SUBMITTED NOT_TRIED"
    order = behind.order(pending)
    assert (order.payer.identity_id, order.store_id, order.version, order.amount) == (
        shopper,
        "store-1",
        1,
        gbp(TEA_MINOR),
    )
    paid = till.pay(pending)
    assert said(paid) == "PAID HAND_OVER_GOODS"
    assert not paid.busy
    assert behind.order(paid).payment_id == paid.payment_id
    assert behind.wallet(shopper) == (1000 - TEA_MINOR, 0)
    assert till.events(paid) == ["OPENED", "SUBMITTED", "PAYMENT_STARTED", "PAID"]


def test_the_same_payment_sent_twice_takes_the_money_once(till: Till, behind: Behind) -> None:
    shopper = behind.shopper(funds=1000)
    pending, payment_id = till.submitted(shopper), new_request_id()
    with ThreadPoolExecutor(2) as senders:
        answers = list(senders.map(lambda _: till.pay(pending, payment_id), range(2)))
    assert {said(answer) for answer in answers} == {"PAID HAND_OVER_GOODS"}
    assert till.pay(pending, payment_id).payment_id == payment_id
    assert behind.wallet(shopper) == (1000 - TEA_MINOR, 0)
    assert behind.payment_states(pending) == ["CAPTURED"]


def test_ten_payments_of_one_checkout_at_once_and_the_phone_take_the_money_once(till: Till, behind: Behind) -> None:
    shopper = behind.shopper(funds=10_000)
    pending = till.submitted(shopper)

    def pay(number: int) -> str:
        try:
            if number % 5 == 0:
                behind.pay_from_phone(pending)
                return ""
            return said(till.pay(pending))
        except grpc.RpcError as error:
            return code_of(error).name

    with ThreadPoolExecutor(10) as senders:
        verdicts = set(senders.map(pay, range(10)))
    assert verdicts <= {
        *("", "PAID HAND_OVER_GOODS", "SUBMITTED SAFE_TO_RETRY", "SUBMITTED WAIT", "FAILED_PRECONDITION")
    }
    wait_until(lambda: said(till.get(pending)) == "PAID HAND_OVER_GOODS")
    assert behind.payment_states(pending).count("CAPTURED") == 1
    assert behind.wallet(shopper) == (10_000 - TEA_MINOR, 0)


def test_a_declined_payment_is_safe_to_retry(till: Till, behind: Behind) -> None:
    poor = behind.shopper(funds=TEA_MINOR - 1)
    declined = till.pay(till.submitted(poor))
    assert (said(declined), declined.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "INSUFFICIENT_FUNDS")
    assert behind.order(declined).state == order_pb2.Order.STATE_OPEN
    cheaper = till.update(declined, 1, quantity=1)
    paid = till.pay(cheaper)
    assert (said(paid), paid.verdict_reason) == ("PAID HAND_OVER_GOODS", "")
    assert behind.wallet(poor) == (TEA_MINOR - 1 - 125, 0)
    assert till.events(paid) == [
        *("OPENED", "SUBMITTED", "PAYMENT_STARTED", "PAYMENT_ENDED", "CHANGED", "PAYMENT_STARTED", "PAID")
    ]


def test_who_is_unknown_to_the_payment_server_pays_nothing(till: Till, behind: Behind) -> None:
    ended = till.pay(till.submitted("nobody"))
    assert (said(ended), ended.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "IDENTITY_NOT_FOUND")


def test_the_shopper_pays_what_was_shown_or_nothing(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    shown = till.submitted(shopper)
    now = till.add(shown, COFFEE)
    with refused("VERSION_MISMATCH", StatusCode.ABORTED):
        till.pay(shown)
    for amount in (gbp(TEA_MINOR), Money(currency_code="EUR", minor_units=now.amount.minor_units)):
        with refused("AMOUNT_MISMATCH", StatusCode.ABORTED):
            till.pay(checkout_pb2.Checkout(checkout_id=now.checkout_id, order_version=2, amount=amount))
    with refused("CHECKOUT_NOT_SUBMITTED", StatusCode.FAILED_PRECONDITION):
        till.pay(checkout_pb2.Checkout(checkout_id=till.create().checkout_id, order_version=1, amount=gbp(TEA_MINOR)))
    with refused("AMOUNT_MISMATCH", StatusCode.ABORTED):
        till.pay(checkout_pb2.Checkout(checkout_id=now.checkout_id, order_version=2, amount=gbp(0)))
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.pay(checkout_pb2.Checkout(checkout_id=now.checkout_id, order_version=2, amount=gbp(-1)))
    assert behind.payment_states(now) == []


def test_a_payment_that_waits_for_its_payer_freezes_the_checkout_until_the_payer_says_yes(
    till: Till, behind: Behind
) -> None:
    careful = behind.shopper(threshold=100)
    waiting = till.pay(till.submitted(careful))
    assert (said(waiting), waiting.verdict_reason) == ("PAYING ASK_PAYER", "")
    assert waiting.busy
    assert waiting.verdict_remaining.ToMilliseconds() > 0
    changes: list[Callable[[], object]] = [
        lambda: till.add(waiting, COFFEE),
        lambda: till.pay(waiting),
        lambda: till.cancel(waiting),
        lambda: till.submit(waiting),
    ]
    for change in changes:
        with refused("PAYMENT_UNDER_WAY", StatusCode.FAILED_PRECONDITION) as refusals:
            change()
        assert refusals[0].metadata["payment_id"] == waiting.payment_id
    behind.confirm(waiting.payment_id, waiting.amount)
    wait_until(lambda: said(till.get(waiting)) == "PAID HAND_OVER_GOODS")
    assert behind.wallet(careful) == (100_000 - TEA_MINOR, 0)


def test_a_canceled_payment_unlocks_the_same_order_for_a_change_and_another_payment(till: Till, behind: Behind) -> None:
    careful = behind.shopper(threshold=100)
    waiting = till.pay(till.submitted(careful))
    cancel_id = new_request_id()
    freed = till.cancel_payment(waiting, cancel_id)
    assert (said(freed), freed.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "PAYMENT_CANCELED")
    changed = till.update(freed, 1, quantity=1, price=99)
    again = till.pay(changed)
    assert said(again) == "PAID HAND_OVER_GOODS"
    assert behind.payment_states(again) == ["VOIDED", "CAPTURED"]
    assert behind.wallet(careful) == (100_000 - 99, 0)
    with refused("PAYMENT_NOT_WAITING", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
        behind.confirm(waiting.payment_id, waiting.amount)
    first = ["PAYMENT_STARTED", "PAYER_ASKED", "PAYMENT_CANCEL_ASKED", "PAYMENT_ENDED"]
    assert till.events(again)[2:7] == [*first, "CHANGED"]
    assert said(till.cancel_payment(again, cancel_id)) == "PAID HAND_OVER_GOODS"


def test_a_cancellation_that_comes_after_the_payment_says_so(till: Till, behind: Behind) -> None:
    paid = till.pay(till.submitted(behind.shopper()))
    assert said(till.cancel_payment(paid)) == "PAID HAND_OVER_GOODS"


def test_without_a_payment_there_is_none_to_cancel(till: Till) -> None:
    for checkout in (till.create(), till.submitted(), till.cancel(till.create())):
        with refused("NO_PAYMENT", StatusCode.FAILED_PRECONDITION):
            till.cancel_payment(checkout)


def test_a_cancellation_that_is_repeated_late_spares_the_next_payment(till: Till, behind: Behind) -> None:
    careful = behind.shopper(threshold=100)
    first = till.pay(till.submitted(careful))
    cancel_id = new_request_id()
    second = till.pay(till.cancel_payment(first, cancel_id))
    assert said(till.cancel_payment(second, cancel_id)) == "PAYING ASK_PAYER"
    behind.confirm(second.payment_id, second.amount)
    wait_until(lambda: said(till.get(second)) == "PAID HAND_OVER_GOODS")


def test_goods_are_handed_over_whoever_paid(till: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper())
    behind.pay_from_phone(pending)
    told = till.pay(pending)
    assert (said(told), told.verdict_reason) == ("PAID HAND_OVER_GOODS", "PAID_BY_ANOTHER_PAYMENT")
    assert till.events(told)[-2:] == ["PAYMENT_ENDED", "PAID"]
    assert till.history(told)[-1].reference == behind.order(told).payment_id != told.payment_id
    assert told.paid_by_payment_id == behind.order(told).payment_id
    assert behind.payment_states(told) == ["CAPTURED", "VOIDED"]


def test_a_payment_id_that_belongs_to_another_order_can_not_pay_this_one(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    other = behind.pay_from_phone(till.submitted(shopper))
    ended = till.pay(till.submitted(shopper), other.payment_id)
    assert (said(ended), ended.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "REQUEST_ID_REUSED")
    assert said(till.pay(ended)) == "PAID HAND_OVER_GOODS"
    assert behind.wallet(shopper) == (100_000 - 2 * TEA_MINOR, 0)


def test_an_order_that_was_canceled_under_the_payment_ends_the_checkout(till: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper())
    behind.cancel_order(pending)
    ended = till.pay(pending)
    assert (said(ended), ended.verdict_reason) == ("CANCELED CLOSED", "")
    with refused("CHECKOUT_CANCELED", StatusCode.FAILED_PRECONDITION):
        till.pay(ended)


def test_an_order_that_was_changed_elsewhere_is_shown_again_before_it_is_paid(till: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper())
    behind.change_order(pending, goods(125, 2), goods(75, 1, "CAKE"))
    ended = till.pay(pending)
    assert (said(ended), ended.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "VERSION_MISMATCH")
    assert (ended.order_version, ended.amount) == (2, gbp(325))
    assert said(till.pay(ended)) == "PAID HAND_OVER_GOODS"


def test_one_trace_follows_a_payment_through_till_and_order_service(till: Till, behind: Behind) -> None:
    pending, trace = till.submitted(behind.shopper()), "0af7651916cd43dd8448eb211c80319c"
    request = api.PayCheckoutRequest(
        payment_id=new_request_id(), checkout_id=pending.checkout_id, order_version=1, amount=pending.amount
    )
    till.service.PayCheckout(
        request, timeout=DEADLINE_S, metadata=(("traceparent", f"00-{trace}-b7ad6b7169203331-01"),)
    )
    assert [event.trace_id for event in till.history(pending)][-2:] == [trace, trace]
    events = behind.orders.ListOrderEvents(orders_api.ListOrderEventsRequest(order_id=pending.checkout_id)).events
    assert [event.trace_id for event in events][-2:] == [trace, trace]
