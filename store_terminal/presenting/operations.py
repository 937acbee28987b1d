"""The operations on presentations and stickers: one function for each RPC, each one transaction."""

import random

from store_terminal.checkouts.lifecycle import CHECKOUT, CheckoutState
from store_terminal.checkouts.moves import get_checkout
from store_terminal.errors import Reason
from store_terminal.presenting.codes import Codes
from store_terminal.presenting.model import LANES_MAX, SALT_BYTES, LaneSticker
from store_terminal.presenting.queries import STICKERS, count_lanes
from tillmesh import claim_code
from tillmesh.payer import PayerKind
from tillmesh.storage.statements import Transaction


def present_checkout(transaction: Transaction, *, checkout_id: str, lane: str, codes: Codes) -> bytes:
    """Checks that a checkout may be presented on a lane; answers with the digest of its sticker, empty without one.

    Whatever is asked of other servers about it is no obstacle: the order's lock decides.
    """
    checkout = get_checkout(transaction, checkout_id)
    if checkout.state not in (CheckoutState.SUBMITTED, CheckoutState.PAYING):
        raise Reason[CHECKOUT.refused[checkout.state]](checkout_id=checkout_id)
    if checkout.payer.kind is not PayerKind.REFERENCE:
        raise Reason.PAYER_NAMED(checkout_id=checkout_id)
    sticker = STICKERS.find(transaction, lane)
    return claim_code.digest(codes.of_sticker(sticker)) if sticker else b""


def renew_sticker(transaction: Transaction, *, lane: str, rng: random.Random, now_ms: int) -> LaneSticker:
    """Makes a new sticker for a lane, in the place of the one before."""
    before, sticker = STICKERS.find(transaction, lane), LaneSticker(lane, rng.randbytes(SALT_BYTES), now_ms)
    if before:
        STICKERS.change(transaction, before, sticker)
    elif count_lanes(transaction) >= LANES_MAX:
        raise Reason.LANES_EXHAUSTED(lane=lane, lanes_max=LANES_MAX)
    else:
        STICKERS.insert(transaction, sticker)
    return sticker


def get_sticker(transaction: Transaction, lane: str) -> LaneSticker:
    """The sticker of a lane as it is now."""
    sticker = STICKERS.find(transaction, lane)
    if sticker is None:
        raise Reason.STICKER_NOT_FOUND(lane=lane)
    return sticker
