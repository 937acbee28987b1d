"""Stickers of lanes."""

from dataclasses import dataclass

LANES_MAX = 1_000
"""The most lanes with a sticker; nobody has as many, and no row is ever deleted."""
SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class LaneSticker:
    """The printed QR code of a lane. Its secret is derived from the salt with the database's own key."""

    lane: str
    salt: bytes
    created_at_ms: int
