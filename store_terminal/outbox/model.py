"""Requests to other servers, and what they answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from store_terminal.checkouts.model import Checkout
from tillmesh.lines import LineItem, TaxTotal
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.runtime.money import Money


class RequestKind(StrEnum):
    """The kind of a request to another server."""

    CREATE_ORDER = "CREATE_ORDER"
    REPLACE_ORDER_LINES = "REPLACE_ORDER_LINES"
    CANCEL_ORDER = "CANCEL_ORDER"
    COMPLETE_FREE_ORDER = "COMPLETE_FREE_ORDER"
    PAY = "PAY"
    REFUND = "REFUND"
    UNREFERENCED_REFUND = "UNREFERENCED_REFUND"
    VOID = "VOID"


class EntryState(StrEnum):
    """The progress of a request. DONE and REFUSED are final."""

    WAITING = "WAITING"  # for another request to be done: until then nothing is sent
    PENDING = "PENDING"
    DONE = "DONE"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One request to another server, written before it is sent (rule 3)."""

    request_id: str
    """The caller's; also that of the request, and so the payment id or the refund id."""
    checkout_id: str
    """Empty for a return without its sale."""
    kind: RequestKind
    request: bytes
    """The message, exactly as it is sent each time, but for a pay code."""
    trace_id: str
    claimed_by: str
    """The process that drives it: at first the one that wrote it, which may have the pay code."""
    claimed_until_ms: int
    created_at_ms: int
    pay_code_shown: bool = False
    """True where a pay code belongs to it, which only the process has that was shown it."""
    line_numbers: Sequence[tuple[int, int]] = ()
    """Of a REPLACE_ORDER_LINES: the number of each line, and of the line whose deposit it is."""
    next_id: str = ""
    """Of a CREATE_ORDER: the request that waits for it, as a sale in one call has one; else empty."""
    state: EntryState = EntryState.PENDING
    reason: str = ""
    """Of a REPLACE_ORDER_LINES until it ends: what the history says of the change. Why it was refused, if it was."""
    refusal: bytes = b""
    """The google.rpc.Status of a refusal, to be raised again."""

    @property
    def ended(self) -> bool:
        """True once nothing more comes of it."""
        return self.state in (EntryState.DONE, EntryState.REFUSED)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request to another server, and its checkout, if it has one."""

    entry: OutboxEntry
    checkout: Checkout | None
    beside: OutboxEntry | None = None
    """The request that it waits for, or that waits for it, where that was written together with it."""

    @property
    def waiting(self) -> bool:
        """True while it must not be sent: another request comes first."""
        return self.entry.state is EntryState.WAITING

    @property
    def pending(self) -> bool:
        """True while it is asked for."""
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
    paid_at_ms: int
    """When it was paid, by the order service's clock; 0 if it is not."""
    payer_display_name: str | None
    """Of whoever showed a pay code for that payment; None where the payment server did not say."""
    canceled: bool
    epoch: int
    """How often it was locked."""
    locked_by: str
    """The payment that holds its lock; empty if none does."""
    lease_remaining_ms: int


@dataclass(frozen=True, slots=True)
class Refunded:
    """A refund as the payment server made it."""

    amount: Money
    lines: Sequence[tuple[int, int, int]]
    """Position in the order from 1, quantity, and what that came to."""
    taxes: Sequence[TaxTotal]
