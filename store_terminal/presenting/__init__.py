"""The shop's QR code: pending transactions that are presented, and the stickers of lanes."""
