"""Each row of the table of simulated payers, played at a till: it ends as the table says."""

import math
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message

from tests.processes import DEADLINE_S, refusal_of
from tillmesh.api.sandbox.v1 import sandbox_service_pb2 as sandbox_api
from tillmesh.api.sandbox.v1.sandbox_service_pb2_grpc import SandboxServiceStub
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refunds_api
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from tillmesh.api.terminal.v1.till_refund_service_pb2_grpc import TillRefundServiceStub
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.auth.callers import Role
from tillmesh.runtime.ids import new_request_id
from tillmesh.sandbox.payers import BY_IDENTITY, PAYERS, PIN, By, Deed, SimulatedPayer
from tillmesh.sandbox.sandbox import Sandbox

pytestmark = pytest.mark.process

PRICE = 450
MUG = api.NewLine(sku="MUG", quantity=1, unit_price_minor=PRICE, title="Mug")
CALL_S = 20.0
LOOK_EVERY_S = 0.05
STILL_S = 4.0
"""The clock is moved once a verdict has stayed for so long: a payer who acts later acts after 3 seconds."""
STEP_S = 3
STEP_S_MAX = {"sandbox-orders-gone": 25}
"""Where the payment server has to give up before the till does."""
FINAL = ("HAND_OVER_GOODS", "CLOSED")
ROWS = [(payer, by) for payer in PAYERS for by in payer.by]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


