"""The requests to the other servers, and their answers as records of this server."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from google.protobuf.message import Message

from store_terminal.checkouts.model import Attempt, Call, Checkout, Line, NewPayment, items_of
from store_terminal.outbox.model import Exchange, OrderCopy, OutboxEntry, Refunded, RequestKind
from store_terminal.refunds.model import NewRefund, TillRefund
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.payment.v1 import refund_pb2
from tillmesh.api.payment.v1 import refund_service_pb2 as refund_api
from tillmesh.api.type.v1 import money_pb2, payer_pb2
from tillmesh.lines import TaxTotal
from tillmesh.origin import Origin
from tillmesh.payer import Payer, PayerKind, identity, reference
from tillmesh.rpc.line_messages import from_line_item, to_line_item
from tillmesh.rpc.messages import from_duration, to_money, to_payer
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret
from tillmesh.runtime.telemetry import trace_id
from tillmesh.storage.claims import CLAIM_MS


def create_order(call: Call, checkout: Checkout) -> OutboxEntry:
    """Raises the pending transaction, under the checkout's number."""
    message = order_api.CreateOrderRequest(
        request_id=call.request_id,
        order_id=checkout.checkout_id,
        store_id=checkout.store_id,
        payer=to_payer(checkout.payer),
        currency_code=checkout.amount.currency,
        lines=map(to_line_item, items_of(checkout.lines)),
        prices_include_tax=checkout.prices_include_tax,
        labels=checkout.labels,
        **asdict(checkout.origin),
    )
    return _entry(call, checkout.checkout_id, RequestKind.CREATE_ORDER, message)


def replace_order_lines(call: Call, checkout: Checkout, lines: Sequence[Line], reason: str) -> OutboxEntry:
    """Changes the order in place, if it is still as this till knows it; the history says the reason."""
    message = order_api.ReplaceOrderLinesRequest(
        **_order_as_known(call, checkout), lines=map(to_line_item, items_of(lines))
    )
    entry = _entry(call, checkout.checkout_id, RequestKind.REPLACE_ORDER_LINES, message)
    return replace(entry, line_numbers=[(line.number, line.deposit_of) for line in lines], reason=reason)


def cancel_order(call: Call, checkout: Checkout) -> OutboxEntry:
    """Withdraws the order, if it is still as this till knows it."""
    message = order_api.CancelOrderRequest(**_order_as_known(call, checkout))
    return _entry(call, checkout.checkout_id, RequestKind.CANCEL_ORDER, message)


def complete_free_order(call: Call, checkout: Checkout) -> OutboxEntry:
    """Completes an order that came to 0."""
    message = order_api.CompleteFreeOrderRequest(**_order_as_known(call, checkout))
    return _entry(call, checkout.checkout_id, RequestKind.COMPLETE_FREE_ORDER, message)


def create_payment(call: Call, checkout: Checkout, new: NewPayment) -> OutboxEntry:
    """Identity, transaction number and amount due (CN109598490A), and the version consented to (rule 4).

    As it is stored: the pay code that the payer showed is added when it is sent.
    """
    usual = checkout.origin
    message = payment_api.CreatePaymentRequest(
        payment_id=call.request_id,
        order_id=checkout.checkout_id,
        order_version=checkout.order_version,
        payer=to_payer(checkout.payer),
        amount=to_money(checkout.amount),
        terminal_id=new.origin.terminal_id,
        lane=new.origin.lane or usual.lane,
        cashier_id=new.origin.cashier_id or usual.cashier_id,
    )
    entry = _entry(call, checkout.checkout_id, RequestKind.PAY, message)
    return replace(entry, pay_code_shown=new.pay_code is not None)


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


def refund_payment(
    call: Call, refund: TillRefund, payment_id: str, amount: Money | None, lines: Sequence[tuple[int, int]]
) -> OutboxEntry:
    """Gives money of a payment back: an amount, or lines by position and quantity, or all that is left."""
    message = refund_api.RefundPaymentRequest(
        refund_id=refund.refund_id,
        payment_id=payment_id,
        amount=to_money(amount) if amount else None,
        lines=[refund_pb2.RefundLine(line_number=position, quantity=quantity) for position, quantity in lines],
        note=refund.note,
        **asdict(refund.origin),
    )
    return _entry(call, refund.checkout_id, RequestKind.REFUND, message)


