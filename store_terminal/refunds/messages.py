"""Refunds on the wire."""

from collections.abc import Sequence

from store_terminal.checkouts.messages import approval, origin
from store_terminal.refunds.model import NewRefund, ReturnedLine, TillRefund
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.terminal.v1 import till_refund_pb2
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refund_api
from tillmesh.lines import LINES_MAX
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.line_messages import to_line_item, to_taxes
from tillmesh.rpc.messages import to_money, to_payer, to_timestamp
from tillmesh.runtime.money import Money

AsksForRefund = refund_api.RefundCheckoutRequest | refund_api.ReturnGoodsRequest | checkout_api.VoidCheckoutRequest
NOTE_MAX = 256


def to_refund(refund: TillRefund) -> till_refund_pb2.TillRefund:
    """A refund; without an amount while the payment server has not said how much it is."""
    message = till_refund_pb2.TillRefund(
        refund_id=refund.refund_id,
        checkout_id=refund.checkout_id,
        payer=to_payer(refund.payer) if refund.payer else None,
        lines=map(to_line_item, refund.items),
        taxes=to_taxes(refund.taxes),
        note=refund.note,
        state=till_refund_pb2.TillRefund.State.Value(f"STATE_{refund.state}"),
        reason=refund.reason,
        lane=refund.origin.lane,
        cashier_id=refund.origin.cashier_id,
        create_time=to_timestamp(refund.created_at_ms),
    )
    if refund.amount_minor is not None:
        message.amount.CopyFrom(to_money(Money(refund.currency, refund.amount_minor)))
    return message


def new_refund(fields: Fields, request: AsksForRefund, terminal_id: str) -> NewRefund:
    """What each refund that is asked for says of itself."""
    fields.text("note", request.note, length_max=NOTE_MAX)
    approval(fields, request.approval_id)
    return NewRefund(request.note, origin(fields, terminal_id, request.lane, request.cashier_id))


def returned_lines(fields: Fields, messages: Sequence[refund_api.ReturnedLine]) -> tuple[ReturnedLine, ...]:
    """Lines of a checkout that came back."""
    fields.require(len(messages) <= LINES_MAX, "lines", f"must be at most {LINES_MAX}, were {len(messages)}")
    numbers: set[int] = set()
    for index, line in enumerate(messages[:LINES_MAX]):
        name = f"lines[{index}]"
        fields.positive(f"{name}.quantity", line.quantity)
        once = line.line_number not in numbers
        fields.require(once, f"{name}.line_number", f"must be there once, {line.line_number} came before")
        numbers.add(line.line_number)
    return tuple(ReturnedLine(line.line_number, line.quantity) for line in messages[:LINES_MAX])
