"""The codes that are shown and printed. Each is derived, so that no database and no backup has one in the clear."""

from store_terminal.presenting.model import LaneSticker
from tillmesh import claim_code
from tillmesh.storage.seal import Seal


def presentation_code(seal: Seal, request_id: str, checkout_id: str) -> str:
    """The code of one presentation: the same for a repeat of its request, also after a restart."""
    return claim_code.make(seal.derive(f"presentation {request_id} {checkout_id}", claim_code.SECRET_BYTES))


def sticker_code(seal: Seal, sticker: LaneSticker) -> str:
    """The code of a lane's sticker: the same until it is renewed, so it can be printed again."""
    return claim_code.make(seal.derive(f"sticker {sticker.lane} {sticker.salt.hex()}", claim_code.SECRET_BYTES))


def forwarded_request_id(seal: Seal, request_id: str) -> str:
    """The id under which a device's request goes to the payment server, where other stores have chosen theirs."""
    return seal.derive(f"request {request_id}", 16).hex()
