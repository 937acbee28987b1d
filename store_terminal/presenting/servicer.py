"""Presentations and stickers: protobuf to model and back, nothing else."""

import random
from dataclasses import dataclass

from store_terminal.checkouts import messages as checkout_messages
from store_terminal.checkouts.model import Till
from store_terminal.outbox.peers import Peers
from store_terminal.presenting import messages, operations
from store_terminal.presenting.codes import Codes
from tillmesh.api.terminal.v1 import lane_sticker_pb2, presentation_pb2
from tillmesh.api.terminal.v1 import presentation_service_pb2 as api
from tillmesh.rpc.fields import Fields
from tillmesh.rpc.servicer import Servicer
from tillmesh.runtime.deadlines import set_deadline, time_to_answer_s
from tillmesh.storage.requests import answer_once


@dataclass(frozen=True)
class PresentationServicer(Servicer):
    """tillmesh.api.terminal.v1.PresentationService."""

    peers: Peers
    rng: random.Random
    till: Till

    async def PresentCheckout(self, request: api.PresentCheckoutRequest) -> presentation_pb2.Presentation:
        """Presents a pending transaction."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            lane = checkout_messages.origin(fields, self.till.terminal_id, request.lane, "").lane
        key, codes = self._key(request, request.request_id), self._codes
        # What a repeat sends has to be the same, although the lane may have a new sticker since.
        sticker_hash = await answer_once(
            self.database,
            key,
            lambda sent: f"{request.checkout_id}/{sent.hex()}",
            lambda _transaction, known: bytes.fromhex(known.rpartition("/")[2]),
            operations.present_checkout,
            checkout_id=request.checkout_id,
            lane=lane,
            codes=codes,
        )
        set_deadline(time_to_answer_s())
        presented = await self.peers.present_order(messages.to_present_order(request, sticker_hash, codes))
        return messages.to_presentation(request, lane, presented.remaining, codes)

    async def RenewLaneSticker(self, request: api.RenewLaneStickerRequest) -> lane_sticker_pb2.LaneSticker:
        """Makes a new sticker for a lane."""
        with Fields() as fields:
            fields.identifier("request_id", request.request_id)
            lane = fields.identifier("lane", request.lane)
        key = self._key(request, request.request_id)
        renewed = await answer_once(
            self.database,
            key,
            lane,
            operations.get_sticker,
            operations.renew_sticker,
            lane=lane,
            rng=self.rng,
            now_ms=key.at_ms,
        )
        return messages.to_sticker(renewed, self._codes)

    async def GetLaneSticker(self, request: api.GetLaneStickerRequest) -> lane_sticker_pb2.LaneSticker:
        """Reads the sticker of a lane."""
        sticker = await self.database.run(operations.get_sticker, request.lane)
        return messages.to_sticker(sticker, self._codes)

    @property
    def _codes(self) -> Codes:
        return Codes(self.database.seal, self.till.store_id)
