"""Identities, wallets, phones, and tries of a PIN."""

from dataclasses import dataclass

from thirdparty_server.ledger.model import AccountRef, wallet
from tillmesh.runtime.money import Money

PIN_TRIES = 5
"""Wrong PINs in a row after which no PIN is right, until a new one is set."""
CODE_TRIES = 5
"""Wrong pay codes in a row after which a phone's codes are locked for a while."""


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
class PinTry:
    """A PIN that was keyed in: counted before it is checked."""

    identity_id: str
    pin_hash: str
    right: bool = False
