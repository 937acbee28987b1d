"""A sale in one call."""

from grpc import StatusCode

from tests.processes import DEADLINE_S
from tests.terminal.phones import shopper_with_phone
from tests.terminal.sales import sale, sell
from tests.terminal.test_free import GIFT
from tests.terminal.till import COFFEE, TEA, TEA_MINOR, Behind, Till, gbp, goods, refused, said, state, steady
from tillmesh.api.terminal.v1 import catalogue_item_pb2, checkout_pb2
from tillmesh.api.terminal.v1 import catalogue_service_pb2 as catalogue_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.runtime.ids import new_request_id

ORDERS = "order.tillmesh"


def test_a_sale_is_one_call(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    request = sale(shopper, [TEA, COFFEE], gbp(650))
    sold = sell(till, request)
    assert (said(sold), sold.busy, sold.amount) == ("PAID HAND_OVER_GOODS", False, gbp(650))
    assert (sold.checkout_id, sold.payment_id) == (request.checkout_id, request.payment_id)
    assert sold.paid_by_payment_id == request.payment_id
    assert (dict(sold.labels), sold.lane, sold.cashier_id) == ({"table": "7"}, "lane-9", "c-17")
    assert behind.wallet(shopper) == (100_000 - 650, 0)
    assert behind.order_events(sold) == ["CREATED", "LOCKED", "PAID"]
    assert till.events(sold) == ["OPENED", "SUBMITTED", "PAYMENT_STARTED", "PAID"]
    assert [event.reference for event in till.history(sold)[2:]] == [request.payment_id] * 2
    assert len({event.trace_id for event in till.history(sold)}) == 1


def test_a_sale_by_pay_code(till: Till, behind: Behind) -> None:
    phone = shopper_with_phone(behind)
    request = sale("", code=phone.code())
    sold = sell(till, request)
    assert (said(sold), sold.payer_display_name) == ("PAID HAND_OVER_GOODS", "Ada")
    assert phone.identity_id not in str(sold)
    request.pay_code = ""  # a till that repeats what it stored has no code any more
    assert sell(till, request) == sold
    assert behind.wallet(phone.identity_id) == (1000 - TEA_MINOR, 0)


def test_a_sale_that_is_repeated_is_made_once(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    request = sale(shopper)
    assert sell(till, request) == sell(till, request)
    request.lane = "lane-1"
    with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
        sell(till, request)
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_what_comes_to_nothing_is_sold_without_a_payment(till: Till, behind: Behind) -> None:
    sold = sell(till, sale("", [GIFT], gbp(0)))
    assert (said(sold), sold.payment_id, sold.paid_by_payment_id) == ("PAID HAND_OVER_GOODS", "", "")
    assert behind.order_events(sold) == ["CREATED", "COMPLETED_FREE"]
    assert till.events(sold) == ["OPENED", "SUBMITTED", "PAID"]


def test_somebody_has_to_pay(till: Till) -> None:
    request = sale("")
    with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as seen:
        sell(till, request)
    assert [violation.field for violation in seen[0].violations] == ["pay_code"]
    with refused("CHECKOUT_NOT_FOUND", StatusCode.NOT_FOUND):
        till.get(checkout_pb2.Checkout(checkout_id=request.checkout_id))


def test_a_declined_sale_is_safe_to_retry_by_another_payment(till: Till, behind: Behind) -> None:
    request = sale("", code=shopper_with_phone(behind, funds=0).code())
    declined = sell(till, request)
    assert (said(declined), declined.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "INSUFFICIENT_FUNDS")
    assert said(till.pay(declined, code=shopper_with_phone(behind).code())) == "PAID HAND_OVER_GOODS"
    assert said(sell(till, request)) == "PAID HAND_OVER_GOODS"


def test_above_the_limit_the_shopper_is_asked(till: Till, behind: Behind) -> None:
    waiting = sell(till, sale(behind.shopper(threshold=1)))
    assert said(waiting) == "PAYING ASK_PAYER"
    behind.confirm(waiting.payment_id, waiting.amount)
    assert said(till.get(waiting)) == "PAID HAND_OVER_GOODS"


def test_a_price_that_changed_since_the_scan_is_shown_again_under_another_id(till: Till, behind: Behind) -> None:
    sku, shopper = new_request_id(), behind.shopper()

    def price(minor: int) -> None:
        item = catalogue_item_pb2.CatalogueItem(sku=sku, title="Mug", unit_price=gbp(minor))
        request = catalogue_api.ImportCatalogueItemsRequest(request_id=new_request_id(), items=[item])
        till.catalogue.ImportCatalogueItems(request, timeout=DEADLINE_S)

    price(500)
    mug = api.NewLine(sku=sku, quantity=2)
    request = sale(shopper, [mug], gbp(1000))
    price(600)
    with refused("AMOUNT_MISMATCH", StatusCode.ABORTED) as seen:
        sell(till, request)
    assert "12.00 GBP, not to 10.00 GBP" in seen[0].text
    price(500)
    with refused("AMOUNT_MISMATCH", StatusCode.ABORTED):  # a copy that comes late sells nothing
        sell(till, request)
    with refused("CHECKOUT_NOT_FOUND", StatusCode.NOT_FOUND):
        till.get(checkout_pb2.Checkout(checkout_id=request.checkout_id))
    again = sale(shopper, [mug], gbp(1000), payment_id=request.payment_id)
    assert said(sell(till, again)) == "PAID HAND_OVER_GOODS"


def test_what_is_wrong_with_a_sale_leaves_nothing_behind(till: Till) -> None:
    unknown = sale(lines=[api.NewLine(sku="NO-SUCH", quantity=1)])
    with refused("ITEM_NOT_FOUND", StatusCode.NOT_FOUND):
        sell(till, unknown)
    same = sale(checkout_id="ONE-ID", payment_id="ONE-ID")
    empty = sale(lines=[])
    for request, field in ((same, "payment_id"), (empty, "lines")):
        with refused("INVALID_FIELD", StatusCode.INVALID_ARGUMENT) as seen:
            sell(till, request)
        assert [violation.field for violation in seen[0].violations] == [field]
    for request in (unknown, same, empty):
        with refused("CHECKOUT_NOT_FOUND", StatusCode.NOT_FOUND):
            till.get(checkout_pb2.Checkout(checkout_id=request.checkout_id))


def test_an_order_that_exists_elsewhere_is_not_sold(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    foreign = behind.raise_order(shopper)
    request = sale(shopper, checkout_id=foreign.order_id)
    for _ in range(2):
        with refused("ORDER_EXISTS", StatusCode.ALREADY_EXISTS, ORDERS):
            sell(till, request)
    basket = till.get(checkout_pb2.Checkout(checkout_id=foreign.order_id))
    assert (said(basket), basket.busy, basket.payment_id) == ("BASKET NOT_TRIED", False, "")
    assert till.events(basket) == ["OPENED", "REFUSED"]
    assert behind.payment_states(basket) == []
    assert behind.order_events(basket) == ["CREATED"]
    assert state(till.cancel(basket)) == "CANCELED"
    assert behind.wallet(shopper) == (100_000, 0)


def test_an_id_is_of_one_checkout(till: Till, behind: Behind) -> None:
    basket, shopper = till.create(), behind.shopper()
    with refused("CHECKOUT_EXISTS", StatusCode.ALREADY_EXISTS):
        sell(till, sale(shopper, checkout_id=basket.checkout_id))
    assert steady(till.get(basket)) == steady(basket)
    sold = sell(till, sale(shopper))
    with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
        sell(till, sale(shopper, checkout_id=sold.checkout_id))


def test_a_payment_id_that_was_used_before_sells_nothing(till: Till, behind: Behind) -> None:
    shopper, used = behind.shopper(), new_request_id()
    till.pay(till.submitted(shopper), used)
    sold = sell(till, sale(shopper))
    for payment_id in (used, sold.payment_id, sold.checkout_id):
        with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
            sell(till, sale(shopper, payment_id=payment_id))
    with refused("REQUEST_ID_REUSED", StatusCode.ALREADY_EXISTS):
        till.pay(till.submitted(shopper), sold.payment_id)
    assert behind.wallet(shopper) == (100_000 - 2 * TEA_MINOR, 0)


def test_a_payment_id_of_another_till_ends_the_payment_and_not_the_sale(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    web = behind.pay_from_phone(checkout_pb2.Checkout(checkout_id=behind.raise_order(shopper).order_id))
    ended = sell(till, sale(shopper, payment_id=web.payment_id))
    assert (said(ended), ended.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "REQUEST_ID_REUSED")
    assert said(till.pay(ended)) == "PAID HAND_OVER_GOODS"


def test_an_exchange_names_a_refund_of_this_till(till: Till, behind: Behind) -> None:
    shopper = behind.shopper()
    refund = till.refund(till.pay(till.submitted(shopper)))
    returned = till.give_back(shopper, goods(30))
    sold = sell(till, sale(shopper, exchanged=refund.refund_id))
    assert sold.exchanged_refund_id == till.get(sold).exchanged_refund_id == refund.refund_id
    create = api.CreateCheckoutRequest(request_id=new_request_id(), lines=[TEA], exchanged_refund_id=returned.refund_id)
    assert till.service.CreateCheckout(create, timeout=DEADLINE_S).exchanged_refund_id == returned.refund_id
    create = api.CreateCheckoutRequest(request_id=new_request_id(), lines=[TEA], exchanged_refund_id="NO-SUCH")
    with refused("REFUND_NOT_FOUND", StatusCode.NOT_FOUND):
        till.service.CreateCheckout(create, timeout=DEADLINE_S)
    with refused("REFUND_NOT_FOUND", StatusCode.NOT_FOUND):
        sell(till, sale(shopper, exchanged="NO-SUCH"))
