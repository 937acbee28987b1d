"""A store touches its own records only, and learns nothing of another's; each gets its own work done."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.message import Message

from tests.processes import DEADLINE_S, refusal_of, wait_until
from tests.terminal.till import TEA_MINOR, Behind, Till, gbp, goods, payer, refund_state, said, steady
from tests.trust.certified import ACCESS, ALL, DEVICE, HERE, THERE, TILL, Shops, call, methods_of, refusal
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceStub
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as terminal_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.auth.callers import Role
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

STATE = payment_pb2.Payment.State
CREATED = order_pb2.OrderEvent.TYPE_CREATED


class Caller(NamedTuple):
    """What somebody with a certificate can call directly."""

    behind: Behind
    refunds: Any

    def pay(self, order: order_pb2.Order, payment_id: str = "") -> payment_pb2.Payment:
        return self.behind.payments.CreatePayment(payment_of(order, payment_id), timeout=DEADLINE_S)

    def pay_with_consent(self, shops: Shops, order: order_pb2.Order, payment_id: str = "") -> payment_pb2.Payment:
        """A till asks, and the shopper says yes to it through the platform."""
        waiting = self.pay(order, payment_id)
        assert waiting.state == STATE.STATE_AWAITING_PAYER
        return shops.platform.confirm(waiting.payment_id, waiting.amount, waiting.store_id)


def paid(shops: Shops, till: Till, checkout: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
    """A checkout that its shopper said yes to."""
    payment_id = new_request_id()
    assert said(till.pay(checkout, payment_id)) == "PAYING ASK_PAYER"
    shops.platform.confirm(payment_id, checkout.amount, checkout.store_id)
    wait_until(lambda: said(till.get(checkout)) == "PAID HAND_OVER_GOODS")
    return till.get(checkout)


def caller(shops: Shops, role: Role, *names: str) -> Caller:
    folder = shops.authority.folder_of(role, *names)
    return Caller(shops.behind(folder), RefundServiceStub(shops.channel(Role.PAYMENTS, folder)))


def payment_of(order: order_pb2.Order, payment_id: str = "") -> payments_api.CreatePaymentRequest:
    """The payment of an order as it is, with the right version and amount."""
    return payments_api.CreatePaymentRequest(
        payment_id=payment_id or new_request_id(),
        order_id=order.order_id,
        order_version=order.version,
        payer=order.payer,
        amount=order.amount,
    )


def refund_of(payment_id: str, amount: Money | None = None) -> refunds_api.RefundPaymentRequest:
    return refunds_api.RefundPaymentRequest(refund_id=new_request_id(), payment_id=payment_id, amount=amount)


@dataclass(frozen=True)
class Theirs:
    """Records of the other store; or their names alone, where there are none."""

    store: str
    shopper: str
    open_order: str
    paid_order: str
    captured: str
    waiting: str
    """A payment that waits for its payer."""
    refund: str


NOBODYS = Theirs("store-z", "nobody", "none", "none", "none", "none", "none")


@pytest.fixture(scope="session")
def theirs(shops: Shops) -> Theirs:
    """A pending, a locked and a paid order of the other store, with payments and a refund."""
    platform, till = caller(shops, Role.PLATFORM, ALL), caller(shops, Role.TERMINAL, THERE, TILL)
    shopper = platform.behind.shopper()
    open_order = till.behind.raise_order(shopper, THERE)
    captured = till.pay_with_consent(shops, till.behind.raise_order(shopper, THERE))
    waiting = till.pay(till.behind.raise_order(platform.behind.shopper(), THERE))
    assert (captured.state, waiting.state) == (STATE.STATE_CAPTURED, STATE.STATE_AWAITING_PAYER)
    refund = till.refunds.RefundPayment(refund_of(captured.payment_id, gbp(100)), timeout=DEADLINE_S)
    return Theirs(
        THERE,
        shopper,
        open_order.order_id,
        captured.order_id,
        captured.payment_id,
        waiting.payment_id,
        refund.refund_id,
    )


def without_clock(payment: payment_pb2.Payment) -> payment_pb2.Payment:
    """A payment without what runs down by itself."""
    payment.ClearField("confirm_remaining")
    return payment


def evidence(shops: Shops, theirs: Theirs) -> list[object]:
    """What must not change by what another store tries."""
    behind = caller(shops, Role.PLATFORM, ALL).behind
    orders = [orders_api.GetOrderRequest(order_id=each) for each in (theirs.open_order, theirs.paid_order)]
    payments = [payments_api.GetPaymentRequest(payment_id=each) for each in (theirs.captured, theirs.waiting)]
    refunds = RefundServiceStub(shops.channel(Role.PAYMENTS, shops.authority.folder_of(Role.PLATFORM, ALL)))
    return [
        *map(behind.orders.GetOrder, orders),
        *(without_clock(behind.payments.GetPayment(each)) for each in payments),
        behind.orders.ListOrders(orders_api.ListOrdersRequest(payer=payer(theirs.shopper))),
        refunds.ListRefunds(refunds_api.ListRefundsRequest(payer=payer(theirs.shopper))),
        behind.wallet(theirs.shopper),
    ]


Attempt = Callable[[Caller, Theirs], Refusal]


def at_orders(method: str, request: Callable[[Theirs], Message]) -> Attempt:
    return lambda caller, theirs: refusal(getattr(caller.behind.orders, method), request(theirs))


def at_payments(method: str, request: Callable[[Theirs], Message]) -> Attempt:
    return lambda caller, theirs: refusal(getattr(caller.behind.payments, method), request(theirs))


def at_refunds(method: str, request: Callable[[Theirs], Message]) -> Attempt:
    return lambda caller, theirs: refusal(getattr(caller.refunds, method), request(theirs))


def new_order(store: str, identity_id: str, request_id: str = "", order_id: str = "") -> orders_api.CreateOrderRequest:
    return orders_api.CreateOrderRequest(
        request_id=request_id or new_request_id(),
        order_id=order_id,
        store_id=store,
        payer=payer(identity_id),
        currency_code="GBP",
        lines=[goods(100)],
    )


ATTEMPTS: dict[str, Attempt] = {
    "create an order in their name": at_orders("CreateOrder", lambda theirs: new_order(theirs.store, theirs.shopper)),
    "read an order": at_orders("GetOrder", lambda theirs: orders_api.GetOrderRequest(order_id=theirs.open_order)),
    "read an order's history": at_orders(
        "ListOrderEvents", lambda theirs: orders_api.ListOrderEventsRequest(order_id=theirs.open_order)
    ),
    "list their orders": at_orders(
        "ListOrders", lambda theirs: orders_api.ListOrdersRequest(store_id=theirs.store, payer=payer(theirs.shopper))
    ),
    "list all orders of a payer": at_orders(
        "ListOrders", lambda theirs: orders_api.ListOrdersRequest(payer=payer(theirs.shopper))
    ),
    "read a version of an order": at_orders(
        "GetOrderVersion", lambda theirs: orders_api.GetOrderVersionRequest(order_id=theirs.open_order, version=1)
    ),
    "complete an order for nothing": at_orders(
        "CompleteFreeOrder",
        lambda theirs: orders_api.CompleteFreeOrderRequest(
            request_id=new_request_id(), order_id=theirs.open_order, version=1
        ),
    ),
    "change an order": at_orders(
        "ReplaceOrderLines",
        lambda theirs: orders_api.ReplaceOrderLinesRequest(
            request_id=new_request_id(), order_id=theirs.open_order, version=1, lines=[goods(1)]
        ),
    ),
    "cancel an order": at_orders(
        "CancelOrder",
        lambda theirs: orders_api.CancelOrderRequest(
            request_id=new_request_id(), order_id=theirs.open_order, version=1
        ),
    ),
    "cancel a paid order": at_orders(
        "CancelOrder",
        lambda theirs: orders_api.CancelOrderRequest(
            request_id=new_request_id(), order_id=theirs.paid_order, version=1
        ),
    ),
    "cancel a payment at an order": at_orders(
        "CancelOrderPayment",
        lambda theirs: orders_api.CancelOrderPaymentRequest(payment_id=theirs.waiting, order_id=theirs.open_order),
    ),
    "read a payment": at_payments(
        "GetPayment", lambda theirs: payments_api.GetPaymentRequest(payment_id=theirs.captured)
    ),
    "read a payment's history": at_payments(
        "ListPaymentEvents", lambda theirs: payments_api.ListPaymentEventsRequest(payment_id=theirs.captured)
    ),
    "list their payments": at_payments(
        "ListPayments", lambda theirs: payments_api.ListPaymentsRequest(store_id=theirs.store)
    ),
    "list the payments of an order": at_payments(
        "ListPayments", lambda theirs: payments_api.ListPaymentsRequest(order_id=theirs.paid_order)
    ),
    "cancel a payment": at_payments(
        "CancelPayment",
        lambda theirs: payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=theirs.waiting),
    ),
    "refund a payment": at_refunds("RefundPayment", lambda theirs: refund_of(theirs.captured, gbp(1))),
    "refund all of a payment": at_refunds("RefundPayment", lambda theirs: refund_of(theirs.captured)),
    "refund more than was paid": at_refunds("RefundPayment", lambda theirs: refund_of(theirs.captured, gbp(1_000_000))),
    "refund a payment that is not decided": at_refunds("RefundPayment", lambda theirs: refund_of(theirs.waiting)),
    "return goods in their name": at_refunds(
        "CreateUnreferencedRefund",
        lambda theirs: refunds_api.CreateUnreferencedRefundRequest(
            refund_id=new_request_id(), store_id=theirs.store, identity_id=theirs.shopper, amount=gbp(1)
        ),
    ),
    "read a refund": at_refunds("GetRefund", lambda theirs: refunds_api.GetRefundRequest(refund_id=theirs.refund)),
    "list their refunds": at_refunds(
        "ListRefunds", lambda theirs: refunds_api.ListRefundsRequest(store_id=theirs.store)
    ),
    "list the refunds of a payment": at_refunds(
        "ListRefunds", lambda theirs: refunds_api.ListRefundsRequest(payment_id=theirs.captured)
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_a_till_is_refused_what_is_not_its_store_s_as_if_it_did_not_exist(
    shops: Shops, theirs: Theirs, attempt: str
) -> None:
    ours = caller(shops, Role.TERMINAL, HERE, TILL)
    before = evidence(shops, theirs)
    refused = ATTEMPTS[attempt](ours, theirs)
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_DENIED")
    assert refused.to_status("") == ATTEMPTS[attempt](ours, NOBODYS).to_status("")
    assert evidence(shops, theirs) == before


def test_a_till_can_not_even_lock_another_store_s_order(shops: Shops, theirs: Theirs) -> None:
    ours, platform = caller(shops, Role.TERMINAL, HERE, TILL), caller(shops, Role.PLATFORM, ALL)
    read = platform.behind.orders.GetOrder
    order = read(orders_api.GetOrderRequest(order_id=theirs.open_order))
    paid = read(orders_api.GetOrderRequest(order_id=theirs.paid_order))
    nobodys = order_pb2.Order(order_id="none", version=1, payer=payer(theirs.shopper), amount=gbp(1))
    before = evidence(shops, theirs)
    for attempt in (order, paid, nobodys):
        payment = ours.pay(attempt)
        assert (STATE.Name(payment.state), payment.reason) == ("STATE_VOIDED", "STORE_MISMATCH")
    assert evidence(shops, theirs) == before
    assert read(orders_api.GetOrderRequest(order_id=theirs.open_order)).epoch == 0
    events = orders_api.ListOrderEventsRequest(order_id=theirs.open_order)
    assert [event.type for event in platform.behind.orders.ListOrderEvents(events).events] == [CREATED]


def test_a_device_is_refused_everything_at_another_store_s_terminal(shops: Shops) -> None:
    shopper = shops.platform.shopper()
    pending = shops.till(THERE).submitted(shopper)
    folder = shops.authority.folder_of(Role.DEVICE, HERE, DEVICE)
    channel = shops.channel(Role.TERMINAL, folder, shops.terminals[THERE])
    read = terminal_api.GetCheckoutRequest(checkout_id=pending.checkout_id)
    methods = {method.full_name: method for method in methods_of(Role.TERMINAL)}
    answers = {name: call(channel, method) for name, method in methods.items()}
    answers["theirs"] = call(channel, methods["tillmesh.api.terminal.v1.CheckoutService.GetCheckout"], read)
    assert len(answers) == sum(map(len, ACCESS[Role.TERMINAL].values())) + 1
    for answer in answers.values():
        assert isinstance(answer, grpc.RpcError)
        refused = refusal_of(answer)
        assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STORE_DENIED")
        assert refused.metadata == {"store_id": HERE}
    assert steady(shops.till(THERE).get(pending)) == steady(pending)


def test_a_device_gets_no_other_store_s_order_through_its_own_terminal(shops: Shops, theirs: Theirs) -> None:
    till = shops.till(HERE)
    for order_id in (theirs.open_order, NOBODYS.open_order):
        request = terminal_api.ResumeCheckoutRequest(request_id=new_request_id(), order_id=order_id)
        assert refusal(till.service.ResumeCheckout, request).reason == "ORDER_NOT_FOUND"
    pending = terminal_api.ListPendingOrdersRequest(payer=payer(theirs.shopper))
    assert list(till.service.ListPendingOrders(pending).orders) == []
    own = shops.till(THERE).service.ListPendingOrders(pending).orders
    assert [order.order_id for order in own] == [theirs.open_order]


@pytest.mark.parametrize("store", [HERE, THERE])
def test_each_store_s_work_goes_on(shops: Shops, store: str) -> None:
    till, behind = shops.till(store), shops.platform
    shopper = behind.shopper(funds=1_000)
    bought = paid(shops, till, till.submitted(shopper))
    assert behind.order(bought).store_id == store
    assert behind.wallet(shopper) == (1_000 - TEA_MINOR, 0)
    assert behind.payment_states(bought) == ["CAPTURED"]
    assert refund_state(till.refund(bought)) == "DONE"
    assert refund_state(till.give_back(shopper, goods(50))) == "DONE"
    assert behind.wallet(shopper) == (1_050, 0)
    raised = behind.raise_order(shopper, store, minor=100)
    paid(shops, till, till.resume(raised.order_id))


def test_a_store_sees_what_the_platform_did_for_it(shops: Shops) -> None:
    platform, till = caller(shops, Role.PLATFORM, ALL), caller(shops, Role.TERMINAL, HERE, TILL)
    payment = platform.pay(platform.behind.raise_order(platform.behind.shopper(), HERE))
    refund = platform.refunds.RefundPayment(refund_of(payment.payment_id, gbp(1)))
    listed = till.behind.payments.ListPayments(
        payments_api.ListPaymentsRequest(store_id=HERE, order_id=payment.order_id)
    )
    assert [each.payment_id for each in listed.payments] == [payment.payment_id]
    assert till.refunds.GetRefund(refunds_api.GetRefundRequest(refund_id=refund.refund_id)) == refund


def test_another_caller_s_request_id_brings_nobody_their_answer(shops: Shops) -> None:
    ours, others = caller(shops, Role.TERMINAL, HERE, TILL), caller(shops, Role.TERMINAL, THERE, TILL)
    platform = caller(shops, Role.PLATFORM, ALL)
    creation = new_order(HERE, platform.behind.shopper(), order_id=new_request_id())
    order = ours.behind.orders.CreateOrder(creation)
    payment = payment_of(order)
    captured = ours.pay_with_consent(shops, order, payment.payment_id)
    assert captured.state == STATE.STATE_CAPTURED
    refund = refund_of(captured.payment_id, gbp(10))
    ours.refunds.RefundPayment(refund)
    cancellation = payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=captured.payment_id)
    ours.behind.payments.CancelPayment(cancellation)
    for stranger, reasons in ((others, {"STORE_DENIED", "REQUEST_ID_REUSED"}), (platform, {"REQUEST_ID_REUSED"})):
        assert refusal(stranger.behind.orders.CreateOrder, creation).reason in reasons
        assert refusal(stranger.behind.payments.CreatePayment, payment).reason in reasons
        assert refusal(stranger.refunds.RefundPayment, refund).reason in reasons
        assert refusal(stranger.behind.payments.CancelPayment, cancellation).reason in reasons
    now = ours.behind.orders.CreateOrder(creation)
    assert (now.order_id, now.state, now.payment_id) == (order.order_id, order_pb2.Order.STATE_PAID, payment.payment_id)
    assert ours.behind.payments.CreatePayment(payment, timeout=DEADLINE_S).refunded == gbp(10)


def test_two_devices_of_one_store_have_request_ids_of_their_own(shops: Shops) -> None:
    second = shops.authority.issue(Role.DEVICE, HERE, "scanner-2")
    request = terminal_api.CreateCheckoutRequest(request_id=new_request_id(), identity_id="ada")
    first = shops.till(HERE).service.CreateCheckout(request)
    other = Till(shops.channel(Role.TERMINAL, second))
    assert refusal(other.service.CreateCheckout, request).reason == "REQUEST_ID_REUSED"
    assert steady(shops.till(HERE).service.CreateCheckout(request)) == steady(first)
