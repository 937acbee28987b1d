"""Accounts, identities, payments, refunds and history, and the rules that need nothing else."""

from dataclasses import dataclass, field
from enum import StrEnum

from thirdparty_server.lifecycle import PaymentState
from tillmesh.runtime.money import Money

PIN_TRIES = 5
"""Wrong PINs in a row after which no PIN is right, until a new one is set."""
CODE_TRIES = 5
"""Wrong pay codes in a row after which a device's codes are locked for a while."""
REFERENCE_MS = 3_600_000
"""For how long after a pay code its order may be paid without another one, if the payer says yes."""
DAY_MS = 86_400_000


class AccountKind(StrEnum):
    """What an account is for."""

    WALLET = "WALLET"
    STORE_SALES = "STORE_SALES"
    STORE_RETURNS = "STORE_RETURNS"
    EXTERNAL = "EXTERNAL"


class Phase(StrEnum):
    """What a transfer does; only SINGLE and POST move money."""

    SINGLE = "SINGLE"
    HOLD = "HOLD"
    POST = "POST"
    VOID = "VOID"


class Purpose(StrEnum):
    """What a transfer is for."""

    DEPOSIT = "DEPOSIT"
    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    RETURN = "RETURN"


@dataclass(frozen=True, slots=True)
class AccountRef:
    """The name of an account."""

    kind: AccountKind
    account_id: str
    currency: str

    @property
    def guarded(self) -> bool:
        """True if the account has a limit and so keeps its balance."""
        return self.kind in (AccountKind.WALLET, AccountKind.STORE_RETURNS)


def wallet(identity_id: str, currency: str) -> AccountRef:
    """The account bound to an identity."""
    return AccountRef(AccountKind.WALLET, f"wallet/{identity_id}", currency)


def wallet_owner(account_id: str) -> str | None:
    """The identity whose wallet has that id; None if it is no wallet."""
    kind, _, identity_id = account_id.partition("/")
    return identity_id if kind == "wallet" else None


def store_sales(store_id: str, currency: str) -> AccountRef:
    """What a store was paid, less what it refunded."""
    return AccountRef(AccountKind.STORE_SALES, f"sales/{store_id}/{currency}", currency)


def store_returns(store_id: str, currency: str) -> AccountRef:
    """What a store gave back for returns without their sale."""
    return AccountRef(AccountKind.STORE_RETURNS, f"returns/{store_id}/{currency}", currency)


def external(currency: str) -> AccountRef:
    """The world outside, where deposits come from."""
    return AccountRef(AccountKind.EXTERNAL, f"external/{currency}", currency)


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is now; only guarded ones have a credit limit."""

    account_id: str
    kind: AccountKind
    currency: str
    posted_minor: int
    held_minor: int
    credit_limit_minor: int | None

    @property
    def left(self) -> Money:
        """What may still be taken from a guarded account."""
        return Money(self.currency, self.posted_minor - self.held_minor + (self.credit_limit_minor or 0))


@dataclass(frozen=True, slots=True)
class Entry:
    """A transfer as seen from one of its accounts; the amount is negative where it loses."""

    transfer_id: int
    phase: Phase
    purpose: Purpose
    reference: str
    counterparty_account_id: str
    amount: Money
    at_ms: int


@dataclass(slots=True)
class TrialBalance:
    """What one currency adds up to; all kinds together are zero, or the books are broken."""

    currency: str
    minor_by_kind: dict[AccountKind, int] = field(default_factory=lambda: dict.fromkeys(AccountKind, 0))
    held_minor: int = 0
    differing_account_ids: list[str] = field(default_factory=list)

    def add(self, kind: AccountKind, posted_minor: int, held_minor: int) -> None:
        """Adds an account."""
        self.minor_by_kind[kind] += posted_minor
        self.held_minor += held_minor


@dataclass(frozen=True, slots=True)
class Identity:
    """Who pays, with the one account bound to it."""

    identity_id: str
    display_name: str
    currency: str
    instant_limit_minor: int | None
    instant_count_max: int | None
    created_at_ms: int

    def needs_confirmation(self, amount: Money) -> bool:
        """True if the payer has to say yes to so much."""
        return self.instant_limit_minor is not None and amount.minor > self.instant_limit_minor


@dataclass(frozen=True, slots=True)
class Device:
    """A payer's own terminal, and what its pay codes are made of."""

    device_uri: str
    identity_id: str
    handle: str
    """Names it in its pay codes."""
    key_id: str
    """What its key is derived from: the request that made it."""
    code_locked_until_ms: int
    created_at_ms: int

    @property
    def device_id(self) -> str:
        """The last part of its URI."""
        return self.device_uri.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Reference:
    """Whom an order was raised under whose payer showed a pay code."""

    payer_reference: str
    identity_id: str
    store_id: str
    order_id: str
    created_at_ms: int

    def is_for(self, store_id: str, order_id: str) -> bool:
        """True if it was made for that order of that store."""
        return (self.store_id, self.order_id) == (store_id, order_id)


@dataclass(frozen=True, slots=True)
class Payer:
    """Who is to pay, and how that is known."""

    identity: Identity | None
    """Whose account it is; None if the payment is to be declined."""
    by_code: bool = False
    """True if they showed a pay code for it."""
    reason: str = ""
    """Why it is to be declined."""


@dataclass(frozen=True, slots=True)
class PinTry:
    """A PIN that was keyed in: counted before it is checked."""

    identity_id: str
    pin_hash: str
    right: bool = False


@dataclass(frozen=True, slots=True)
class Payment:
    """One attempt to pay one version of one order."""

    payment_id: str
    order_id: str
    order_version: int
    payer_id: str
    """As the order names them: an identity, or the reference of who showed a pay code."""
    identity_id: str | None
    """Whose account it is; None if nobody is known."""
    payer_display_name: str
    """What the store may show; empty without a pay code."""
    store_id: str
    amount: Money
    confirm: bool
    """True if it waits for its payer once the order is locked."""
    state: PaymentState
    reason: str
    epoch: int
    hold_id: int | None
    confirm_deadline_ms: int
    refunded_minor: int
    event_count: int
    history_hash: bytes
    trace_id: str
    created_at_ms: int
    updated_at_ms: int


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back; `payment_id` is empty for a return without its sale."""

    refund_id: str
    payment_id: str
    store_id: str
    payer_id: str
    amount: Money
    note: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change of a payment."""

    payment_id: str
    number: int
    event: str
    from_state: PaymentState | None
    to_state: PaymentState
    epoch: int
    reason: str
    refund_id: str
    amount: Money
    trace_id: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Lock:
    """The order's yes to LockOrder."""

    epoch: int
    store_id: str
    remaining_ms: int


@dataclass(frozen=True, slots=True)
class Timing:
    """How long things may take, in milliseconds."""

    payer_window_ms: int
    """For the payer's yes."""
    lease_margin_ms: int
    """By which the order's lease outlasts the payer's window."""
    instant_lease_ms: int
    """Lease of a payment that waits for nobody."""
    lock_patience_ms: int
    """How long a payment tries to lock its order before it is given up."""

    def lease_ms(self, confirm: bool) -> int:
        """The lease to ask for."""
        return self.payer_window_ms + self.lease_margin_ms if confirm else self.instant_lease_ms

    def window_ms(self, lease_remaining_ms: int) -> int:
        """The payer's window within a lease: it always ends before the lease does."""
        return max(lease_remaining_ms - self.lease_margin_ms, lease_remaining_ms // 2)
