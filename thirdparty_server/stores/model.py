"""The record of a store."""

from dataclasses import dataclass
from enum import StrEnum

from thirdparty_server.updates import Versioned
from tillmesh.runtime.money import Money


class StoreState(StrEnum):
    """The state of a store. A suspended one is not paid."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"


@dataclass(frozen=True, slots=True)
class Store(Versioned):
    """The record of a store: who is paid, and within which limits."""

    store_id: str
    currency: str
    name: str
    address_lines: tuple[str, ...]
    tax_number: str
    time_zone: str
    unreferenced_refund_limit: Money | None
    """The limit of its refunds without a sale, in all; None for none."""
    state: StoreState
