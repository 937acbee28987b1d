"""Whatever crashes or is cut off, what was asked happens once, and nobody has to come and repair."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
from grpc import StatusCode

from tests.processes import DEADLINE_S, Server, running, wait_until
from tests.terminal.sales import sale, sell
from tests.terminal.shaky import CutOff, Shaky
from tests.terminal.till import (
    COFFEE,
    TEA_MINOR,
    Behind,
    Till,
    code_of,
    gbp,
    goods,
    payer,
    refund_state,
    refused,
    said,
    state,
    terminal_flags,
)
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.terminal.v1 import checkout_pb2, till_refund_pb2
from tillmesh.runtime.ids import new_request_id

SHORT_S = 1.5


@dataclass
class Asked:
    """One thing of each kind that a till asks of others, all of one shopper."""

    shopper: str
    submitted: checkout_pb2.Checkout
    changed: checkout_pb2.Checkout
    canceled: checkout_pb2.Checkout
    paid: checkout_pb2.Checkout
    refunded: checkout_pb2.Checkout
    ids: dict[str, str]

    @staticmethod
    def prepare(till: Till, behind: Behind) -> "Asked":
        shopper = behind.shopper(funds=100_000)
        changed, canceled, paid, refunded = (till.submitted(shopper) for _ in range(4))
        kinds = ("submit", "change", "cancel", "pay", "refund", "return")
        ids = {kind: new_request_id() for kind in kinds}
        return Asked(shopper, till.create(shopper), changed, canceled, paid, till.pay(refunded), ids)

    def everything(self, till: Till) -> list[object]:
        """Asks for all of it at once; what is not answered in time is None."""
        calls: list[Callable[[], object]] = [
            lambda: till.submit(self.submitted, self.ids["submit"], timeout=SHORT_S),
            lambda: till.add(self.changed, COFFEE, request_id=self.ids["change"], timeout=SHORT_S),
            lambda: till.cancel(self.canceled, self.ids["cancel"], timeout=SHORT_S),
            lambda: till.pay(self.paid, self.ids["pay"], timeout=SHORT_S),
            lambda: till.refund(self.refunded, gbp(100), refund_id=self.ids["refund"], timeout=SHORT_S),
            lambda: till.give_back(self.shopper, goods(30), refund_id=self.ids["return"], timeout=SHORT_S),
        ]
        with ThreadPoolExecutor(len(calls)) as callers:
            return list(callers.map(answer_or_none, calls))

    def is_settled(self, till: Till) -> bool:
        """All of it has happened."""
        checkouts = [till.get(each) for each in (self.submitted, self.changed, self.canceled, self.paid)]
        refunds = [till.get_refund(self.ids[kind]) for kind in ("refund", "return")]
        states = [state(checkout) for checkout in checkouts] + [refund_state(refund) for refund in refunds]
        return states == ["SUBMITTED", "SUBMITTED", "CANCELED", "PAID", "DONE", "DONE"] and not checkouts[1].busy

    def happened_once(self, till: Till, behind: Behind) -> None:
        assert behind.order_events(self.submitted) == ["CREATED"]
        assert behind.order_events(self.changed) == ["CREATED", "LINES_REPLACED"]
        assert behind.order_events(self.canceled) == ["CREATED", "CANCELED"]
        assert behind.order_events(self.paid) == ["CREATED", "LOCKED", "PAID"]
        assert behind.payment_states(self.paid) == ["CAPTURED"]
        assert till.get(self.changed).amount == behind.order(self.changed).amount == gbp(650)
        assert till.get(self.refunded).refunded == gbp(100)
        assert behind.wallet(self.shopper) == (100_000 - 2 * TEA_MINOR + 100 + 30, 0)
        assert till.events(self.submitted) == ["OPENED", "SUBMITTED"]
        assert till.events(self.paid) == ["OPENED", "SUBMITTED", "PAYMENT_STARTED", "PAID"]
        started, paid = till.history(self.paid)[-2:]
        assert started.trace_id == paid.trace_id != ""


def answer_or_none(call: Callable[[], object]) -> object:
    try:
        return call()
    except grpc.RpcError as error:
        if code_of(error) not in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED):
            raise
        return None


def test_what_was_written_down_but_not_sent_is_sent_by_the_next_process(shaky: Shaky, behind: Behind) -> None:
    with shaky.till() as till:
        asked = Asked.prepare(till, behind)
        shaky.orders.lose_requests()
        shaky.payments.lose_requests()
        answers = asked.everything(till)
        assert answers[:3] == [None, None, None]
        assert isinstance(answers[3], checkout_pb2.Checkout)
        assert said(answers[3]) == "PAYING WAIT"
        assert isinstance(answers[4], till_refund_pb2.TillRefund)
        assert refund_state(answers[4]) == "PENDING"
        for busy in (asked.submitted, asked.changed, asked.canceled):
            assert till.get(busy).busy
            with refused("CHECKOUT_BUSY", StatusCode.FAILED_PRECONDITION):
                till.add(busy, COFFEE)
        with refused("PEER_UNAVAILABLE", StatusCode.UNAVAILABLE):
            till.submit(asked.submitted, asked.ids["submit"], timeout=SHORT_S)
    assert behind.order_events(asked.changed) == ["CREATED"]
    shaky.server.kill()
    shaky.orders.heal()
    shaky.payments.heal()
    shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: asked.is_settled(till))
        asked.happened_once(till, behind)
        assert None not in asked.everything(till)
        asked.happened_once(till, behind)


def test_what_was_done_but_not_answered_is_found_out_by_the_next_process(shaky: Shaky, behind: Behind) -> None:
    with shaky.till() as till:
        asked = Asked.prepare(till, behind)
        shaky.orders.lose_answers()
        shaky.payments.lose_answers()
        asked.everything(till)
        wait_until(lambda: behind.order_events(asked.paid)[-1] == "PAID")
        wait_until(lambda: behind.order_events(asked.canceled)[-1] == "CANCELED")
        wait_until(lambda: behind.wallet(asked.shopper) == (100_000 - 2 * TEA_MINOR + 100 + 30, 0))
        assert said(till.get(asked.paid)) == "PAYING WAIT"
    shaky.server.kill()
    shaky.orders.heal()
    shaky.payments.heal()
    shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: asked.is_settled(till))
        asked.happened_once(till, behind)


def test_the_same_process_goes_on_once_the_links_are_back(shaky: Shaky, behind: Behind) -> None:
    with shaky.till() as till:
        asked = Asked.prepare(till, behind)
        shaky.orders.lose_answers()
        shaky.payments.lose_requests()
        asked.everything(till)
        shaky.orders.heal()
        shaky.payments.heal()
        wait_until(lambda: asked.is_settled(till))
        asked.happened_once(till, behind)


def test_goods_are_handed_over_though_the_payment_server_never_answers(shaky: Shaky, behind: Behind) -> None:
    with shaky.till() as till:
        shopper = behind.shopper()
        till.pay(till.submitted(shopper))  # the connection is there
        pending = till.submitted(shopper)
        shaky.payments.lose_answers()
        assert said(till.pay(pending)) == "PAID HAND_OVER_GOODS"


def test_a_sale_and_its_refund_wait_for_no_more_than_they_need(cut_off: CutOff) -> None:
    """The payment server has the money on hold and cannot hear that the order is paid."""
    till, behind, orders = cut_off.till, cut_off.behind, cut_off.orders
    shopper = behind.shopper(funds=1000, threshold=1)
    waiting = till.pay(till.submitted(shopper))
    orders.lose_answers()
    behind.confirm(waiting.payment_id, waiting.amount, timeout=SHORT_S)
    wait_until(lambda: said(till.get(waiting)) == "PAID HAND_OVER_GOODS")
    assert behind.payment_states(waiting) == ["AUTHORIZED"]
    refund = till.refund(waiting, timeout=7)  # longer than the payment server waits before it says no
    assert refund_state(refund) == "PENDING"
    assert not refund.HasField("amount")
    orders.heal()
    wait_until(lambda: refund_state(till.get_refund(refund.refund_id)) == "DONE")
    assert till.get_refund(refund.refund_id).amount == gbp(TEA_MINOR)
    assert behind.wallet(shopper) == (1000, 0)


def test_a_payment_is_canceled_while_the_payment_server_is_away_and_stays_so(shaky: Shaky, behind: Behind) -> None:
    with shaky.till() as till:
        shopper = behind.shopper()
        pending = till.submitted(shopper)
        shaky.payments.lose_requests()
        paying = till.pay(pending, timeout=SHORT_S)
        assert said(paying) == "PAYING WAIT"
        freed = till.cancel_payment(paying)
        assert (said(freed), freed.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "PAYMENT_CANCELED")
        late = payments_api.CreatePaymentRequest(
            payment_id=paying.payment_id,
            order_id=paying.checkout_id,
            order_version=1,
            payer=payer(shopper),
            amount=paying.amount,
        )
        assert behind.payments.CreatePayment(late, timeout=DEADLINE_S).state == payment_pb2.Payment.STATE_VOIDED
        shaky.payments.heal()
        assert said(till.pay(till.add(freed, COFFEE))) == "PAID HAND_OVER_GOODS"
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR - 400, 0)


def test_a_cancellation_survives_the_till(shaky: Shaky, behind: Behind) -> None:
    with shaky.till() as till:
        waiting = till.pay(till.submitted(behind.shopper(threshold=1)))
        shaky.orders.lose_requests()
        assert said(till.cancel_payment(waiting, timeout=SHORT_S)) == "PAYING WAIT"
    shaky.server.kill()
    shaky.orders.heal()
    shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: said(till.get(waiting)) == "SUBMITTED SAFE_TO_RETRY")
        assert till.get(waiting).verdict_reason == "PAYMENT_CANCELED"
        wait_until(lambda: behind.payment_states(waiting) == ["VOIDED"])


def test_a_till_gives_up_by_itself_when_the_payment_server_stays_away(
    tmp_path: Path, order_service: Server, closed_port: str
) -> None:
    flags = terminal_flags(order_service.address, closed_port, "--payment-wait-s", "0.1")
    with running("store_terminal", tmp_path, *flags) as server, server.channel() as channel:
        ended = Till(channel).pay(Till(channel).submitted())
        assert (said(ended), ended.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "PAYMENT_TIMEOUT")


def test_sales_go_through_once_however_often_the_till_is_killed(shaky: Shaky, behind: Behind) -> None:
    shoppers = [behind.shopper(funds=10_000) for _ in range(6)]
    answers: list[checkout_pb2.Checkout] = []

    def insist(call: Callable[[Till], object]) -> checkout_pb2.Checkout:
        """Repeats a request until it is answered, as a till does whose server comes and goes."""
        answer: object = None

        def answered() -> bool:
            nonlocal answer
            with shaky.till() as till:
                answer = answer_or_none(partial(call, till))
            return answer is not None

        wait_until(answered)
        assert isinstance(answer, checkout_pb2.Checkout)
        answers.append(answer)
        return answer

    def buy(shopper: str) -> list[checkout_pb2.Checkout]:
        return [way(shopper) for way in (in_one_call, in_three_calls) for _ in range(2)]

    def in_one_call(shopper: str) -> checkout_pb2.Checkout:
        request = sale(shopper)
        return insist(lambda till: sell(till, request))

    def in_three_calls(shopper: str) -> checkout_pb2.Checkout:
        create_id, submit_id, pay_id = (new_request_id() for _ in range(3))
        basket = insist(lambda till: till.create(shopper, request_id=create_id))
        pending = insist(lambda till: till.submit(basket, submit_id))
        return insist(lambda till: till.pay(pending, pay_id))

    with ThreadPoolExecutor(len(shoppers)) as tills:
        buying = [tills.submit(buy, shopper) for shopper in shoppers]
        for kills in range(5):
            enough = 8 * (kills + 1)
            wait_until(lambda enough=enough: len(answers) >= enough)  # type: ignore[misc]
            shaky.server.kill()
            shaky.restart()
        sales = [checkout for future in buying for checkout in future.result()]
    with shaky.till() as till:
        wait_until(lambda: all(said(till.get(sold)) == "PAID HAND_OVER_GOODS" for sold in sales))
    assert [behind.payment_states(sold) for sold in sales] == [["CAPTURED"]] * 24
    assert [behind.wallet(shopper) for shopper in shoppers] == [(10_000 - 4 * TEA_MINOR, 0)] * 6
