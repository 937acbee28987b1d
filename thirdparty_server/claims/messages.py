"""Messages of presentations and claims: records to protobuf, and fields from it."""

from thirdparty_server.claims.model import OrderFacts, OrderPresentation
from thirdparty_server.payers.messages import without_store_s_own
from thirdparty_server.payers.pending_orders import PENDING
from tillmesh import claim_code
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import order_claim_pb2, order_presentation_pb2
from tillmesh.claim_code import ClaimCode
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.messages import to_duration

HASH_BYTES = 32


def code_hash(fields: Fields, field: str, value: bytes, *, optional: bool = False) -> bytes:
    """The hash of a code."""
    ok = len(value) == HASH_BYTES or (optional and not value)
    fields.require(ok, field, f"must have {HASH_BYTES} bytes, had {len(value)}")
    return value


def scanned_code(fields: Fields, text: str) -> ClaimCode:
    """A code that a phone scanned. No refusal repeats anything of it."""
    code = claim_code.parse(text)
    fields.require(code is not None, "code", "must be the text of a shop's QR code")
    return code or ClaimCode("", b"")


def order_facts(order: order_pb2.Order | None) -> OrderFacts | None:
    """What claims need to know of an order."""
    if order is None:
        return None
    state = order_pb2.Order.State.Name(order.state).removeprefix("STATE_")
    return OrderFacts(order.order_id, order.store_id, order.payer.reference, state, order.state in PENDING)


def to_presentation(
    order_id: str, known: OrderPresentation | None, now_ms: int
) -> order_presentation_pb2.OrderPresentation:
    """A presentation; one that is forgotten is over."""
    return order_presentation_pb2.OrderPresentation(
        order_id=order_id,
        claimed=known is not None and known.is_claimed(now_ms),
        remaining=to_duration(max(0, known.presented_until_ms - now_ms) if known else 0),
    )


def to_claim(claim: OrderPresentation, order: order_pb2.Order, now_ms: int) -> order_claim_pb2.OrderClaim:
    """A claim with its order, as the payer may see it: the order is under a reference, which is nobody's name."""
    shown = without_store_s_own(order)
    shown.ClearField("payer")
    return order_claim_pb2.OrderClaim(order=shown, remaining=to_duration(max(0, claim.claimed_until_ms - now_ms)))
