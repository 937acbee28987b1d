"""Accounts, transfers and their totals."""

from dataclasses import dataclass, field
from enum import StrEnum

from tillmesh.runtime.money import MINOR_UNITS_MAX, Money

BALANCE_MAX = 9_000 * MINOR_UNITS_MAX
"""No kept balance is further from zero: an amount more still is a signed 64-bit integer."""

ACCOUNTS = 2
"""The place of accounts in the order in which operations take rows that many want."""


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
class Transfer:
    """Money on its way from one account to another."""

    debit: AccountRef
    credit: AccountRef
    amount: Money
    purpose: Purpose
    reference: str
    """The deposit, payment or refund that it belongs to."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it is now; only guarded ones have a credit limit."""

    account_id: str
    kind: AccountKind
    currency: str
    credit_limit_minor: int | None
    posted_minor: int = 0
    held_minor: int = 0

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


@dataclass(frozen=True, slots=True)
class RollUp:
    """The sum of an account's transfers, up to one of them."""

    account_id: str
    through_transfer_id: int = 0
    posted_minor: int = 0


@dataclass(slots=True)
class TrialBalance:
    """The totals of one currency by kind of account. Their sum is zero, or the books are broken."""

    currency: str
    minor_by_kind: dict[AccountKind, int] = field(default_factory=lambda: dict.fromkeys(AccountKind, 0))
    held_minor: int = 0
    differing_account_ids: list[str] = field(default_factory=list)


MOVING = (Phase.SINGLE, Phase.POST)
ENDING = (Phase.POST, Phase.VOID)
"""Phases that move money, and those that end a hold."""
