"""Accounts, transfers and their totals."""

from dataclasses import dataclass, field
from enum import StrEnum

from tillmesh.runtime.money import MINOR_UNITS_MAX, Money

BALANCE_MAX = 9_000 * MINOR_UNITS_MAX
"""No kept balance is further from zero: an amount more still is a signed 64-bit integer."""
ISSUED_MAX = BALANCE_MAX // 2
"""So much may come from outside in one currency: with what stores give back beyond it, all sums are 64-bit integers."""

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


_KIND_BY_PREFIX = {
    "wallet": AccountKind.WALLET,
    "sales": AccountKind.STORE_SALES,
    "returns": AccountKind.STORE_RETURNS,
    "external": AccountKind.EXTERNAL,
}


def wallet(identity_id: str, currency: str) -> AccountRef:
    """The account of an identity's wallet in that currency."""
    return AccountRef(AccountKind.WALLET, f"wallet/{identity_id}/{currency}", currency)


def currency_and_kind(account_id: str) -> tuple[str, AccountKind]:
    """What the id of an account says of it."""
    kind, _, rest = account_id.partition("/")
    return rest.rpartition("/")[2], _KIND_BY_PREFIX[kind]


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

    xact_id: int
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
class LedgerProgress:
    """How far the transfers are added up, and the kept balances compared with them."""

    id: int = 1
    through_xact_id: int = 0
    through_transfer_id: int = 0
    through_at_ms: int = 0
    compared_account_id: str = ""
    """The last account that was compared since `began_at_ms`; empty once all are."""
    began_transfer_id: int = 0
    """What `through_transfer_id` was then."""
    began_at_ms: int = 0
    verified_at_ms: int = 0
    """All accounts were compared since then; 0 before that happened."""


@dataclass(slots=True)
class TrialBalance:
    """The totals of one currency by kind of account. Their sum is zero, or the books are broken."""

    currency: str
    minor_by_kind: dict[AccountKind, int] = field(default_factory=lambda: dict.fromkeys(AccountKind, 0))
    held_minor: int = 0
    differing_account_ids: list[str] = field(default_factory=list)
    through_at_ms: int = 0
    """When the newest of the transfers was booked that the totals contain."""
    verified_at_ms: int = 0
    """Since when all kept balances were compared with their transfers; 0 before that happened."""


MOVING = (Phase.SINGLE, Phase.POST)
ENDING = (Phase.POST, Phase.VOID)
"""Phases that move money, and those that end a hold."""
