"""A checkout is put aside, and taken up again: at this terminal, or at another one of the store."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
import pytest
from grpc import StatusCode

from tests.processes import DEADLINE_S, Server, running, wait_until
from tests.terminal.parked import park, parked_ids, recall
from tests.terminal.shaky import Shaky
from tests.terminal.till import (
    TEA,
    TEA_MINOR,
    Behind,
    Till,
    goods,
    payer,
    refused,
    said,
    skus,
    state,
    steady,
    terminal_flags,
)
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.runtime.clock import HOUR_MS
from tillmesh.runtime.ids import new_request_id

PARKED, PRECONDITION = "CHECKOUT_PARKED", StatusCode.FAILED_PRECONDITION


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory, order_service: Server, payment_server: Server) -> Iterator[Till]:
    """Another terminal of the same store."""
    flags = terminal_flags(order_service.address, payment_server.address, "--terminal-id", "till-2")
    with (
        running("tests.terminal.deaf", tmp_path_factory.mktemp("second"), *flags) as server,
        server.channel() as channel,
    ):
        yield Till(channel)


def test_a_basket_that_is_parked_is_an_order_with_owner_label_and_expiry(till: Till, behind: Behind) -> None:
    parked = park(till, till.create(behind.shopper(), cashier_id="c-17"), label="table 4")
    assert said(parked) == "SUBMITTED NOT_TRIED"
    assert (parked.parking.owner, parked.parking.label) == ("c-17", "table 4")
    kept_ms = parked.parking.expire_time.ToMilliseconds() - parked.parking.park_time.ToMilliseconds()
    assert kept_ms == 24 * HOUR_MS
    assert behind.order(parked).amount.minor_units == TEA_MINOR
    assert till.events(parked) == ["OPENED", "PARKED", "SUBMITTED"]
    assert steady(till.get(parked)) == steady(parked)
    assert park(till, till.create(cashier_id="c-17"), owner="Zoë").parking.owner == "Zoë"


def test_what_is_parked_is_neither_changed_nor_paid_until_it_is_recalled(till: Till, behind: Behind) -> None:
    parked = park(till, till.submitted(behind.shopper()))
    changes: list[Callable[[checkout_pb2.Checkout], object]] = [
        *(till.add_tea, till.pay, partial(park, till)),
        lambda checkout: till.update(checkout, 1, quantity=1),
        lambda checkout: till.remove(checkout, 1),
        lambda checkout: till.adjust(checkout, -1),
    ]
    for change in changes:
        with refused(PARKED, PRECONDITION):
            change(parked)
    assert steady(till.get(parked)) == steady(parked)
    recalled = recall(till, parked)
    assert not recalled.HasField("parking")
    assert till.events(recalled) == ["OPENED", "SUBMITTED", "PARKED", "RECALLED"]
    assert said(till.pay(till.add_tea(recalled))) == "PAID HAND_OVER_GOODS"


def test_only_what_is_open_and_as_it_was_read_is_parked(till: Till, behind: Behind) -> None:
    paid = till.pay(till.submitted(behind.shopper()))
    canceled, empty, changed = till.cancel(till.create()), till.create(lines=[]), till.create()
    till.add_tea(changed)
    for checkout, reason, code in (
        (paid, "CHECKOUT_PAID", PRECONDITION),
        (canceled, "CHECKOUT_CANCELED", PRECONDITION),
        (empty, "CHECKOUT_EMPTY", PRECONDITION),
        (changed, "BASKET_VERSION_MISMATCH", StatusCode.ABORTED),
        (
            checkout_pb2.Checkout(checkout_id="0000-0000-0000", basket_version=1),
            "CHECKOUT_NOT_FOUND",
            StatusCode.NOT_FOUND,
        ),
    ):
        with refused(reason, code):
            park(till, checkout)
    assert not till.get(empty).HasField("parking")
    for text in ("x" * 65, "a\nb"):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as refusals:
            park(till, till.create(), label=text, owner=text)
        assert [violation.field for violation in refusals[0].violations] == ["owner", "label"]


def test_what_waits_for_its_payer_is_not_parked(till: Till, behind: Behind) -> None:
    asking = till.submitted(behind.shopper(threshold=0))
    paying = till.pay(asking)
    assert state(paying) == "PAYING"
    with refused("PAYMENT_UNDER_WAY", PRECONDITION):
        park(till, paying)
    till.cancel_payment(paying)


def test_what_is_not_parked_is_not_recalled(till: Till, behind: Behind) -> None:
    for checkout in (till.create(), till.submitted(), till.pay(till.submitted(behind.shopper()))):
        with refused("CHECKOUT_NOT_PARKED", PRECONDITION):
            recall(till, checkout)
    with refused("CHECKOUT_NOT_FOUND", StatusCode.NOT_FOUND):
        recall(till, checkout_pb2.Checkout(checkout_id="0000-0000-0000"))


def test_of_two_who_recall_it_one_does_and_its_repeat_gets_the_checkout(till: Till) -> None:
    parked, ids = park(till, till.create()), [new_request_id() for _ in range(8)]

    def try_it(request_id: str) -> str:
        try:
            recall(till, parked, request_id)
        except grpc.RpcError:
            return ""
        return request_id

    with ThreadPoolExecutor(len(ids)) as callers:
        (winner,) = filter(None, callers.map(try_it, ids))
    again = park(till, till.get(parked))
    assert steady(recall(till, parked, winner)) == steady(again)
    for loser in set(ids) - {winner}:
        with refused("CHECKOUT_NOT_PARKED", PRECONDITION):
            recall(till, parked, loser)
    assert till.events(parked).count("RECALLED") == 1


def test_a_repeated_park_parks_once(till: Till, behind: Behind) -> None:
    basket, request_id = till.create(), new_request_id()
    parked = park(till, basket, request_id=request_id)
    recalled = recall(till, parked)
    assert steady(park(till, basket, request_id=request_id)) == steady(recalled)
    assert behind.order_events(parked) == ["CREATED"]
    with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
        park(till, basket, label="table 5", request_id=request_id)


def test_parked_checkouts_are_listed_also_by_payer_and_lane(till: Till) -> None:
    who = f"who-{new_request_id()}"
    first, second, recalled, other = (till.create(who, lane=f"lane-{number}") for number in (1, 2, 1, 1))
    park(till, first)
    park(till, second)
    recall(till, park(till, recalled))
    mine = parked_ids(till, payer=payer(who))
    assert mine == [second.checkout_id, first.checkout_id]
    assert parked_ids(till, payer=payer(who), lane="lane-1") == [first.checkout_id]
    assert set(mine) <= set(parked_ids(till))
    assert other.checkout_id not in parked_ids(till)
    request = api.ListCheckoutsRequest(payer=payer(who))
    assert len(till.service.ListCheckouts(request, timeout=DEADLINE_S).checkouts) == 4


def test_what_is_canceled_is_no_longer_parked(till: Till, behind: Behind) -> None:
    gone = till.cancel(park(till, till.create()))
    assert (said(gone), gone.HasField("parking")) == ("CANCELED CLOSED", False)
    assert gone.checkout_id not in parked_ids(till)
    assert behind.order_events(gone) == ["CREATED", "CANCELED"]


def test_a_phone_pays_what_is_parked(till: Till, behind: Behind) -> None:
    parked = park(till, till.create(behind.shopper()))
    behind.pay_from_phone(parked)
    paid = till.get(parked)
    assert (said(paid), paid.HasField("parking")) == ("PAID HAND_OVER_GOODS", False)
    with refused("CHECKOUT_NOT_PARKED", PRECONDITION):
        recall(till, paid)


def test_an_order_that_is_refused_leaves_a_basket_that_is_not_parked(till: Till, behind: Behind) -> None:
    basket = till.create()
    taken = orders_api.CreateOrderRequest(
        request_id=new_request_id(),
        order_id=basket.checkout_id,
        store_id="store-2",
        payer=payer("ada"),
        currency_code="GBP",
        lines=[goods(1)],
        prices_include_tax=True,
    )
    behind.orders.CreateOrder(taken, timeout=DEADLINE_S)
    with refused("ORDER_EXISTS", StatusCode.ALREADY_EXISTS, "order.tillmesh"):
        park(till, basket)
    left = till.get(basket)
    assert (said(left), left.HasField("parking")) == ("BASKET NOT_TRIED", False)
    assert till.events(left) == ["OPENED", "PARKED", "REFUSED"]
    assert skus(till.add(left, TEA)) == [(1, "TEA"), (2, "TEA")]


def test_a_parked_basket_becomes_an_order_after_a_crash_and_is_recalled_meanwhile(shaky: Shaky, behind: Behind) -> None:
    shaky.orders.lose_requests()
    with shaky.till() as till:
        parked, other = till.create(), till.create()
        for basket in (parked, other):
            with pytest.raises(grpc.RpcError):
                park(till, basket, timeout=0.5)
        with refused(PARKED, PRECONDITION):
            till.add(other, TEA)
        recalled = recall(till, other)
        assert (state(recalled), recalled.busy) == ("BASKET", True)
        with refused("CHECKOUT_BUSY", PRECONDITION):
            till.add(recalled, TEA)
    shaky.server.kill()
    shaky.orders.heal()
    shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: state(till.get(parked)) == state(till.get(other)) == "SUBMITTED")
        assert (till.get(parked).parking.label, till.get(other).HasField("parking")) == ("table 4", False)
    assert behind.order_events(parked) == behind.order_events(other) == ["CREATED"]


def test_another_terminal_takes_up_what_was_parked_and_the_first_one_learns_what_became_of_it(
    till: Till, second: Till, behind: Behind
) -> None:
    parked = park(till, till.create(behind.shopper()))
    taken = second.resume(parked.checkout_id)
    assert not taken.HasField("parking")
    changed = second.add_tea(taken)
    wait_until(lambda: till.get(parked).amount == changed.amount)
    seen = till.get(parked)
    assert (seen.order_version, seen.parking.label, till.events(parked)[-1]) == (2, "table 4", "REFRESHED")
    assert said(second.pay(changed)) == "PAID HAND_OVER_GOODS"
    wait_until(lambda: said(till.get(parked)) == "PAID HAND_OVER_GOODS")
    assert not till.get(parked).HasField("parking")
    assert parked.checkout_id not in parked_ids(till)


def test_the_first_terminal_recalls_it_too_and_one_of_them_is_paid(till: Till, second: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    parked = park(till, till.create(shopper))
    theirs, mine = second.resume(parked.checkout_id), recall(till, parked)
    assert said(second.pay(theirs)) == "PAID HAND_OVER_GOODS"
    assert said(till.pay(mine)) == "PAID HAND_OVER_GOODS"
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_nobody_else_learns_where_it_is_put_aside(till: Till, behind: Behind) -> None:
    parked = park(till, till.create(labels={"basket": "7"}), label="by the window", owner="Zoë")
    order = behind.order(parked)
    assert "window" not in str(order) + str(till.history(parked))
    assert dict(order.labels) == {"basket": "7"}
