"""Orders, payment attempts and history, and the rules that need nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass

from order_service.lifecycle import OrderState, PaymentState
from tillmesh.runtime.money import Money

LINES_MAX = 2000


@dataclass(frozen=True, slots=True)
class LineItem:
    """One line; `unit_price_minor` in the order's currency."""

    sku: str
    title: str
    quantity: int
    unit_price_minor: int


@dataclass(frozen=True, slots=True)
class Order:
    """One order as it is now."""

    order_id: str
    store_id: str
    payer_id: str
    lines: Sequence[LineItem]
    amount: Money
    version: int
    state: OrderState
    epoch: int
    payment_id: str
    lease_ms: int
    lease_expires_at_ms: int
    event_count: int
    history_hash: bytes
    created_at_ms: int
    updated_at_ms: int

    def lease_remaining_ms(self, now_ms: int) -> int:
        """What is left of the lock; a clock that stepped back never makes it longer than it was."""
        if self.state is not OrderState.LOCKED:
            return 0
        return max(0, min(self.lease_expires_at_ms - now_ms, self.lease_ms))


@dataclass(frozen=True, slots=True)
class Consent:
    """What a payer agreed to pay: one version of one order, for one amount."""

    order_id: str
    store_id: str
    """The store that asked for the payment; empty where the payer did."""
    payer_id: str
    order_version: int
    amount: Money


@dataclass(frozen=True, slots=True)
class OrderPayment:
    """What is remembered of a payment attempt, for ever."""

    payment_id: str
    order_id: str
    state: PaymentState
    reason: str
    epoch: int
    consent: Consent | None
    """None where a cancellation came before any LockOrder."""
    store_id: str


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change of an order."""

    order_id: str
    number: int
    event: str
    from_state: OrderState | None
    to_state: OrderState
    version: int
    epoch: int
    amount: Money
    payment_id: str
    trace_id: str
    at_ms: int


def total_minor(lines: Sequence[LineItem]) -> int:
    """Sum of the lines, in minor units."""
    return sum(line.quantity * line.unit_price_minor for line in lines)
