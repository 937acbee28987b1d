"""Checkouts, the journal, refunds and the catalogue, and the rules that need nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from store_terminal.lifecycle import CheckoutState
from tillmesh.runtime.money import Money

LINES_MAX = 2000


@dataclass(frozen=True, slots=True)
class LineItem:
    """What is sold; `unit_price_minor` in the checkout's currency."""

    sku: str
    title: str
    quantity: int
    unit_price_minor: int


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line to add; what is None comes from the catalogue."""

    sku: str
    quantity: int
    unit_price_minor: int | None
    title: str | None


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
    """Why it ended, or what it waits for."""
    deadline_at_ms: int
    """Until when an outcome is expected, by this till's clock."""
    canceling: bool
    """True once it is given up: it is not asked for again, only whether it paid."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """One checkout as it is now."""

    checkout_id: str
    store_id: str
    payer_id: str
    """An identity, or a reference that this till made up for whoever shows a pay code."""
    payer_display_name: str
    """Of whoever showed a pay code for the payment that is under way or paid; else empty."""
    lines: Sequence[Line]
    last_line_number: int
    amount: Money
    state: CheckoutState
    order_version: int
    unanswered: str
    """Request id of the journal row that keeps it busy; empty if none does."""
    attempt: Attempt | None
    paid_by: str
    """The payment that paid the order, whoever started it."""
    paid_at_ms: int
    refunded_minor: int
    event_count: int
    history_hash: bytes
    created_at_ms: int
    updated_at_ms: int


class Verdict(StrEnum):
    """What a till tells its operator."""

    UNSPECIFIED = "UNSPECIFIED"
    WAIT = "WAIT"
    HAND_OVER_GOODS = "HAND_OVER_GOODS"
    SAFE_TO_RETRY = "SAFE_TO_RETRY"
    DO_NOT_RETRY = "DO_NOT_RETRY"


def verdict(checkout: Checkout, now_ms: int) -> Verdict:
    """The verdict is the order's (rule 11): it follows from the state, which only the order's word changes."""
    if checkout.state is CheckoutState.PAID:
        return Verdict.HAND_OVER_GOODS
    if checkout.attempt is None:
        return Verdict.UNSPECIFIED
    if checkout.state is not CheckoutState.PAYING:
        return Verdict.SAFE_TO_RETRY
    return Verdict.WAIT if now_ms < checkout.attempt.deadline_at_ms else Verdict.DO_NOT_RETRY


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
    trace_id: str
    at_ms: int


class Kind(StrEnum):
    """What is asked of another server."""

    CREATE_ORDER = "CREATE_ORDER"
    UPDATE_ORDER = "UPDATE_ORDER"
    CANCEL_ORDER = "CANCEL_ORDER"
    PAY = "PAY"
    REFUND = "REFUND"


class EntryState(StrEnum):
    """How far it is; DONE and REFUSED are final."""

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
    """The message, exactly as it is sent each time."""
    line_numbers: Sequence[int]
    """Of an UPDATE_ORDER: the numbers of its lines."""
    state: EntryState
    reason: str
    refusal: bytes
    """The google.rpc.Status of a refusal, to be raised again."""
    trace_id: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What another server was asked, and the checkout that it is about, if it is about one."""

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
    payer_id: str
    items: Sequence[LineItem]
    amount: Money
    version: int
    paid_by: str
    """The payment that paid it; empty if it is not paid."""
    canceled: bool


@dataclass(frozen=True, slots=True)
class TillRefund:
    """Money given back; its state is that of its journal entry."""

    refund_id: str
    checkout_id: str
    payer_id: str
    items: Sequence[LineItem]
    currency: str
    amount_minor: int | None
    """None while "all that is left" is not answered."""
    note: str
    state: EntryState
    reason: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """An article that the store sells."""

    sku: str
    title: str
    unit_price: Money


def total_minor(items: Sequence[LineItem]) -> int:
    """Sum of the items, in minor units."""
    return sum(item.quantity * item.unit_price_minor for item in items)


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
