"""Presentations and stickers on the wire."""

from google.protobuf.duration_pb2 import Duration

from store_terminal.presenting.codes import forwarded_request_id, presentation_code, sticker_code
from store_terminal.presenting.model import LaneSticker
from tillmesh import claim_code
from tillmesh.api.payment.v1 import claim_service_pb2 as claim_api
from tillmesh.api.terminal.v1 import lane_sticker_pb2, presentation_pb2
from tillmesh.api.terminal.v1 import presentation_service_pb2 as api
from tillmesh.rpc.messages import to_timestamp
from tillmesh.storage.seal import Seal

LIFETIME = Duration(seconds=5 * 60)
"""How long what a display shows can be claimed."""


def to_present_order(
    request: api.PresentCheckoutRequest, sticker_hash: bytes, seal: Seal
) -> claim_api.PresentOrderRequest:
    """A device's request as the payment server gets it: without the secret."""
    return claim_api.PresentOrderRequest(
        request_id=forwarded_request_id(seal, request.request_id),
        order_id=request.checkout_id,
        code_hash=claim_code.digest(presentation_code(seal, request.request_id, request.checkout_id)),
        sticker_hash=sticker_hash,
        lifetime=LIFETIME,
    )


def to_presentation(
    request: api.PresentCheckoutRequest, lane: str, remaining: Duration, seal: Seal
) -> presentation_pb2.Presentation:
    """What the display of a lane shows."""
    return presentation_pb2.Presentation(
        checkout_id=request.checkout_id,
        lane=lane,
        code=presentation_code(seal, request.request_id, request.checkout_id),
        remaining=remaining,
    )


def to_sticker(sticker: LaneSticker, seal: Seal) -> lane_sticker_pb2.LaneSticker:
    """A sticker, as it is printed."""
    return lane_sticker_pb2.LaneSticker(
        lane=sticker.lane, code=sticker_code(seal, sticker), create_time=to_timestamp(sticker.created_at_ms)
    )
