"""Orders, their versions, payment attempts and history, and the rules that need nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from order_service.lifecycle import ORDER, OrderState, PaymentState
from tillmesh import line_rows
from tillmesh.lines import LineItem
from tillmesh.origin import NOWHERE, Origin
from tillmesh.payer import Payer
from tillmesh.runtime.lifecycle import HistoryEntry, Stateful
from tillmesh.runtime.money import Money


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as somebody asks for it."""

    order_id: str
    store_id: str
    payer: Payer
    currency: str
    lines: Sequence[LineItem]
    prices_include_tax: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    origin: Origin = NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Stateful):
    """One order as it is now."""

    order_id: str
    store_id: str
    payer: Payer
    lines_text: str
    """The lines as JSON: most calls never look into them."""
    prices_include_tax: bool
    amount: Money
    labels: Mapping[str, str]
    origin: Origin
    version: int = 1
    state: OrderState = ORDER.initial
    epoch: int = 0
    payment_id: str = ""
    lease_ms: int = 0
    lease_expires_at_ms: int = 0

    @property
    def lines(self) -> Sequence[LineItem]:
        """The lines, in the order in which they were given."""
        return line_rows.from_text(self.lines_text)

    def lease_remaining_ms(self, now_ms: int) -> int:
        """Time until the lock expires. A clock that steps back never makes it longer than the lease."""
        if self.state is not OrderState.LOCKED:
            return 0
        return max(0, min(self.lease_expires_at_ms - now_ms, self.lease_ms))


@dataclass(frozen=True, slots=True)
class OrderVersion:
    """One version of an order. It never changes."""

    order_id: str
    version: int
    lines_text: str
    prices_include_tax: bool
    amount: Money
    salt: bytes
    """Hides the texts of this version in the history's chain: without it nobody can guess them from their hash."""
    created_at_ms: int

    @property
    def lines(self) -> Sequence[LineItem]:
        """The lines, in the order in which they were given."""
        return line_rows.from_text(self.lines_text)


@dataclass(frozen=True, slots=True)
class Consent:
    """A payer's agreement to pay one version of one order, for one amount."""

    order_id: str
    store_id: str
    """The store that asked for the payment; empty where the payer did."""
    payer: Payer
    order_version: int
    amount: Money


@dataclass(frozen=True, slots=True)
class OrderPayment:
    """A payment attempt on an order. It is kept for ever."""

    payment_id: str
    order_id: str
    store_id: str
    state: PaymentState
    reason: str = ""
    epoch: int = 0
    consent: Consent | None = None
    """None where a cancellation came before any LockOrder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChange(HistoryEntry):
    """One change of an order."""

    order_id: str
    store_id: str
    version: int
    epoch: int
    amount: Money
    payment_id: str
    content_hash: str | None = None
    """The hash of a new version (`content_hash`), which the chain covers; None where there is no new version."""


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as JSON, the same text for the same labels."""
    return orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS).decode()


def content_hash(
    *,
    store_id: str,
    payer: Payer,
    labels: Mapping[str, str],
    origin: Origin,
    lines: Sequence[LineItem],
    prices_include_tax: bool,
    salt: bytes,
) -> str:
    """The hash of one version of an order, SHA-256 in hex. The order's history covers it.

    All but the lines and `salt` is the same for each version of an order.
    """
    texts = [store_id, payer.kind, payer.value, labels_text(labels), origin.terminal_id, origin.lane, origin.cashier_id]
    return line_rows.content_hash(lines, [*texts, prices_include_tax], salt).hex()
