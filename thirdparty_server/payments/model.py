"""Payments and their history, and the rules that need nothing else."""

from dataclasses import dataclass

from thirdparty_server.payers.model import Identity
from thirdparty_server.payments.lifecycle import PAYMENT, PaymentState
from tillmesh.lines import LineItem
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.runtime.lifecycle import HistoryEntry, Stateful
from tillmesh.runtime.money import Money

REFERENCE_MS = 3_600_000
"""For how long after a pay code its order may be paid without another one, if its payer says yes."""
GUESSES_MS = 3_600_000
"""For how long a store's payments count that named somebody who cannot pay."""


@dataclass(frozen=True, slots=True)
class FoundPayer:
    """The payer that was found for a payment, and by which means."""

    identity: Identity | None
    """None if nobody is found."""
    by_code: bool = False
    """True if they showed a pay code for this payment, and it counted."""
    claimed_reference: str | None = None
    """The payer that the order names, if they have claimed it by the shop's QR code. No till was shown who they are."""
    must_confirm: bool = False
    """True if they have to say yes, whatever their wallet's limits are."""
    reason: str = ""
    """The reason to decline the payment before the order is asked; empty for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment(Stateful):
    """One attempt to pay one version of one order."""

    payment_id: str
    order_id: str
    order_version: int
    payer: Payer
    """As the order names them."""
    by_code: bool = False
    """True if a pay code was shown for this payment, and counted."""
    identity_id: str | None = None
    """The identity whose wallet pays; None if nobody was found."""
    payer_display_name: str = ""
    """The name that the store may show. Empty without a pay code."""
    store_id: str = ""
    origin: Origin
    amount: Money
    confirm: bool = False
    """True if it waits for its payer once the order is locked."""
    state: PaymentState = PAYMENT.initial
    reason: str = ""
    epoch: int = 0
    hold_id: int | None = None
    confirm_deadline_ms: int = 0
    refunded_minor: int = 0
    trace_id: str = ""

    @property
    def left(self) -> Money:
        """The amount that may still be refunded."""
        return Money(self.amount.currency, self.amount.minor - self.refunded_minor)


@dataclass(frozen=True, slots=True)
class PaidVersion:
    """The version of an order that a payment paid for. Its lines never change."""

    lines: tuple[LineItem, ...]
    prices_include_tax: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentHistoryEntry(HistoryEntry):
    """One change of a payment."""

    payment_id: str
    store_id: str
    identity_id: str | None
    epoch: int
    reason: str
    refund_id: str = ""
    amount: Money
    pin_tries_left: int | None = None
    """Tries of the payer's PIN that are left after a wrong one."""


@dataclass(frozen=True, slots=True)
class Consent:
    """A payer's yes to a payment, to exactly this shop and amount."""

    payment_id: str
    store_id: str
    amount: Money
    at_ms: int


@dataclass(frozen=True, slots=True)
class Lock:
    """The order's yes to LockOrder."""

    epoch: int
    store_id: str
    confirm_until_ms: int
    """The end of the payer's window."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Time limits, in milliseconds."""

    payer_window_ms: int
    """For the payer's yes."""
    lease_margin_ms: int
    """By which the order's lease outlasts the payer's window."""
    instant_lease_ms: int
    """Lease of a payment that waits for nobody."""
    lock_patience_ms: int
    """Time that a payment tries to lock its order before it is given up."""

    def lease_ms(self, confirm: bool) -> int:
        """The lease to ask for."""
        return self.payer_window_ms + self.lease_margin_ms if confirm else self.instant_lease_ms

    def window_ms(self, lease_remaining_ms: int) -> int:
        """The payer's window within a lease: it always ends before the lease does."""
        return max(lease_remaining_ms - self.lease_margin_ms, lease_remaining_ms // 2)
