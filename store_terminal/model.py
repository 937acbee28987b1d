"""Checkouts, the journal, refunds and the catalogue, and the rules that need nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from store_terminal.lifecycle import CheckoutState
from tillmesh.lines import Adjustment, LineItem, TaxTotal, Totals, Unit, totals
from tillmesh.lines import Kind as LineKind
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.runtime.money import Money

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


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a checkout; its number is never used again."""

    number: int
    item: LineItem


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
class Checkout:
    """One checkout as it is now."""

    checkout_id: str
    store_id: str
    origin: Origin
    payer: Payer
    """An identity, or a reference that this till made up for whoever shows a pay code."""
    payer_display_name: str
    """Of whoever showed a pay code for the payment that is under way or paid; else empty."""
    lines: Sequence[Line]
    last_line_number: int
    prices_include_tax: bool
    amount: Money
    labels: Mapping[str, str]
    basket_version: int
    """Grows by one with each change of the lines."""
    state: CheckoutState
    order_version: int
    unanswered: str
    """Request id of the journal row that keeps it busy; empty if none does."""
    attempt: Attempt | None
    paid_by: str
    """The payment that paid the order, whoever started it; empty where there was nothing to pay."""
    paid_at_ms: int
    refunded_minor: int
    confirmed_at_ms: int
    """When the order service last answered about its order."""
    event_count: int
    history_hash: bytes
    created_at_ms: int
    updated_at_ms: int

    @property
    def totals(self) -> Totals:
        """The totals of its lines."""
        return totals(items_of(self.lines), prices_include_tax=self.prices_include_tax)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened to a checkout."""

    checkout_id: str
    number: int
    event: str
    from_state: CheckoutState | None
    to_state: CheckoutState
    order_version: int
    amount: Money
    reference: str
    reason: str
    actor: str
    trace_id: str
    at_ms: int


class Kind(StrEnum):
    """The kind of a request to another server."""

    CREATE_ORDER = "CREATE_ORDER"
    REPLACE_ORDER_LINES = "REPLACE_ORDER_LINES"
    CANCEL_ORDER = "CANCEL_ORDER"
    COMPLETE_FREE_ORDER = "COMPLETE_FREE_ORDER"
    PAY = "PAY"
    REFUND = "REFUND"
    UNREFERENCED_REFUND = "UNREFERENCED_REFUND"


class EntryState(StrEnum):
    """The progress of a request. DONE and REFUSED are final."""

    PENDING = "PENDING"
    DONE = "DONE"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One request to another server, written before it is sent (rule 3)."""

    request_id: str
    """The caller's; also that of the request, and so the payment id or the refund id."""
    checkout_id: str
    """Empty for a return without its sale."""
    kind: Kind
    request: bytes
    """The message, exactly as it is sent each time, but for a pay code."""
    pay_code_shown: bool
    """True where a pay code belongs to it, which only the process has that was shown it."""
    line_numbers: Sequence[int]
    """Of a REPLACE_ORDER_LINES: the numbers of its lines."""
    state: EntryState
    reason: str
    refusal: bytes
    """The google.rpc.Status of a refusal, to be raised again."""
    trace_id: str
    claimed_by: str
    """The process that drives it: at first the one that wrote it, which may have the pay code."""
    claimed_until_ms: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Asked:
    """A request to another server, and its checkout, if it has one."""

    entry: JournalEntry
    checkout: Checkout | None

    @property
    def pending(self) -> bool:
        """True while nothing has ended it."""
        return self.entry.state is EntryState.PENDING

    def of_checkout(self) -> Checkout:
        """The checkout of what is always asked for one."""
        assert self.checkout is not None, f"{self.entry.kind} is asked for a checkout"
        return self.checkout


@dataclass(frozen=True, slots=True)
class OrderCopy:
    """An order, as the order service showed it."""

    order_id: str
    store_id: str
    origin: Origin
    payer: Payer
    items: Sequence[LineItem]
    prices_include_tax: bool
    amount: Money
    labels: Mapping[str, str]
    version: int
    paid: bool
    paid_by: str
    """The payment that paid it; empty if none did."""
    payer_display_name: str | None
    """Of whoever showed a pay code for that payment; None where the payment server did not say."""
    canceled: bool
    locked_by: str
    """The payment that holds its lock; empty if none does."""
    lease_remaining_ms: int


@dataclass(frozen=True, slots=True)
class TillRefund:
    """Money given back; its state is that of its journal entry."""

    refund_id: str
    checkout_id: str
    payer: Payer | None
    """None for a return to whoever showed a pay code."""
    items: Sequence[LineItem]
    """The items that came back, each with its amount."""
    taxes: Sequence[TaxTotal]
    currency: str
    amount_minor: int | None
    """None while the payment server has not said how much it is."""
    note: str
    origin: Origin
    actor: str
    state: EntryState
    reason: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class ReturnedLine:
    """A quantity of a checkout's line that came back."""

    line_number: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Refunded:
    """A refund as the payment server made it."""

    amount: Money
    lines: Sequence[tuple[int, int, int]]
    """Position in the order from 1, quantity, and what that came to."""
    taxes: Sequence[TaxTotal]


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """An article that the store sells."""

    sku: str
    gtin: str
    title: str
    kind: LineKind
    unit: Unit
    unit_price: Money
    price_quantity: int
    tax_code: str
    tax_rate_ppm: int


def items_of(lines: Sequence[Line]) -> tuple[LineItem, ...]:
    """The items of numbered lines."""
    return tuple(line.item for line in lines)


def renumbered(lines: Sequence[Line], items: Sequence[LineItem], last_number: int) -> tuple[Line, ...]:
    """Items that somebody else gave the order, as lines: those known keep their number, others get new ones."""
    known: dict[LineItem, list[int]] = {}
    for line in reversed(lines):
        known.setdefault(line.item, []).append(line.number)
    numbered = []
    for item in items:
        if known.get(item):
            number = known[item].pop()
        else:
            last_number += 1
            number = last_number
        numbered.append(Line(number, item))
    return tuple(numbered)
