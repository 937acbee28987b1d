"""Refunds at any terminal of the store: by transaction number, or by the code of a receipt."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc import StatusCode

from tests.processes import Server, refusal_of, running
from tests.terminal.sales import outcome, refund_by_name, sale, sell, void
from tests.terminal.till import COFFEE, TEA, TEA_MINOR, Behind, Till, gbp, refund_state, refused, said, terminal_flags
from tillmesh import receipt_code
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.runtime.ids import new_request_id

SPENT = ("REFUND_EXCEEDS_LINE", "PAYMENT_ALREADY_REFUNDED")
BOTH = TEA_MINOR + 400


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, order_service: Server, payment_server: Server) -> Iterator[Till]:
    flags = terminal_flags(order_service.address, payment_server.address, "--terminal-id", "till-2")
    with (
        running("tests.terminal.deaf", tmp_path_factory.mktemp("other"), *flags) as server,
        server.channel() as channel,
    ):
        yield Till(channel)


def code_of(checkout: checkout_pb2.Checkout, events: int = 4, terminal_id: str = "till-1") -> str:
    """A receipt's code, made up."""
    return receipt_code.make(checkout.checkout_id, terminal_id, events, bytes(32))


def test_an_order_of_another_till_is_refunded_by_its_number(till: Till, other: Till, behind: Behind) -> None:
    shopper, refund_id = behind.shopper(), new_request_id()
    sold = sell(till, sale(shopper, [TEA, COFFEE], gbp(BOTH)))
    part = refund_by_name(other, sold.checkout_id, gbp(100))
    assert (refund_state(part), part.amount) == ("DONE", gbp(100))
    lines = other.get(sold).lines
    assert [(line.line_number, line.item.sku) for line in lines] == [(1, "TEA"), (2, "COFFEE")]
    tea = refund_by_name(other, sold.checkout_id, lines={1: 1})
    assert [(item.sku, item.quantity) for item in tea.lines] == [("TEA", 1)]
    for _ in range(2):
        rest = refund_by_name(other, sold.checkout_id, refund_id=refund_id)
        assert rest.amount == gbp(BOTH - 100 - tea.amount.minor_units)
    assert behind.wallet(shopper) == (100_000, 0)
    assert other.events(sold) == ["RESUMED", *["REFUND_STARTED", "REFUNDED"] * 3]