class Till:
    """A till that repeats each request until it is answered."""

    def __init__(self, channel: grpc.Channel, control: SandboxServiceStub) -> None:
        self.checkouts = CheckoutServiceStub(channel)
        self.refunds = TillRefundServiceStub(channel)
        self.control = control
        self.unanswered = 0

    def ask(self, method: Any, request: Message) -> Any:
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                return method(request, timeout=CALL_S, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise
                self.unanswered += 1

    def sold(self, payer: SimulatedPayer, by: By) -> checkout_pb2.Checkout:
        """A pending order, and a payment of it by the payer unless the payer needs none."""
        create = api.CreateCheckoutRequest(request_id=new_request_id(), lines=[MUG], currency_code="GBP")
        if by is By.ID:
            create.identity_id = payer.identity_id
        basket = self.ask(self.checkouts.CreateCheckout, create)
        submit = api.SubmitCheckoutRequest(
            request_id=new_request_id(), checkout_id=basket.checkout_id, basket_version=basket.basket_version
        )
        submitted: checkout_pb2.Checkout = self.ask(self.checkouts.SubmitCheckout, submit)
        if payer.deed is Deed.PAID_BY_PHONE:
            return submitted
        pay = api.PayCheckoutRequest(
            payment_id=new_request_id(),
            checkout_id=submitted.checkout_id,
            order_version=submitted.order_version,
            amount=Money(currency_code="GBP", minor_units=PRICE),
            pay_code=self.code(payer) if by is By.CODE else "",
        )
        paid: checkout_pb2.Checkout = self.ask(self.checkouts.PayCheckout, pay)
        return paid

    def code(self, payer: SimulatedPayer) -> str:
        request = sandbox_api.ShowPayCodeRequest(identity_id=payer.identity_id)
        return str(self.control.ShowPayCode(request, timeout=CALL_S).pay_code)

    def read(self, checkout_id: str) -> checkout_pb2.Checkout:
        seen: checkout_pb2.Checkout = self.ask(
            self.checkouts.GetCheckout, api.GetCheckoutRequest(checkout_id=checkout_id)
        )
        return seen

    def until(
        self, checkout_id: str, *verdicts: str, step_s_max: float = math.inf
    ) -> tuple[checkout_pb2.Checkout, list[str]]:
        """The checkout once its verdict is one of these, and all on the way; the clock is moved past long waits."""
        end, seen, moved_at = time.monotonic() + DEADLINE_S, [""], time.monotonic()
        while time.monotonic() < end:
            checkout = self.read(checkout_id)
            if (verdict := verdict_of(checkout)) != seen[-1]:
                seen.append(verdict)
            if verdict in verdicts:
                return checkout, seen[1:]
            if time.monotonic() - moved_at > (STILL_S if step_s_max == math.inf else 2 * STILL_S):
                left_s = checkout.verdict_remaining.ToTimedelta().total_seconds()
                move_clock(self.control, min(step_s_max, max(STEP_S, left_s - STEP_S)))
                moved_at = time.monotonic()
            time.sleep(LOOK_EVERY_S)
        raise AssertionError(f"the verdicts of {checkout_id} were {seen}")


def verdict_of(checkout: checkout_pb2.Checkout) -> str:
    return checkout_pb2.Verdict.Name(checkout.verdict).removeprefix("VERDICT_")


def move_clock(control: SandboxServiceStub, seconds: float) -> int:
    request = sandbox_api.MoveClockRequest()
    request.by.FromTimedelta(timedelta(seconds=seconds))
    return int(control.MoveClock(request, timeout=CALL_S).now.ToMilliseconds())


@pytest.fixture(scope="module")
def till(sandbox: Sandbox) -> Iterator[Till]:
    files = sandbox.mesh.addresses.files(Role.DEVICE)
    assert files is not None
    with (
        files.open_blocking_channel(sandbox.mesh.addresses.terminal, Role.TERMINAL) as channel,
        grpc.insecure_channel(sandbox.address) as control,
    ):
        yield Till(channel, SandboxServiceStub(control))


@pytest.mark.parametrize(("payer", "by"), ROWS, ids=[f"{payer.identity_id}-{by}" for payer, by in ROWS])
def test_a_sale_ends_as_the_table_says(till: Till, payer: SimulatedPayer, by: By) -> None:
    checkout = till.sold(payer, by)
    if payer.pin:
        till.until(checkout.checkout_id, "ASK_PAYER")
        enter_pin(till, checkout, payer.pin)
        seen = ["ASK_PAYER"]
    else:
        seen = [verdict_of(checkout)]
    step_s_max = STEP_S_MAX.get(payer.identity_id, math.inf)
    ended, later = till.until(checkout.checkout_id, payer.verdict, step_s_max=step_s_max)
    reason = payer.by_code if by is By.CODE and payer.by_code else payer.reason
    assert ended.verdict_reason == reason
    assert not payer.meanwhile or payer.meanwhile in [*seen, *later]


def enter_pin(till: Till, checkout: checkout_pb2.Checkout, pin: str) -> None:
    request = api.EnterPinRequest(
        request_id=new_request_id(), checkout_id=checkout.checkout_id, amount=checkout.amount, pin=pin
    )
    till.ask(till.checkouts.EnterPin, request)


def test_a_pin_may_be_wrong_before_it_is_right(till: Till) -> None:
    checkout = till.sold(BY_IDENTITY["sandbox-pin"], By.ID)
    till.until(checkout.checkout_id, "ASK_PAYER")
    with pytest.raises(grpc.RpcError) as raised:
        enter_pin(till, checkout, "0852")
    assert refusal_of(raised.value).reason == "PIN_WRONG"
    enter_pin(till, checkout, PIN)
    till.until(checkout.checkout_id, "HAND_OVER_GOODS")


def test_the_refund_of_a_payment_that_was_given_back_is_refused(till: Till) -> None:
    checkout = till.sold(BY_IDENTITY["sandbox-refund-refused"], By.ID)
    till.until(checkout.checkout_id, "HAND_OVER_GOODS")
    request = refunds_api.RefundCheckoutRequest(refund_id=new_request_id(), checkout_id=checkout.checkout_id)
    with pytest.raises(grpc.RpcError) as raised:
        till.ask(till.refunds.RefundCheckout, request)
    assert refusal_of(raised.value).reason == "PAYMENT_ALREADY_REFUNDED"


def test_answers_are_lost_and_a_repeat_gets_them(till: Till) -> None:
    before = till.unanswered
    checkout = till.sold(BY_IDENTITY["sandbox-answer-lost"], By.ID)
    till.until(checkout.checkout_id, "HAND_OVER_GOODS")
    assert till.unanswered - before >= 3  # of creating, submitting and paying


def test_a_stream_that_is_cut_goes_on_by_its_cursor(till: Till) -> None:
    checkout = till.sold(BY_IDENTITY["sandbox-stream-cut"], By.ID)
    events: list[int] = []
    cursor, cuts = "oldest", 0
    while not events or events[-1] != checkout_pb2.CheckoutEvent.TYPE_PAID:
        request = api.WatchCheckoutsRequest(checkout_id=checkout.checkout_id, cursor=cursor)
        try:
            for answer in till.checkouts.WatchCheckouts(request, timeout=CALL_S):
                events += [update.event.type for update in answer.updates]
                cursor = answer.cursor
        except grpc.RpcError:
            cuts += 1
    assert cuts
    assert len(events) == len(set(events))
