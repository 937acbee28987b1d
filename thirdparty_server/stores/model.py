"""The record of a store."""

from dataclasses import dataclass
from enum import StrEnum

from tillmesh.runtime.money import Money


class StoreState(StrEnum):
    """The state of a store. A suspended one is not paid."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


@dataclass(frozen=True, slots=True)
class Store:
    """The record of a store: who is paid, and within which limits."""

    store_id: str
    name: str
    address_lines: tuple[str, ...]
    tax_number: str
    time_zone: str
    currency: str
    unreferenced_refund_limit_minor: int | None
    state: StoreState
    version: int
    created_at_ms: int

    @property
    def unreferenced_refund_limit(self) -> Money | None:
        """The limit of its refunds without a sale, in all; None for none."""
        limit_minor = self.unreferenced_refund_limit_minor
        return None if limit_minor is None else Money(self.currency, limit_minor)
