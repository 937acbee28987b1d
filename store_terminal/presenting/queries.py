"""Queries on the lanes' stickers. A change is compare-and-set on the salt that was read."""

from sqlalchemy import func, select

from store_terminal.presenting.model import LaneSticker
from store_terminal.presenting.tables import lane_stickers
from tillmesh.storage.records import Records
from tillmesh.storage.statements import Transaction

STICKERS = Records(LaneSticker, lane_stickers, guard=("salt",))
_COUNT = select(func.count().label("lanes")).select_from(lane_stickers)


def count_lanes(transaction: Transaction) -> int:
    """How many lanes have a sticker."""
    lanes: int = transaction.execute(_COUNT, {}).one()["lanes"]
    return lanes
