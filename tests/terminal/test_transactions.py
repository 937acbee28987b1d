"""Pending transactions: the checkout and its order, which others may change as well."""

from pathlib import Path

from grpc import StatusCode

from tests.processes import DEADLINE_S, Server, running
from tests.terminal.shaky import Shaky
from tests.terminal.till import (
    COFFEE,
    TEA,
    TEA_MINOR,
    Behind,
    Till,
    gbp,
    goods,
    payer,
    refused,
    said,
    skus,
    state,
    steady,
    terminal_flags,
)
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.runtime.ids import new_request_id


def test_an_order_has_a_line(till: Till) -> None:
    with refused("CHECKOUT_EMPTY", StatusCode.FAILED_PRECONDITION):
        till.submit(till.create(lines=[]))
    pending = till.submitted()
    with refused("CHECKOUT_EMPTY", StatusCode.FAILED_PRECONDITION):
        till.remove(pending, 1)
    assert not till.get(pending).busy


def test_a_checkout_that_no_message_can_carry_is_refused_and_stays_usable(till: Till) -> None:
    wide = api.NewLine(sku="W", quantity=1, unit_price_minor=1, title="\u00e9" * 256)
    basket = till.create(lines=[wide] * 300)
    basket = till.add(basket, *[wide] * 300)
    with refused("CHECKOUT_TOO_LARGE", StatusCode.FAILED_PRECONDITION):
        till.submit(basket)
    with refused("CHECKOUT_TOO_LARGE", StatusCode.FAILED_PRECONDITION):
        till.add(basket, *[wide] * 400)
    assert till.get(basket).lines == basket.lines
    for line in basket.lines[:200]:
        basket = till.remove(basket, line.line_number)
    assert said(till.submit(basket)) == "SUBMITTED NOT_TRIED"


def test_a_checkout_is_submitted_once(till: Till, behind: Behind) -> None:
    basket, request_id = till.create(), new_request_id()
    assert state(till.submit(basket, request_id)) == "SUBMITTED"
    assert state(till.submit(basket, request_id)) == "SUBMITTED"
    with refused("CHECKOUT_SUBMITTED", StatusCode.FAILED_PRECONDITION):
        till.submit(basket)
    assert behind.order_events(basket) == ["CREATED"]


def test_an_order_is_changed_in_place_and_its_lines_keep_their_numbers(till: Till, behind: Behind) -> None:
    pending = till.submitted(lines=[TEA, TEA, COFFEE])
    changed = till.add(till.remove(pending, 1), TEA)
    assert skus(changed) == [(2, "TEA"), (3, "COFFEE"), (4, "TEA")]
    changed = till.update(changed, 2, price=1)
    assert skus(changed) == [(2, "TEA"), (3, "COFFEE"), (4, "TEA")]
    order = behind.order(pending)
    assert (order.order_id, order.version, order.amount) == (pending.checkout_id, 4, changed.amount)
    assert list(order.lines) == [line.item for line in changed.lines]
    assert steady(till.get(pending)) == steady(changed)
    assert till.events(pending) == ["OPENED", "SUBMITTED", *["CHANGED"] * 3]


def test_a_change_that_is_repeated_is_made_once(till: Till, behind: Behind) -> None:
    pending, request_id = till.submitted(), new_request_id()
    till.add(pending, COFFEE, request_id=request_id)
    assert skus(till.add(pending, COFFEE, request_id=request_id)) == [(1, "TEA"), (2, "COFFEE")]
    assert behind.order(pending).version == 2


def test_a_change_under_somebody_elses_lock_is_refused_with_its_holder(till: Till, behind: Behind) -> None:
    pending, request_id = till.submitted(behind.shopper(threshold=1)), new_request_id()
    phone = behind.pay_from_phone(pending)
    with refused("ORDER_LOCKED", StatusCode.FAILED_PRECONDITION, "order.tillmesh") as refusals:
        till.add(pending, COFFEE, request_id=request_id)
    assert refusals[0].metadata["payment_id"] == phone.payment_id
    assert refusals[0].retry_after_ms is None  # this id is refused for ever
    assert int(refusals[0].metadata["seconds_left"]) > 0
    told = till.get(pending)
    assert (told.lines, told.busy) == (pending.lines, False)
    till_says = till.pay(pending)
    assert (said(till_says), till_says.verdict_reason) == ("SUBMITTED WAIT", "ORDER_LOCKED")
    with refused("ORDER_LOCKED", StatusCode.FAILED_PRECONDITION, "order.tillmesh") as again:
        till.add(pending, COFFEE, request_id=request_id)
    assert again[0].text == refusals[0].text


