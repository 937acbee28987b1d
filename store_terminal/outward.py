"""What is sent to the other servers, and an order as the order service shows it."""

from collections.abc import Sequence

from store_terminal.model import Attempt, Checkout, LineItem, OrderCopy, items_of
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.convert import to_money
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret


def create_order(request_id: str, checkout: Checkout) -> order_api.CreateOrderRequest:
    """Raises the pending transaction, under the checkout's number."""
    return order_api.CreateOrderRequest(
        request_id=request_id,
        order_id=checkout.checkout_id,
        store_id=checkout.store_id,
        payer_id=checkout.payer_id,
        currency_code=checkout.amount.currency,
        lines=to_items(items_of(checkout.lines)),
    )


def update_order(request_id: str, checkout: Checkout, items: Sequence[LineItem]) -> order_api.UpdateOrderRequest:
    """Changes the order in place, if it is still as this till knows it."""
    return order_api.UpdateOrderRequest(
        request_id=request_id, order_id=checkout.checkout_id, version=checkout.order_version, lines=to_items(items)
    )


def cancel_order(request_id: str, checkout: Checkout) -> order_api.CancelOrderRequest:
    """Withdraws the order, if it is still as this till knows it."""
    return order_api.CancelOrderRequest(
        request_id=request_id, order_id=checkout.checkout_id, version=checkout.order_version
    )


def create_payment(request_id: str, checkout: Checkout) -> payment_api.CreatePaymentRequest:
    """Identity, transaction number and amount due (CN109598490A), and the version consented to (rule 4).

    As it is stored: the pay code that the payer showed is added when it is sent.
    """
    return payment_api.CreatePaymentRequest(
        request_id=request_id,
        order_id=checkout.checkout_id,
        order_version=checkout.order_version,
        payer_id=checkout.payer_id,
        amount=to_money(checkout.amount),
    )


def confirm_payment(
    request_id: str, checkout: Checkout, attempt: Attempt, amount: Money, pin: Secret
) -> payment_api.ConfirmPaymentRequest:
    """The payer's yes to this store and the amount that they were shown."""
    return payment_api.ConfirmPaymentRequest(
        request_id=request_id,
        payment_id=attempt.payment_id,
        store_id=checkout.store_id,
        amount=to_money(amount),
        pin=pin.value.decode(),
    )


def create_refund(
    refund_id: str, *, payment_id: str, store_id: str, payer_id: str, amount: Money | None, note: str
) -> refund_api.CreateRefundRequest:
    """Gives money back: of a payment, or where that is empty without a sale."""
    return refund_api.CreateRefundRequest(
        request_id=refund_id,
        payment_id=payment_id,
        store_id=store_id,
        payer_id=payer_id,
        amount=to_money(amount) if amount else None,
        note=note,
    )


def order_copy(order: order_pb2.Order) -> OrderCopy:
    """What this till needs to know of an order."""
    return OrderCopy(
        order_id=order.order_id,
        store_id=order.store_id,
        payer_id=order.payer_id,
        items=from_items(order.lines),
        amount=Money(order.amount.currency_code, order.amount.minor_units),
        version=order.version,
        paid_by=order.payment_id if order.state == order_pb2.Order.STATE_PAID else "",
        canceled=order.state == order_pb2.Order.STATE_CANCELED,
    )


def to_items(items: Sequence[LineItem]) -> list[line_item_pb2.LineItem]:
    """Items on the wire."""
    return [
        line_item_pb2.LineItem(
            sku=item.sku, title=item.title, quantity=item.quantity, unit_price_minor=item.unit_price_minor
        )
        for item in items
    ]


def from_items(messages: Sequence[line_item_pb2.LineItem]) -> tuple[LineItem, ...]:
    """Items off the wire."""
    return tuple(LineItem(line.sku, line.title, line.quantity, line.unit_price_minor) for line in messages)
