"""Accounts, identities, stores, payments, refunds and history, and the rules that need nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from thirdparty_server.lifecycle import PaymentState
from tillmesh.lines import LineItem, TaxTotal
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.runtime.money import Money

PIN_TRIES = 5
"""Wrong PINs in a row after which no PIN is right, until a new one is set."""
CODE_TRIES = 5
"""Wrong pay codes in a row after which a phone's codes are locked for a while."""
REFERENCE_MS = 3_600_000
"""For how long after a pay code its order may be paid without another one, if its payer says yes."""
GUESSES_MS = 3_600_000
"""For how long a store's payments count that named somebody who cannot pay."""
DAY_MS = 86_400_000


class AccountKind(StrEnum):
    """The purpose of an account."""

    WALLET = "WALLET"
    STORE_SALES = "STORE_SALES"
    STORE_RETURNS = "STORE_RETURNS"
    EXTERNAL = "EXTERNAL"


class Phase(StrEnum):
    """The effect of a transfer. Only SINGLE and POST move money."""

    SINGLE = "SINGLE"
    HOLD = "HOLD"
    POST = "POST"
    VOID = "VOID"


class Purpose(StrEnum):
    """The purpose of a transfer."""

    DEPOSIT = "DEPOSIT"
    PAYMENT = "PAYMENT"
    REFUND = "REFUND"
    UNREFERENCED_REFUND = "UNREFERENCED_REFUND"


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
    """The account of an identity's wallet in that currency."""
    return AccountRef(AccountKind.WALLET, f"wallet/{identity_id}/{currency}", currency)


def wallet_owner(account_id: str) -> str | None:
    """The identity whose wallet has that id; None if it is no wallet."""
    kind, _, rest = account_id.partition("/")
    return rest.partition("/")[0] if kind == "wallet" else None


def store_sales(store_id: str, currency: str) -> AccountRef:
    """The takings of a store: its payments less its refunds."""
    return AccountRef(AccountKind.STORE_SALES, f"sales/{store_id}/{currency}", currency)


def store_returns(store_id: str, currency: str) -> AccountRef:
    """The account of a store's refunds without a sale."""
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
        """The amount that may still be taken from a guarded account."""
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
    actor: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class Deposit:
    """Money from outside, put into a wallet."""

    deposit_id: str
    identity_id: str
    amount: Money
    actor: str
    created_at_ms: int


@dataclass(slots=True)
class TrialBalance:
    """The totals of one currency by kind of account. Their sum is zero, or the books are broken."""

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
    """An online identity. It pays from its wallets."""

    identity_id: str
    display_name: str
    version: int
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class Wallet:
    """The money of an identity in one currency, and the limits up to which it pays without a confirmation."""

    identity_id: str
    currency: str
    threshold_minor: int | None
    """The largest amount that is paid without a yes; None: each payment needs one."""
    unconfirmed_per_day_max: int | None
    """The largest number of payments a day without a yes; None for any number."""
    version: int
    created_at_ms: int

    @property
    def account(self) -> AccountRef:
        """Its account in the ledger."""
        return wallet(self.identity_id, self.currency)

    @property
    def threshold(self) -> Money | None:
        """The largest amount that is paid without a yes."""
        return None if self.threshold_minor is None else Money(self.currency, self.threshold_minor)

    def needs_confirmation(self, amount: Money) -> bool:
        """True if the payer has to say yes to so much."""
        return self.threshold_minor is None or amount.minor > self.threshold_minor


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


@dataclass(frozen=True, slots=True)
class Phone:
    """A payer's own terminal, and what its pay codes are made of."""

    phone_uri: str
    identity_id: str
    handle: str
    """Names it in its pay codes."""
    key_id: str
    """The request that made it. Its key is derived from this."""
    code_locked_until_ms: int
    created_at_ms: int

    @property
    def phone_id(self) -> str:
        """The last part of its URI."""
        return self.phone_uri.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class FoundPayer:
    """The payer that was found for a payment, and by which means."""

    identity: Identity | None
    """None if nobody is found."""
    by_code: bool = False
    """True if they showed a pay code for this payment, and it counted."""
    must_confirm: bool = False
    """True if they have to say yes, whatever their wallet's limits are."""
    reason: str = ""
    """The reason to decline the payment before the order is asked; empty for none."""


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
    payer: Payer
    """As the order names them."""
    by_code: bool
    """True if a pay code was shown for this payment, and counted."""
    identity_id: str | None
    """The identity whose wallet pays; None if nobody was found."""
    payer_display_name: str
    """The name that the store may show. Empty without a pay code."""
    store_id: str
    origin: Origin
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

    @property
    def left(self) -> Money:
        """The amount that may still be refunded."""
        return Money(self.amount.currency, self.amount.minor - self.refunded_minor)


@dataclass(frozen=True, slots=True)
class PaidVersion:
    """The version of an order that a payment paid for. Its lines never change."""

    lines: tuple[LineItem, ...]
    prices_include_tax: bool


@dataclass(frozen=True, slots=True)
class Everything:
    """All that is left of a payment, as what is to be refunded of it."""


Wanted = Money | Mapping[int, int] | Everything
"""The part of a payment to refund: an amount, quantities by line number, or all that is left."""


@dataclass(frozen=True, slots=True)
class RefundLine:
    """A quantity of one line of a paid order that came back. Lines are numbered from 1."""

    line_number: int
    quantity: int
    amount_minor: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The amount, the taxes and the lines of a refund."""

    amount: Money
    taxes: tuple[TaxTotal, ...] = ()
    """The taxes in the lines."""
    lines: tuple[RefundLine, ...] = ()


@dataclass(frozen=True, slots=True)
class Refund:
    """Money given back; `payment_id` is empty for a refund without a sale."""

    refund_id: str
    payment_id: str
    store_id: str
    payer: Payer
    by_code: bool
    """True if a pay code, and nobody else, named the payer."""
    given: GivenBack
    note: str
    origin: Origin
    actor: str
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
    actor: str
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