def test_a_change_of_a_stale_copy_is_refused_and_the_copy_is_refreshed(till: Till, behind: Behind) -> None:
    pending = till.submitted(lines=[TEA, COFFEE])
    assert pending.basket_version == 1
    behind.change_order(pending, goods(400, 1, "COFFEE"), goods(125, 2), goods(75, 1, "CAKE"))
    with refused("VERSION_MISMATCH", StatusCode.ABORTED, "order.tillmesh"):
        till.remove(pending, 1)
    fresh = till.get(pending)
    assert (fresh.order_version, fresh.basket_version, fresh.amount) == (2, 2, gbp(725))
    assert [(number, sku) for number, sku in skus(fresh) if sku != "COFFEE"] == [(1, "TEA"), (4, "CAKE")]
    assert till.events(pending)[-2:] == ["REFUSED", "REFRESHED"]
    assert till.remove(fresh, 4).amount == gbp(650)


def test_a_change_of_an_order_that_was_paid_from_the_phone_shows_it_paid(till: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper())
    phone = behind.pay_from_phone(pending)
    with refused("ORDER_ALREADY_PAID", StatusCode.FAILED_PRECONDITION, "order.tillmesh"):
        till.add(pending, COFFEE)
    assert said(till.get(pending)) == "PAID HAND_OVER_GOODS"
    with refused("CHECKOUT_PAID", StatusCode.FAILED_PRECONDITION) as refusals:
        till.add(pending, COFFEE)
    assert refusals[0].metadata["payment_id"] == phone.payment_id
    assert phone.payment_id in till.receipt(pending).text.replace("\n", "")


def test_a_change_of_an_order_that_was_canceled_elsewhere_shows_it_canceled(till: Till, behind: Behind) -> None:
    pending = till.submitted()
    behind.cancel_order(pending)
    with refused("ORDER_CANCELED", StatusCode.FAILED_PRECONDITION, "order.tillmesh"):
        till.add(pending, COFFEE)
    assert said(till.get(pending)) == "CANCELED CLOSED"


def test_a_canceled_checkout_takes_its_order_along(till: Till, behind: Behind) -> None:
    pending, request_id = till.submitted(), new_request_id()
    assert said(till.cancel(pending, request_id)) == "CANCELED CLOSED"
    assert said(till.cancel(pending, request_id)) == "CANCELED CLOSED"
    assert behind.order(pending).state == order_pb2.Order.STATE_CANCELED


def test_a_cancellation_of_a_stale_copy_is_refused(till: Till, behind: Behind) -> None:
    pending = till.submitted()
    behind.change_order(pending, goods(1))
    with refused("VERSION_MISMATCH", StatusCode.ABORTED, "order.tillmesh"):
        till.cancel(pending)
    assert state(till.cancel(pending)) == "CANCELED"


def test_an_order_from_the_web_shop_is_taken_up_and_paid(till: Till, behind: Behind) -> None:
    shopper, request_id = behind.shopper(), new_request_id()
    order = behind.raise_order(shopper)
    taken = till.resume(order.order_id, request_id)
    assert (said(taken), taken.checkout_id, taken.order_version) == ("SUBMITTED NOT_TRIED", order.order_id, 1)
    assert (skus(taken), taken.amount) == ([(1, "TEA"), (2, "TEA")], gbp(1400))
    assert steady(till.resume(order.order_id, request_id)) == steady(taken)
    assert (dict(taken.labels), taken.prices_include_tax) == ({"basket": "web-7"}, True)
    assert said(till.pay(till.remove(taken, 1))) == "PAID HAND_OVER_GOODS"
    assert till.events(taken) == ["RESUMED", "CHANGED", "PAYMENT_STARTED", "PAID"]
    assert behind.wallet(shopper) == (100_000 - 700, 0)