def void_checkout(call: Call, checkout: Checkout, new: NewRefund) -> OutboxEntry:
    """Undoes a checkout; it stands for the refund that it becomes if the checkout is paid, and nobody knows by what."""
    message = refund_api.RefundPaymentRequest(refund_id=call.request_id, note=new.note, **asdict(new.origin))
    return _entry(call, checkout.checkout_id, RequestKind.VOID, message)


def is_void(exchange: Exchange) -> bool:
    """True while it undoes a checkout, and is neither at its end nor a refund yet."""
    return exchange.pending and exchange.entry.kind is RequestKind.VOID


def create_unreferenced_refund(call: Call, refund: TillRefund, store_id: str, amount: Money) -> OutboxEntry:
    """Gives money back without a sale; the pay code of a payee whom nobody names is added when it is sent."""
    named = {"identity_id": refund.payer.value} if refund.payer else {}
    message = refund_api.CreateUnreferencedRefundRequest(
        refund_id=refund.refund_id,
        store_id=store_id,
        **named,
        amount=to_money(amount),
        note=refund.note,
        **asdict(refund.origin),
    )
    return replace(_entry(call, "", RequestKind.UNREFERENCED_REFUND, message), pay_code_shown=refund.payer is None)


def _order_as_known(call: Call, checkout: Checkout) -> dict[str, Any]:
    return {"request_id": call.request_id, "order_id": checkout.checkout_id, "version": checkout.order_version}


def _entry(call: Call, checkout_id: str, kind: RequestKind, message: Message) -> OutboxEntry:
    """A request to be stored before it is sent (rule 3), claimed by this process: it alone may have a pay code."""
    return OutboxEntry(
        request_id=call.request_id,
        checkout_id=checkout_id,
        kind=kind,
        request=message.SerializeToString(),
        trace_id=trace_id.get(),
        claimed_by=call.replica,
        claimed_until_ms=call.now_ms + CLAIM_MS,
        created_at_ms=call.now_ms,
    )


def is_same_order(entry: OutboxEntry, order: OrderCopy) -> bool:
    """True for an order as a CREATE_ORDER asks for it; two references are of whoever shows a pay code."""
    asked = order_api.CreateOrderRequest.FromString(entry.request)
    payer = from_payer(asked.payer)
    same_payer = payer == order.payer or PayerKind.REFERENCE is payer.kind is order.payer.kind
    same_lines = [to_line_item(item) for item in order.items] == list(asked.lines)
    return same_payer and same_lines and dict(asked.labels) == dict(order.labels)


def order_copy(order: order_pb2.Order) -> OrderCopy:
    """The parts of an order that this till uses."""
    paid = order.state == order_pb2.Order.STATE_PAID
    locked = order.state == order_pb2.Order.STATE_LOCKED
    return OrderCopy(
        order_id=order.order_id,
        store_id=order.store_id,
        origin=Origin(order.terminal_id, order.lane, order.cashier_id),
        payer=from_payer(order.payer),
        items=tuple(map(from_line_item, order.lines)),
        prices_include_tax=order.prices_include_tax,
        amount=from_money(order.amount),
        labels=dict(order.labels),
        version=order.version,
        paid=paid,
        paid_by=order.payment_id if paid else "",
        paid_at_ms=order.update_time.ToMilliseconds() if paid else 0,  # PAID is for good: that was its last change
        payer_display_name=None,
        canceled=order.state == order_pb2.Order.STATE_CANCELED,
        epoch=order.epoch,
        locked_by=order.payment_id if locked else "",
        lease_remaining_ms=from_duration(order.lease_remaining) if locked else 0,
    )


def refunded(refund: refund_pb2.Refund) -> Refunded:
    """A refund as the payment server made it."""
    return Refunded(
        amount=from_money(refund.amount),
        lines=[(line.line_number, line.quantity, line.amount_minor) for line in refund.lines],
        taxes=[TaxTotal(tax.tax_code, tax.tax_rate_ppm, tax.net_minor, tax.tax_minor) for tax in refund.taxes],
    )


def from_money(message: money_pb2.Money) -> Money:
    """An amount off another server's answer."""
    return Money(message.currency_code, message.minor_units)


def from_payer(message: payer_pb2.Payer) -> Payer:
    """A payer off another server's answer, which has checked it."""
    if message.WhichOneof("payer") == "reference":
        return reference(message.reference)
    return identity(message.identity_id)
