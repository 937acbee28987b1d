"""Messages of payments: records to protobuf, and fields from it."""

from thirdparty_server.errors import HIDDEN_FROM_TERMINALS, Reason
from thirdparty_server.payments.lifecycle import PaymentState
from thirdparty_server.payments.model import Payment, PaymentHistoryEntry
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import refund_service_pb2 as refunds_api
from tillmesh.auth.callers import Role, acting_role, shown_actor
from tillmesh.origin import NOWHERE, Origin
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.messages import to_duration, to_money, to_payer, to_timestamp
from tillmesh.runtime.money import Money


def origin(
    fields: Fields,
    request: payments_api.CreatePaymentRequest
    | refunds_api.RefundPaymentRequest
    | refunds_api.CreateUnreferencedRefundRequest,
) -> Origin:
    """Where in a store something is asked for; a payer's phone is in none."""
    found = fields.origin(request.terminal_id, request.lane, request.cashier_id)
    in_store = acting_role() is not Role.PHONE
    fields.require(in_store or found == NOWHERE, "terminal_id", "must be empty from a phone, as lane and cashier_id")
    return found


def to_payment(payment: Payment, now_ms: int) -> payment_pb2.Payment:
    """A payment, as far as the caller may see it: no store learns who paid by pay code."""
    message = payment_pb2.Payment(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        order_version=payment.order_version,
        payer=to_payer(payment.payer),
        store_id=payment.store_id,
        amount=to_money(payment.amount),
        state=payment_pb2.Payment.State.Value(f"STATE_{payment.state}"),
        reason=_shown_reason(payment.reason, payment.by_code),
        epoch=payment.epoch,
        refunded=to_money(Money(payment.amount.currency, payment.refunded_minor)),
        identity_id="" if acting_role() is Role.TERMINAL else payment.identity_id or "",
        payer_display_name=payment.payer_display_name,
        terminal_id=payment.origin.terminal_id,
        lane=payment.origin.lane,
        cashier_id=payment.origin.cashier_id,
        create_time=to_timestamp(payment.created_at_ms),
        update_time=to_timestamp(payment.updated_at_ms),
    )
    if payment.state is PaymentState.AWAITING_PAYER:
        message.confirm_remaining.CopyFrom(to_duration(max(0, payment.confirm_deadline_ms - now_ms)))
    return message


def to_event(entry: PaymentHistoryEntry, by_code: bool) -> payment_pb2.PaymentEvent:
    """A change of a payment, as far as the caller may see it."""
    return payment_pb2.PaymentEvent(
        payment_id=entry.payment_id,
        number=entry.number,
        type=payment_pb2.PaymentEvent.Type.Value(f"TYPE_{entry.event}"),
        from_state=payment_pb2.Payment.State.Value(f"STATE_{entry.from_state or 'UNSPECIFIED'}"),
        to_state=payment_pb2.Payment.State.Value(f"STATE_{entry.to_state}"),
        epoch=entry.epoch,
        reason=_shown_reason(entry.reason, by_code),
        refund_id=entry.refund_id,
        amount=to_money(entry.amount),
        pin_tries_left=None if acting_role() is Role.TERMINAL else entry.pin_tries_left,
        actor=shown_actor(entry.actor),
        trace_id=entry.trace_id,
        event_time=to_timestamp(entry.at_ms),
    )


def _shown_reason(reason: str, by_code: bool) -> str:
    """A reason as the caller may see it: a till that was shown no code learns nothing of wallets."""
    hidden = acting_role() is Role.TERMINAL and not by_code and reason in HIDDEN_FROM_TERMINALS
    return Reason.DECLINED.name if hidden else reason