def test_an_order_that_is_paid_or_canceled_already_is_taken_up_as_it_is(till: Till, behind: Behind) -> None:
    paid, gone = behind.raise_order(behind.shopper()), behind.raise_order("ada")
    behind.pay_from_phone(checkout_pb2.Checkout(checkout_id=paid.order_id))
    behind.cancel_order(checkout_pb2.Checkout(checkout_id=gone.order_id))
    assert said(till.resume(paid.order_id)) == "PAID HAND_OVER_GOODS"
    assert said(till.resume(gone.order_id)) == "CANCELED CLOSED"


def test_taking_up_what_the_till_has_brings_it_up_to_date(till: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper())
    behind.change_order(pending, goods(5))
    assert till.resume(pending.checkout_id).amount == gbp(5)
    behind.pay_from_phone(pending)
    assert said(till.resume(pending.checkout_id)) == "PAID HAND_OVER_GOODS"


def test_orders_of_other_stores_and_unknown_ones_are_not_taken_up(till: Till, behind: Behind) -> None:
    foreign = behind.raise_order("ada", store_id="store-2")
    with refused("ORDER_NOT_FOUND", StatusCode.NOT_FOUND):
        till.resume(foreign.order_id)
    with refused("ORDER_NOT_FOUND", StatusCode.NOT_FOUND, "order.tillmesh"):
        till.resume("0000-0000-0000")
    with refused("CHECKOUT_NOT_FOUND", StatusCode.NOT_FOUND):
        till.get(checkout_pb2.Checkout(checkout_id=foreign.order_id))


def test_pending_transactions_of_a_payer_in_this_store_are_listed(till: Till, behind: Behind) -> None:
    shopper = behind.shopper(threshold=1)
    open_, locked, paid = (till.submitted(shopper) for _ in range(3))
    web = behind.raise_order(shopper)
    behind.raise_order(shopper, store_id="store-2")
    till.pay(locked)
    behind.confirm(till.pay(paid).payment_id, paid.amount)
    seen: list[str] = []
    token = ""
    while True:
        request = api.ListPendingOrdersRequest(payer=payer(shopper), page_size=2, page_token=token)
        answer = till.service.ListPendingOrders(request, timeout=DEADLINE_S)
        seen += [order.order_id for order in answer.orders]
        token = answer.next_page_token
        if not token:
            break
    assert sorted(seen) == sorted([open_.checkout_id, locked.checkout_id, web.order_id])
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT):
        till.service.ListPendingOrders(api.ListPendingOrdersRequest(), timeout=DEADLINE_S)


def test_two_tills_that_pay_one_order_take_the_money_once(
    till: Till, behind: Behind, order_service: Server, payment_server: Server, tmp_path: Path
) -> None:
    flags = terminal_flags(order_service.address, payment_server.address)
    with running("tests.terminal.deaf", tmp_path, *flags) as second, second.channel() as channel:
        other, shopper = Till(channel), behind.shopper()
        mine = till.submitted(shopper)
        theirs = other.resume(mine.checkout_id)
        assert said(till.pay(mine)) == "PAID HAND_OVER_GOODS"
        assert said(other.pay(theirs)) == "PAID HAND_OVER_GOODS"
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_a_request_to_take_up_an_order_is_answered_from_its_id(shaky: Shaky, behind: Behind) -> None:
    order_id, request_id = behind.raise_order("ada").order_id, new_request_id()
    with shaky.till() as till:
        taken = till.resume(order_id, request_id)
        changed = till.add(taken, TEA)
        shaky.orders.lose_requests()
        assert steady(till.resume(order_id, request_id)) == steady(changed)
        with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
            till.resume("NO-SUCH", request_id)


def test_an_order_that_was_not_there_is_not_taken_up_later_under_the_same_id(till: Till) -> None:
    basket, request_id = till.create(), new_request_id()
    with refused("ORDER_NOT_FOUND", StatusCode.NOT_FOUND, "order.tillmesh"):
        till.resume(basket.checkout_id, request_id)
    till.submit(basket)
    with refused("ORDER_NOT_FOUND", StatusCode.NOT_FOUND, "order.tillmesh"):
        till.resume(basket.checkout_id, request_id)
    assert said(till.resume(basket.checkout_id)) == "SUBMITTED NOT_TRIED"
