"""`tillmesh explain`: what is due, who acts next and until when, and what paid an order."""

import json
import re
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tests.cli.command_line import Person, found
from tests.cli.test_commands import NOWHERE
from tests.cli.test_present import presented, raised, signed_in
from tests.processes import wait_until
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.cli.display import clock_times
from tillmesh.cli.order_outcome import next_step
from tillmesh.cli.order_records import OrderRecords
from tillmesh.cli.order_story import tell

Payment = payment_pb2.Payment
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+"
LOCK = rf"The lock lasts until {TIME} \(\d+ s\) at most\."


@pytest.fixture
def nell(person: Person) -> str:
    """A payer who confirms what is above 5 GBP."""
    person.does("identity", "nell", "--confirm-above", "5")
    person.does("deposit", "nell", "50")
    return "nell"


def ordered(person: Person, payer: str, *items: str) -> str:
    return found(r"Order (\S+):", person.does("sell", payer, *items))


def ends(person: Person, *arguments: str) -> list[str]:
    """The sentences below the timeline."""
    return [line for line in person.does("explain", *arguments).splitlines()[1:] if line and line[0] != " "]


def test_an_open_order_waits_for_a_payment(person: Person, nell: str) -> None:
    order_id = ordered(person, nell, "MUG@6.50")
    assert ends(person, order_id) == [
        "The order is OPEN at version 1, 6.50 GBP. No money has moved and none is held.",
        "6.50 GBP is due. Nobody has to act: the order waits for a payment.",
    ]
    assert re.match(rf"Order {order_id}, from {TIME}\n", person.does("explain", order_id))


def test_the_payer_has_to_confirm_until_the_time_that_is_told(person: Person, nell: str) -> None:
    order_id = ordered(person, nell, "MUG@6.50")
    payment_id = found(r"Payment (\S+) of", person.does("pay", order_id))
    waits = rf"Next, nell confirms on the phone, or keys in the PIN at the till, until {TIME} \(\d+ s\)\."
    assert re.fullmatch(rf"6\.50 GBP is due\. {waits} {LOCK}", ends(person, order_id)[-1])
    unknown = rf"Only the payment server knows what payment {payment_id[:8]} waits for\. {LOCK}"
    assert re.fullmatch(rf"6\.50 GBP is due\. {unknown}", ends(person, order_id, "--payments", NOWHERE)[-1])
    person.does("cancel", payment_id)
    assert ends(person, order_id)[-1].endswith("Nobody has to act: the order waits for a payment.")


def test_what_paid_is_named_with_who_asked_for_it_and_when(person: Person, nell: str) -> None:
    order_id = ordered(person, nell, "CARD@1.20")
    payment_id = found(r"Payment (\S+) of", person.does("pay", order_id))
    _, paid, due = ends(person, order_id)
    asked = r"asked for by platform/cli; this till did not ask for it"
    assert re.fullmatch(rf"Payment {payment_id} paid it at {TIME}, {asked}\.", paid)
    assert due == "Nothing is due."


def test_a_payment_that_this_till_asked_for_is_named_as_such(person: Person, nell: str) -> None:
    sale = json.loads(person.does("sell", nell, "CARD@1.20", "--pay", "--json"))
    order_id, payment_id = sale["checkout_id"], sale["payment_id"]
    person.does("confirm", payment_id)
    assert re.fullmatch(
        rf"Payment {payment_id} paid it at {TIME}, asked for by terminal/store-1/till-1\.", ends(person, order_id)[1]
    )


def test_an_order_that_a_phone_paid_says_so(person: Person) -> None:
    own, order_id = signed_in(person, "nora"), raised(person)
    person.does("phone", "claim", "-", *own, types=presented(person, order_id))
    person.does("phone", "pay", order_id, *own)
    _, paid, _ = ends(person, order_id)
    assert re.fullmatch(
        rf"Payment \S{{36}} paid it at {TIME}, asked for by phone/nora; this till did not ask for it\.", paid
    )


def test_a_full_refund_says_how_much_came_back(person: Person, nell: str) -> None:
    order_id = ordered(person, nell, "CARD@1.20")
    person.does("pay", order_id)
    wait_until(lambda: "HAND_OVER" in person.does("checkouts", "--json"))
    person.does("refund", order_id)
    wait_until(lambda: "nell paid 1.20 GBP to store-1 and has all 1.20 GBP back." in ends(person, order_id)[0])


def test_the_times_of_one_day_have_no_date_and_those_of_two_have_date_and_zone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, later = Timestamp(seconds=1_795_262_400, nanos=5_000_000), Timestamp(seconds=1_795_262_460)
    (time, _) = clock_times([first, later])
    assert re.fullmatch(r"\d\d:\d\d:00\.005", time)
    events = [
        order_pb2.OrderEvent(order_id="7K3M", type=order_pb2.OrderEvent.TYPE_CREATED, number=1, event_time=first),
        order_pb2.OrderEvent(
            order_id="7K3M",
            type=order_pb2.OrderEvent.TYPE_CANCELED,
            number=2,
            event_time=Timestamp(seconds=first.seconds + 86_400),
        ),
    ]
    tell(OrderRecords("7K3M", order_pb2.Order(order_id="7K3M", state=order_pb2.Order.STATE_CANCELED), events))
    lines = [line for line in capsys.readouterr().out.splitlines() if "order service" in line]
    assert len(lines) == 2
    assert all(re.match(r" +\d{4}-\d\d-\d\d \d\d:\d\d:00\.00[05] [A-Z]+ ", line) for line in lines)


@pytest.mark.parametrize(
    ("state", "does"),
    [
        (Payment.STATE_PENDING, "asks the payer or holds the money"),
        (Payment.STATE_AUTHORIZED, "lets the order decide, and asks again until it is answered"),
        (Payment.STATE_VOIDING, "unlocks the order, and asks again until it is answered"),
    ],
)
def test_what_the_payment_server_does_next_needs_nobody(state: Any, does: str) -> None:
    order = order_pb2.Order(order_id="7K3M", state=order_pb2.Order.STATE_LOCKED, payment_id="pay-1")
    order.amount.currency_code, order.amount.minor_units = "GBP", 650
    order.lease_remaining.seconds = 40
    story = OrderRecords("7K3M", order, payments=[Payment(payment_id="pay-1", state=state)])
    assert re.fullmatch(rf"6\.50 GBP is due\. Next, the payment server {does}, by itself\. {LOCK}", next_step(story))
