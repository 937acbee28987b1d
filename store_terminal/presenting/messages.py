"""Presentations and stickers on the wire."""

from google.protobuf.duration_pb2 import Duration

from store_terminal.presenting.codes import Codes
from store_terminal.presenting.model import LaneSticker
from tillmesh import claim_code
from tillmesh.api.payment.v1 import claim_service_pb2 as claim_api
from tillmesh.api.terminal.v1 import lane_sticker_pb2, presentation_pb2
from tillmesh.api.terminal.v1 import presentation_service_pb2 as api
from tillmesh.rpc.messages import to_timestamp

LIFETIME = Duration(seconds=5 * 60)
"""How long what a display shows can be claimed."""


def to_present_order(
    request: api.PresentCheckoutRequest, sticker_hash: bytes, codes: Codes
) -> claim_api.PresentOrderRequest:
    """A device's request as the payment server gets it: without the secret."""
    return claim_api.PresentOrderRequest(
        request_id=codes.forwarded_request_id(request.request_id),
        order_id=request.checkout_id,
        code_hash=claim_code.digest(codes.of_presentation(request.request_id, request.checkout_id)),
        sticker_hash=sticker_hash,
        lifetime=LIFETIME,
    )


def to_presentation(
    request: api.PresentCheckoutRequest, lane: str, remaining: Duration, codes: Codes
) -> presentation_pb2.Presentation:
    """What the display of a lane shows."""
    return presentation_pb2.Presentation(
        checkout_id=request.checkout_id,
        lane=lane,
        code=codes.of_presentation(request.request_id, request.checkout_id),
        remaining=remaining,
    )


def to_sticker(sticker: LaneSticker, codes: Codes) -> lane_sticker_pb2.LaneSticker:
    """A sticker, as it is printed."""
    return lane_sticker_pb2.LaneSticker(
        lane=sticker.lane, code=codes.of_sticker(sticker), create_time=to_timestamp(sticker.created_at_ms)
    )
