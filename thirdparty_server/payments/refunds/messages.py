"""Messages of refunds."""

from thirdparty_server.payments.refunds.model import Refund
from tillmesh.api.payment.v1 import refund_pb2
from tillmesh.auth.callers import Role, acting_role, shown_actor
from tillmesh.rpc.line_messages import to_taxes
from tillmesh.rpc.messages import to_money, to_payer, to_timestamp


def to_refund(refund: Refund) -> refund_pb2.Refund:
    """A refund; no store learns whom a pay code named."""
    given = refund.given
    hidden = refund.by_code and acting_role() is Role.TERMINAL
    return refund_pb2.Refund(
        refund_id=refund.refund_id,
        payment_id=refund.payment_id,
        store_id=refund.store_id,
        payer=None if hidden else to_payer(refund.payer),
        amount=to_money(given.amount),
        lines=[
            refund_pb2.RefundLine(line_number=line.line_number, quantity=line.quantity, amount_minor=line.amount_minor)
            for line in given.lines
        ],
        taxes=to_taxes(given.taxes),
        note=refund.note,
        terminal_id=refund.origin.terminal_id,
        lane=refund.origin.lane,
        cashier_id=refund.origin.cashier_id,
        actor=shown_actor(refund.actor),
        create_time=to_timestamp(refund.created_at_ms),
    )
