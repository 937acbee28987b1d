"""Where in a store something was asked for, and who says to have asked."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """All empty for who is in no store."""

    terminal_id: str = ""
    """The store terminal."""
    lane: str = ""
    """The device."""
    cashier_id: str = ""
    """The cashier, as the device says: claimed, not proven."""


NOWHERE = Origin()
