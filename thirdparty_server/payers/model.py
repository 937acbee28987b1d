"""Identities, wallets, phones, and tries of a PIN."""

from dataclasses import dataclass

from thirdparty_server.ledger.model import AccountRef
from thirdparty_server.updates import Versioned
from tillmesh.runtime.money import Money

PIN_TRIES = 5
"""Wrong PINs in a row after which no PIN is right, until a new one is set."""
CODE_TRIES = 5
"""Wrong pay codes in a row after which a phone's codes are locked for a while."""

WALLETS = 1
"""The place of wallets in the order in which operations take rows that many want: before accounts."""


@dataclass(frozen=True, slots=True)
class Identity(Versioned):
    """An online identity. It pays from its wallets."""

    identity_id: str
    display_name: str


@dataclass(frozen=True, slots=True)
class Wallet(Versioned):
    """The money of an identity in one currency, and the limits up to which it pays without a confirmation."""

    identity_id: str
    account: AccountRef
    """Its account in the ledger."""
    confirmation_threshold: Money | None
    """The largest amount that is paid without a yes; None: each payment needs one."""
    unconfirmed_payments_per_day_max: int | None
    """The largest number of payments a day without a yes; None for any number."""

    @property
    def currency(self) -> str:
        """The currency of its account."""
        return self.account.currency

    def needs_confirmation(self, amount: Money) -> bool:
        """True if the payer has to say yes to so much."""
        return self.confirmation_threshold is None or amount.minor > self.confirmation_threshold.minor


@dataclass(frozen=True, slots=True)
class Phone:
    """A payer's own terminal, and what its pay codes are made of."""

    phone_uri: str
    identity_id: str
    handle: str
    """Names it in its pay codes."""
    key_id: str
    """The request that made it. Its key is derived from this."""
    created_at_ms: int
    code_locked_until_ms: int = 0

    @property
    def phone_id(self) -> str:
        """The last part of its URI."""
        return self.phone_uri.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class PinTry:
    """A PIN that was keyed in: counted before it is checked."""

    identity_id: str
    pin_hash: str
    attempt: int = 0
    """How often the check of its request id was begun; 0 for a try without one."""
    right: bool = False
