"""Whole sales, in one call each: what a test does not care for has a default."""

from collections.abc import Mapping, Sequence

from tests.processes import DEADLINE_S
from tests.terminal.till import TEA, TEA_MINOR, Till, gbp
from tillmesh.api.terminal.v1 import checkout_pb2, till_refund_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as refunds_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.runtime.ids import new_request_id


def sale(
    identity_id: str = "ada",
    lines: Sequence[api.NewLine] = (TEA,),
    amount: Money | None = None,
    *,
    checkout_id: str = "",
    payment_id: str = "",
    code: str = "",
    exchanged: str = "",
) -> api.SellRequest:
    """A request to sell; to be repeated as it is."""
    return api.SellRequest(
        checkout_id=checkout_id or new_request_id(),
        payment_id=payment_id or new_request_id(),
        lines=lines,
        amount=gbp(TEA_MINOR) if amount is None else amount,
        identity_id=identity_id,
        pay_code=code,
        labels={"table": "7"},
        lane="lane-9",
        cashier_id="c-17",
        exchanged_refund_id=exchanged,
    )


def sell(till: Till, request: api.SellRequest, timeout: float = DEADLINE_S) -> checkout_pb2.Checkout:
    return till.service.Sell(request, timeout=timeout)


def void(
    till: Till, checkout_id: str, refund_id: str = "", timeout: float = DEADLINE_S, note: str = ""
) -> api.VoidCheckoutResponse:
    """Undoes a sale."""
    request = api.VoidCheckoutRequest(
        refund_id=refund_id or new_request_id(),
        checkout_id=checkout_id,
        note=note,
        lane="lane-9",
        cashier_id="c-17",
    )
    return till.service.VoidCheckout(request, timeout=timeout)


def outcome(answer: api.VoidCheckoutResponse) -> str:
    return api.VoidCheckoutResponse.Outcome.Name(answer.outcome).removeprefix("OUTCOME_")


def refund_by_name(
    till: Till, text: str, amount: Money | None = None, lines: Mapping[int, int] | None = None, refund_id: str = ""
) -> till_refund_pb2.TillRefund:
    """Gives money back for an order that is named by its number, or by a receipt's code."""
    back = [refunds_api.ReturnedLine(line_number=number, quantity=count) for number, count in (lines or {}).items()]
    request = refunds_api.RefundCheckoutRequest(
        refund_id=refund_id or new_request_id(), checkout_id=text, amount=amount, lines=back
    )
    return till.refunds.RefundCheckout(request, timeout=DEADLINE_S)
