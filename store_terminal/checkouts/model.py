"""Checkouts and their history, and the rules that need nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from store_terminal.checkouts.lifecycle import CHECKOUT, CheckoutState
from tillmesh.lines import Adjustment, LineItem, Totals, Unit, totals
from tillmesh.lines import Kind as LineKind
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.runtime.lifecycle import HistoryEntry, Stateful
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret

MARGIN_MS_MAX = 3_000
"""The longest time before its deadline at which the till cancels."""


@dataclass(frozen=True, slots=True)
class Till:
    """The identity of this till."""

    store_id: str
    terminal_id: str
    currency: str
    prices_include_tax: bool
    payment_wait_ms: int
    parked_ms: int
    """How long a checkout stays parked; 0 is without an end."""

    @property
    def margin_ms(self) -> int:
        """The time before its deadline at which it cancels, so that the order's answer comes in time."""
        return min(MARGIN_MS_MAX, self.payment_wait_ms // 4)


@dataclass(frozen=True, slots=True)
class Call:
    """The request that is being served: its id, the process that serves it, and when."""

    request_id: str
    replica: str
    now_ms: int


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line to add; what is None, empty or 0 comes from the catalogue."""

    sku: str
    quantity: int
    unit_price_minor: int | None = None
    title: str | None = None
    kind: LineKind | None = None
    gtin: str = ""
    unit: Unit | None = None
    price_quantity: int = 0
    override_reason: str = ""
    label_amount_minor: int | None = None
    adjustments: tuple[Adjustment, ...] = ()
    tax_code: str | None = None
    tax_rate_ppm: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class NewCheckout:
    """A basket to open."""

    checkout_id: str
    store_id: str
    origin: Origin
    payer: Payer
    currency: str
    lines: Sequence[NewLine]
    prices_include_tax: bool
    labels: Mapping[str, str]
    exchanged_refund_id: str = ""


@dataclass(frozen=True, slots=True)
class LineChange:
    """What to change of a line; None leaves it as it is."""

    line_number: int
    quantity: int | None
    unit_price_minor: int | None
    override_reason: str
    note: str | None


@dataclass(frozen=True, slots=True)
class NewPayment:
    """A payment to start: what the shopper was shown, and for how long an outcome is waited for."""

    checkout_id: str
    order_version: int
    amount: Money
    origin: Origin
    pay_code: Secret | None
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a checkout; its number is never used again."""

    number: int
    item: LineItem
    deposit_of: int = 0
    """The number of the line whose deposit it is; 0 for every other line."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The last payment that this till started."""

    payment_id: str
    reason: str
    """The reason of its end."""
    deadline_at_ms: int
    """Until when an outcome is expected, by this till's clock."""
    payer_until_ms: int
    """Until when its payer may act, by this till's clock; 0 while it does not wait for the payer."""
    canceling: bool
    """True once it is given up: it is not asked for again, only whether it paid."""
    cancel_unanswered: bool
    """True once the order left a cancellation unanswered."""


@dataclass(frozen=True, slots=True)
class Parking:
    """That a checkout was put aside."""

    owner: str
    label: str
    parked_at_ms: int
    parked_until_ms: int
    """When the terminal withdraws its order; 0 is never."""

    def prolonged(self, now_ms: int) -> "Parking":
        """The same, from now on for as long as the time was until now: so each time is twice as long as the last."""
        kept_ms = self.parked_until_ms - self.parked_at_ms
        return replace(self, parked_until_ms=now_ms + kept_ms) if self.parked_until_ms else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout(Stateful):
    """One checkout as it is now."""

    checkout_id: str
    store_id: str
    origin: Origin
    payer: Payer
    """An identity, or a reference that this till made up for whoever shows a pay code."""
    payer_display_name: str = ""
    """Of whoever showed a pay code for the payment that is under way or paid; else empty."""
    lines: Sequence[Line]
    last_line_number: int
    prices_include_tax: bool
    amount: Money
    labels: Mapping[str, str]
    basket_version: int = 1
    """Grows by one with each change of the lines."""
    state: CheckoutState = CHECKOUT.initial
    order_version: int = 0
    unanswered: str = ""
    """Request id of the outbox row that keeps it busy; empty if none does."""
    attempt: Attempt | None = None
    parking: Parking | None = None
    """Set while it is put aside."""
    paid_by: str = ""
    """The payment that paid the order, whoever started it; empty where there was nothing to pay."""
    paid_at_ms: int = 0
    """When this till learnt that it is paid."""
    sold_at_ms: int = 0
    """When it was paid, by the server that said so: the time on its receipt. It may be long before `paid_at_ms`."""
    refunded_minor: int = 0
    order_epoch: int = 0
    """How often the order had been locked when its lock was last looked at: what was read before says nothing new."""
    locked_by: str = ""
    """Somebody else's payment that has the order's lock, as the order service last said; empty without one."""
    locked_until_ms: int = 0
    """When that lock ends at the latest, by this till's clock."""
    confirmed_at_ms: int = 0
    """When the order service last answered about its order."""
    exchanged_refund_id: str = ""
    """The refund that this sale is an exchange for; empty if it is for none."""
    void_id: str = ""
    """The refund id of the last VoidCheckout that undoes it; empty if none does, or if that was refused."""

    def without_void(self, refund_id: str) -> "Checkout":
        """The checkout once a void was refused, unless another one undoes it."""
        return replace(self, void_id="") if self.void_id == refund_id else self

    @property
    def lane(self) -> str:
        """The device that it was opened on."""
        return self.origin.lane

    @property
    def busy_with(self) -> str:
        """Id of the request that keeps it from being changed or paid; empty if none does."""
        return self.unanswered or ("" if CHECKOUT.is_final(self.state) else self.void_id)

    @property
    def totals(self) -> Totals:
        """The totals of its lines."""
        return totals(items_of(self.lines), prices_include_tax=self.prices_include_tax)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutChange(HistoryEntry):
    """One thing that happened to a checkout."""

    checkout_id: str
    lane: str
    order_version: int
    amount: Money
    reference: str = ""
    reason: str = ""


def items_of(lines: Sequence[Line]) -> tuple[LineItem, ...]:
    """The items of numbered lines."""
    return tuple(line.item for line in lines)


def renumbered(lines: Sequence[Line], items: Sequence[LineItem], last_number: int) -> tuple[Line, ...]:
    """Items that somebody else gave the order, as lines: those known keep their number, others get new ones."""
    known: dict[LineItem, list[Line]] = {}
    for line in reversed(lines):
        known.setdefault(line.item, []).append(line)
    numbered = []
    for item in items:
        if known.get(item):
            line = known[item].pop()
        else:
            last_number += 1
            line = Line(last_number, item)
        numbered.append(line)
    return tuple(numbered)
