"""The QR code of a receipt: names the order, and holds the shop to the history of the checkout up to that print."""

import re
from dataclasses import dataclass

_PREFIX = "TILLMESH1"
_HASH_DIGITS = 32
_ID = r"([A-Za-z0-9._-]{1,64})"
_CODE = re.compile(rf"{_PREFIX}/{_ID}/{_ID}/([0-9]{{1,18}})/([0-9a-f]{{{_HASH_DIGITS}}})")


@dataclass(frozen=True, slots=True)
class ReceiptCode:
    """A receipt's code taken apart."""

    order_id: str
    terminal_id: str
    """The terminal that printed it: each one of a store has a history of its own."""
    event_count: int
    """How many events the checkout's history had."""
    history_hash: str
    """The first half of the history's hash after them, in hexadecimal."""

    def is_of(self, history_hash: bytes) -> bool:
        """True if the history had that hash when the receipt was printed."""
        return self.history_hash == history_hash.hex()[:_HASH_DIGITS]


def make(order_id: str, terminal_id: str, event_count: int, history_hash: bytes) -> str:
    """The text of the code."""
    return f"{_PREFIX}/{order_id}/{terminal_id}/{event_count}/{history_hash.hex()[:_HASH_DIGITS]}"


def parse(text: str) -> ReceiptCode | None:
    """Takes a code apart; None where it is none."""
    if not (found := _CODE.fullmatch(text)):
        return None
    return ReceiptCode(found[1], found[2], int(found[3]), found[4])
