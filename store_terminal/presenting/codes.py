"""The codes that are shown and printed. Each is derived, so that no database and no backup has one in the clear."""

from dataclasses import dataclass

from store_terminal.presenting.model import LaneSticker
from tillmesh import claim_code
from tillmesh.storage.seal import Seal


@dataclass(frozen=True, slots=True)
class Codes:
    """The codes of one store, derived from the key of its database."""

    seal: Seal
    store_id: str

    def of_presentation(self, request_id: str, checkout_id: str) -> str:
        """The code of one presentation: the same for a repeat of its request, also after a restart."""
        return self._code(f"presentation {request_id} {checkout_id}")

    def of_sticker(self, sticker: LaneSticker) -> str:
        """The code of a lane's sticker: the same until it is renewed, so it can be printed again."""
        return self._code(f"sticker {sticker.lane} {sticker.salt.hex()}")

    def forwarded_request_id(self, request_id: str) -> str:
        """The id under which a device's request goes to the payment server, where other stores have chosen theirs."""
        return self.seal.derive(f"request {request_id}", 16).hex()

    def _code(self, what: str) -> str:
        return claim_code.make(self.store_id, self.seal.derive(what, claim_code.SECRET_BYTES))
