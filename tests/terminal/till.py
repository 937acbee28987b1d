"""A till's own software: calls a store terminal over the wire, and looks behind it at the other servers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2
from grpc_status.rpc_status import GRPC_DETAILS_METADATA_KEY

from tests.processes import DEADLINE_S
from tests.terminal.shoppers import STORE, Shoppers
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.terminal.v1 import checkout_pb2, receipt_pb2, till_refund_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import receipt_service_pb2 as receipts_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refunds_api
from tillmesh.api.terminal.v1.catalogue_service_pb2_grpc import CatalogueServiceStub
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from tillmesh.api.terminal.v1.receipt_service_pb2_grpc import ReceiptServiceStub
from tillmesh.api.terminal.v1.scan_service_pb2_grpc import ScanServiceStub
from tillmesh.api.terminal.v1.till_refund_service_pb2_grpc import TillRefundServiceStub
from tillmesh.api.type.v1 import line_item_pb2, payer_pb2
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

TEA = api.NewLine(sku="TEA", quantity=2, unit_price_minor=125, title="Tea")
TEA_MINOR = 250
COFFEE = api.NewLine(sku="COFFEE", quantity=1, unit_price_minor=400, title="Coffee")


def gbp(minor: int) -> Money:
    return Money(currency_code="GBP", minor_units=minor)


def goods(minor: int, quantity: int = 1, sku: str = "TEA") -> line_item_pb2.LineItem:
    return line_item_pb2.LineItem(sku=sku, title="Tea", quantity=quantity, unit_price_minor=minor)


@contextmanager
def refused(reason: str, code: grpc.StatusCode, domain: str = "terminal.tillmesh") -> Iterator[list[Refusal]]:
    """Expects that refusal, by that server, and no other; it is put into the list."""
    seen: list[Refusal] = []
    with pytest.raises(grpc.RpcError) as raised:
        yield seen
    assert isinstance(raised.value, grpc.Call)
    details = dict(raised.value.trailing_metadata() or ())[GRPC_DETAILS_METADATA_KEY]
    assert isinstance(details, bytes)
    refusal = Refusal.from_status(status_pb2.Status.FromString(details))
    assert refusal is not None
    assert (refusal.reason, refusal.code, refusal.domain) == (reason, code, domain)
    seen.append(refusal)


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """The status that a call ended with."""
    assert isinstance(error, grpc.Call)
    code = error.code()
    assert isinstance(code, grpc.StatusCode)
    return code


def state(checkout: checkout_pb2.Checkout) -> str:
    return checkout_pb2.Checkout.State.Name(checkout.state).removeprefix("STATE_")


def said(checkout: checkout_pb2.Checkout) -> str:
    """State and verdict, in one word each."""
    return f"{state(checkout)} {checkout_pb2.Verdict.Name(checkout.verdict).removeprefix('VERDICT_')}"


def payer(identity_id: str) -> payer_pb2.Payer:
    return payer_pb2.Payer(identity_id=identity_id)


def refund_state(refund: till_refund_pb2.TillRefund) -> str:
    return till_refund_pb2.TillRefund.State.Name(refund.state).removeprefix("STATE_")


def steady(checkout: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
    """A checkout without the age of its verdict, which grows all the time."""
    same = checkout_pb2.Checkout()
    same.CopyFrom(checkout)
    same.ClearField("verdict_age")
    return same


def skus(checkout: checkout_pb2.Checkout) -> list[tuple[int, str]]:
    return [(line.line_number, line.item.sku) for line in checkout.lines]


class Till:
    """Calls one store terminal; what a test does not care for has a default."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.service = CheckoutServiceStub(channel)
        self.refunds = TillRefundServiceStub(channel)
        self.receipts = ReceiptServiceStub(channel)
        self.scans = ScanServiceStub(channel)
        self.catalogue = CatalogueServiceStub(channel)

    def create(
        self,
        identity_id: str = "ada",
        lines: Sequence[api.NewLine] = (TEA,),
        *,
        currency: str = "",
        request_id: str = "",
        prices_include_tax: bool | None = None,
        labels: Mapping[str, str] | None = None,
        lane: str = "",
        cashier_id: str = "",
    ) -> checkout_pb2.Checkout:
        request = api.CreateCheckoutRequest(
            request_id=request_id or new_request_id(),
            identity_id=identity_id,
            currency_code=currency,
            lines=lines,
            prices_include_tax=prices_include_tax,
            labels=labels,
            lane=lane,
            cashier_id=cashier_id,
        )
        return self.service.CreateCheckout(request, timeout=DEADLINE_S)

    def get(self, checkout: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
        return self.service.GetCheckout(api.GetCheckoutRequest(checkout_id=checkout.checkout_id), timeout=DEADLINE_S)

    def add(
        self, checkout: checkout_pb2.Checkout, *lines: api.NewLine, request_id: str = "", timeout: float = DEADLINE_S
    ) -> checkout_pb2.Checkout:
        request = api.AddLinesRequest(
            request_id=request_id or new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            lines=lines,
        )
        return self.service.AddLines(request, timeout=timeout)

    def add_tea(self, checkout: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
        return self.add(checkout, TEA)

    def update(
        self,
        checkout: checkout_pb2.Checkout,
        line_number: int,
        *,
        quantity: int | None = None,
        price: int | None = None,
        reason: str = "",
        request_id: str = "",
    ) -> checkout_pb2.Checkout:
        request = api.UpdateLineRequest(
            request_id=request_id or new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            line_number=line_number,
            quantity=quantity,
            unit_price_minor=price,
            override_reason=reason,
        )
        return self.service.UpdateLine(request, timeout=DEADLINE_S)

    def remove(self, checkout: checkout_pb2.Checkout, line_number: int) -> checkout_pb2.Checkout:
        request = api.RemoveLineRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            line_number=line_number,
        )
        return self.service.RemoveLine(request, timeout=DEADLINE_S)

    def adjust(
        self, checkout: checkout_pb2.Checkout, minor: int, line_number: int = 0, code: str = "STAFF", text: str = ""
    ) -> checkout_pb2.Checkout:
        """Adjusts a line, or without a number the basket."""
        request = api.AdjustCheckoutRequest(
            request_id=new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
            line_number=line_number,
            adjustment=line_item_pb2.Adjustment(reason_code=code, text=text, amount_minor=minor),
        )
        return self.service.AdjustCheckout(request, timeout=DEADLINE_S)

    def submit(
        self, checkout: checkout_pb2.Checkout, request_id: str = "", timeout: float = DEADLINE_S
    ) -> checkout_pb2.Checkout:
        request = api.SubmitCheckoutRequest(
            request_id=request_id or new_request_id(),
            checkout_id=checkout.checkout_id,
            basket_version=checkout.basket_version,
        )
        return self.service.SubmitCheckout(request, timeout=timeout)

    def submitted(self, identity_id: str = "ada", lines: Sequence[api.NewLine] = (TEA,)) -> checkout_pb2.Checkout:
        """A pending transaction."""
        return self.submit(self.create(identity_id, lines))

    def pay(
        self,
        checkout: checkout_pb2.Checkout,
        payment_id: str = "",
        timeout: float = DEADLINE_S,
        *,
        code: str = "",
        lane: str = "",
        cashier_id: str = "",
    ) -> checkout_pb2.Checkout:
        """Pays what that copy of the checkout says, with the pay code that was scanned if one was."""
        request = api.PayCheckoutRequest(
            payment_id=payment_id or new_request_id(),
            checkout_id=checkout.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
            pay_code=code,
            lane=lane,
            cashier_id=cashier_id,
        )
        return self.service.PayCheckout(request, timeout=timeout)

    def enter_pin(
        self,
        checkout: checkout_pb2.Checkout,
        pin: str,
        *,
        amount: Money | None = None,
        request_id: str = "",
        timeout: float = DEADLINE_S,
    ) -> checkout_pb2.Checkout:
        """The shopper keys in a PIN for what the PIN pad shows."""
        request = api.EnterPinRequest(
            request_id=request_id or new_request_id(),
            checkout_id=checkout.checkout_id,
            amount=amount or checkout.amount,
            pin=pin,
        )
        return self.service.EnterPin(request, timeout=timeout)

    def cancel_payment(
        self, checkout: checkout_pb2.Checkout, request_id: str = "", timeout: float = DEADLINE_S
    ) -> checkout_pb2.Checkout:
        request = api.CancelCheckoutPaymentRequest(
            request_id=request_id or new_request_id(), checkout_id=checkout.checkout_id
        )
        return self.service.CancelCheckoutPayment(request, timeout=timeout)

    def cancel(
        self, checkout: checkout_pb2.Checkout, request_id: str = "", timeout: float = DEADLINE_S
    ) -> checkout_pb2.Checkout:
        request = api.CancelCheckoutRequest(request_id=request_id or new_request_id(), checkout_id=checkout.checkout_id)
        return self.service.CancelCheckout(request, timeout=timeout)

    def resume(self, order_id: str, request_id: str = "") -> checkout_pb2.Checkout:
        request = api.ResumeCheckoutRequest(request_id=request_id or new_request_id(), order_id=order_id)
        return self.service.ResumeCheckout(request, timeout=DEADLINE_S)

    def refund(
        self,
        checkout: checkout_pb2.Checkout,
        amount: Money | None = None,
        *,
        lines: Mapping[int, int] | None = None,
        note: str = "",
        refund_id: str = "",
        timeout: float = DEADLINE_S,
    ) -> till_refund_pb2.TillRefund:
        """Gives an amount back, quantities by line number, or all that is left."""
        back = [refunds_api.ReturnedLine(line_number=number, quantity=count) for number, count in (lines or {}).items()]
        request = refunds_api.RefundCheckoutRequest(
            refund_id=refund_id or new_request_id(),
            checkout_id=checkout.checkout_id,
            amount=amount,
            lines=back,
            note=note,
            lane="lane-9",
            cashier_id="returns",
        )
        return self.refunds.RefundCheckout(request, timeout=timeout)

    def give_back(
        self,
        identity_id: str,
        *lines: line_item_pb2.LineItem,
        currency: str = "",
        code: str = "",
        refund_id: str = "",
        timeout: float = DEADLINE_S,
    ) -> till_refund_pb2.TillRefund:
        """Takes goods back without their sale."""
        request = refunds_api.ReturnGoodsRequest(
            refund_id=refund_id or new_request_id(), currency_code=currency, lines=lines
        )
        if code:
            request.pay_code = code
        else:
            request.identity_id = identity_id
        return self.refunds.ReturnGoods(request, timeout=timeout)

    def get_refund(self, refund_id: str) -> till_refund_pb2.TillRefund:
        return self.refunds.GetTillRefund(refunds_api.GetTillRefundRequest(refund_id=refund_id), timeout=DEADLINE_S)

    def receipt(self, checkout: checkout_pb2.Checkout | None = None, **fields: Any) -> receipt_pb2.Receipt:
        subject: dict[str, Any] = {"checkout_id": checkout.checkout_id} if checkout else {}
        request = receipts_api.GetReceiptRequest(**subject, **fields)
        return self.receipts.GetReceipt(request, timeout=DEADLINE_S)

    def history(self, checkout: checkout_pb2.Checkout) -> list[checkout_pb2.CheckoutEvent]:
        request = api.ListCheckoutEventsRequest(checkout_id=checkout.checkout_id, page_size=200)
        events = list(self.service.ListCheckoutEvents(request, timeout=DEADLINE_S).events)
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        return events

    def events(self, checkout: checkout_pb2.Checkout) -> list[str]:
        names = checkout_pb2.CheckoutEvent.Type
        return [names.Name(event.type).removeprefix("TYPE_") for event in self.history(checkout)]


class Behind(Shoppers):
    """What stands behind the till: the order service, the payment server and its shoppers."""

    def __init__(self, orders: grpc.Channel, payments: grpc.Channel) -> None:
        super().__init__(payments)
        self.orders = OrderServiceStub(orders)

    def order(self, checkout: checkout_pb2.Checkout) -> order_pb2.Order:
        return self.orders.GetOrder(orders_api.GetOrderRequest(order_id=checkout.checkout_id), timeout=DEADLINE_S)

    def order_events(self, checkout: checkout_pb2.Checkout) -> list[str]:
        request = orders_api.ListOrderEventsRequest(order_id=checkout.checkout_id)
        events = self.orders.ListOrderEvents(request, timeout=DEADLINE_S).events
        return [order_pb2.OrderEvent.Type.Name(event.type).removeprefix("TYPE_") for event in events]

    def raise_order(self, identity_id: str, store_id: str = STORE, minor: int = 700) -> order_pb2.Order:
        """An order that the web shop made."""
        request = orders_api.CreateOrderRequest(
            request_id=new_request_id(),
            store_id=store_id,
            payer=payer(identity_id),
            currency_code="GBP",
            lines=[goods(minor), goods(minor)],
            prices_include_tax=True,
            labels={"basket": "web-7"},
        )
        return self.orders.CreateOrder(request, timeout=DEADLINE_S)

    def change_order(self, checkout: checkout_pb2.Checkout, *lines: line_item_pb2.LineItem) -> order_pb2.Order:
        """Somebody else changes the order."""
        request = orders_api.ReplaceOrderLinesRequest(
            request_id=new_request_id(),
            order_id=checkout.checkout_id,
            version=self.order(checkout).version,
            lines=lines,
        )
        return self.orders.ReplaceOrderLines(request, timeout=DEADLINE_S)

    def cancel_order(self, checkout: checkout_pb2.Checkout) -> order_pb2.Order:
        request = orders_api.CancelOrderRequest(
            request_id=new_request_id(), order_id=checkout.checkout_id, version=self.order(checkout).version
        )
        return self.orders.CancelOrder(request, timeout=DEADLINE_S)

    def pay_from_phone(self, checkout: checkout_pb2.Checkout) -> payment_pb2.Payment:
        """The shopper's own terminal pays the order as it is now."""
        order = self.order(checkout)
        request = payments_api.CreatePaymentRequest(
            payment_id=new_request_id(),
            order_id=order.order_id,
            order_version=order.version,
            payer=order.payer,
            amount=order.amount,
        )
        return self.payments.CreatePayment(request, timeout=DEADLINE_S)

    def confirm(
        self, payment_id: str, amount: Money, store_id: str = STORE, timeout: float = DEADLINE_S
    ) -> payment_pb2.Payment:
        """The payer's yes."""
        request = payments_api.ConfirmPaymentRequest(
            request_id=new_request_id(), payment_id=payment_id, store_id=store_id, amount=amount
        )
        return self.payments.ConfirmPayment(request, timeout=timeout)

    def payment_states(self, checkout: checkout_pb2.Checkout) -> list[str]:
        """States of all payments of an order, oldest first."""
        request = payments_api.ListPaymentsRequest(order_id=checkout.checkout_id)
        payments = self.payments.ListPayments(request, timeout=DEADLINE_S).payments
        return [payment_pb2.Payment.State.Name(payment.state).removeprefix("STATE_") for payment in reversed(payments)]


def terminal_flags(orders: str, payments: str, *more: str) -> list[str]:
    """How a terminal of the test store is started."""
    return ["--store-id", STORE, "--orders", orders, "--payments", payments, *more]