def test_lines_of_another_till_have_the_numbers_that_this_one_shows(till: Till, other: Till, behind: Behind) -> None:
    shopper, cake = behind.shopper(), api.NewLine(sku="CAKE", quantity=1, unit_price_minor=300, title="Cake")
    basket = till.remove(till.create(shopper, [TEA, COFFEE, cake]), 2)
    mine = till.pay(till.submit(basket))
    assert [(line.line_number, line.item.sku) for line in mine.lines] == [(1, "TEA"), (3, "CAKE")]
    shown = other.resume(mine.checkout_id)
    assert [(line.line_number, line.item.sku) for line in shown.lines] == [(1, "TEA"), (2, "CAKE")]
    with refused("LINE_NOT_FOUND", StatusCode.NOT_FOUND):
        refund_by_name(other, mine.checkout_id, lines={3: 1})
    back = refund_by_name(other, mine.checkout_id, lines={2: 1})
    assert ([item.sku for item in back.lines], back.amount) == (["CAKE"], gbp(300))
    with refused("REFUND_EXCEEDS_LINE", StatusCode.FAILED_PRECONDITION, "payment.tillmesh"):
        refund_by_name(till, mine.checkout_id, lines={3: 1})
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_a_sale_moves_to_another_till_once_it_is_undone(till: Till, other: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    request = sale(shopper)
    sell(till, request)
    with refused("ORDER_EXISTS", StatusCode.ALREADY_EXISTS, "order.tillmesh"):  # it is the till's own
        sell(other, request)
    assert outcome(void(till, request.checkout_id)) == "REFUNDED"
    assert said(sell(other, sale(shopper))) == "PAID HAND_OVER_GOODS"
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_what_another_till_sold_since_it_was_put_here_is_refunded_here(till: Till, other: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    mine = till.submitted(shopper)
    other.pay(other.resume(mine.checkout_id))
    assert refund_by_name(till, mine.checkout_id).amount == gbp(TEA_MINOR)
    assert behind.wallet(shopper) == (100_000, 0)


def test_every_till_prints_when_it_was_paid_and_its_own_refunds(till: Till, other: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper())
    paid = other.pay(other.resume(pending.checkout_id))
    refund_by_name(other, paid.checkout_id, gbp(50))
    receipt = till.receipt(till.get(pending))
    assert receipt.receipt_time == behind.order(paid).update_time
    assert receipt.receipt_time.ToMilliseconds() <= other.receipt(paid).receipt_time.ToMilliseconds()
    assert (len(receipt.refunds), len(other.receipt(paid).refunds)) == (0, 1)


def test_two_tills_at_once_give_no_piece_back_twice(till: Till, other: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    sold = [sell(till, sale(shopper, [TEA, COFFEE], gbp(BOTH))) for _ in range(4)]

    def bring(number: int) -> int:
        try:
            refund = refund_by_name((till, other)[number % 2], sold[number // 2].checkout_id, lines={1: 2, 2: 1})
        except grpc.RpcError as error:
            if refusal_of(error).reason not in SPENT:
                raise
            return 0
        return refund.amount.minor_units

    with ThreadPoolExecutor(8) as callers:
        amounts = list(callers.map(bring, range(8)))
    assert sorted(amounts) == [0] * 4 + [BOTH] * 4
    assert behind.wallet(shopper) == (100_000, 0)


def test_a_sale_that_another_till_has_made_already_is_that_one(till: Till, other: Till, behind: Behind) -> None:
    """A cash register that asks another terminal to make the same sale: its copy is no basket that hides the order."""
    shopper = behind.shopper()
    for undo in (False, True):
        request = sale(shopper, [TEA, COFFEE], gbp(BOTH))
        sold = sell(other, request)
        for _ in range(2):
            with refused("ORDER_EXISTS", StatusCode.ALREADY_EXISTS, "order.tillmesh"):
                sell(till, request)
        copy = till.get(sold)
        assert (said(copy), copy.verdict_reason) == ("PAID HAND_OVER_GOODS", "PAID_BY_ANOTHER_PAYMENT")
        assert behind.payment_states(sold) == ["CAPTURED"]
        if undo:
            assert outcome(void(till, sold.checkout_id)) == "REFUNDED"
        else:
            assert refund_by_name(till, sold.checkout_id).amount == gbp(BOTH)
    assert behind.wallet(shopper) == (100_000, 0)


def test_another_sale_of_the_same_number_is_left_alone(till: Till, other: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    mine = sell(other, sale(shopper))
    with refused("ORDER_EXISTS", StatusCode.ALREADY_EXISTS, "order.tillmesh"):
        sell(till, sale(shopper, [COFFEE], gbp(400), checkout_id=mine.checkout_id))
    assert said(till.get(mine)) == "BASKET NOT_TRIED"
    assert outcome(void(till, mine.checkout_id)) == "CANCELED"
    assert said(other.get(mine)) == "PAID HAND_OVER_GOODS"
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_an_order_of_another_till_is_undone_by_two_at_once(till: Till, other: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    sold, pending = sell(till, sale(shopper)), till.submitted(shopper)
    for checkout, end in ((sold, "REFUNDED"), (pending, "CANCELED")):
        with ThreadPoolExecutor(2) as callers:
            undone = list(callers.map(lambda each, number=checkout.checkout_id: void(each, number), (till, other)))
        assert [outcome(answer) for answer in undone] == [end] * 2
    assert behind.wallet(shopper) == (100_000, 0)


def test_a_receipts_code_names_its_order(till: Till, other: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    sold, pending = sell(till, sale(shopper)), till.submitted(shopper)
    assert other.resume(code_of(pending)).checkout_id == pending.checkout_id
    assert refund_by_name(other, code_of(sold), gbp(1)).checkout_id == sold.checkout_id
    assert void(other, code_of(sold)).refunded == gbp(TEA_MINOR - 1)
    for text in ("TILLMESH1/no", code_of(sold) + "0", ""):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as seen:
            refund_by_name(other, text)
        assert [violation.field for violation in seen[0].violations] == ["checkout_id"]


def test_a_code_that_fits_no_history_of_this_till_is_refused(till: Till, other: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    sold = sell(till, sale(shopper))
    events = len(till.history(sold))
    calls = (lambda code: refund_by_name(till, code), lambda code: void(till, code), till.resume)
    for code in (code_of(sold, events), code_of(sold, events + 1)):
        for call in calls:
            with refused("RECEIPT_CODE_MISMATCH", StatusCode.INVALID_ARGUMENT):
                call(code)
    assert till.events(sold)[-1] == "PAID"
    assert said(till.resume(code_of(sold, 1))) == "PAID HAND_OVER_GOODS"  # as a till of the same name prints it
    assert said(till.resume(code_of(sold, events, "till-2"))) == "PAID HAND_OVER_GOODS"
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_an_order_that_is_not_there_or_not_paid_is_not_refunded(other: Till, behind: Behind) -> None:
    refund_id = new_request_id()
    for _ in range(2):
        with refused("ORDER_NOT_FOUND", StatusCode.NOT_FOUND, "order.tillmesh"):
            refund_by_name(other, "0000-0000-0000", refund_id=refund_id)
    with refused("ORDER_NOT_FOUND", StatusCode.NOT_FOUND):
        refund_by_name(other, behind.raise_order("ada", store_id="store-2").order_id)
    pending = behind.raise_order("ada").order_id
    with refused("CHECKOUT_NOT_PAID", StatusCode.FAILED_PRECONDITION):
        refund_by_name(other, pending)
