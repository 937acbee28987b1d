"""What a receipt says, whatever it is printed on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from enum import StrEnum
from zoneinfo import ZoneInfo

from store_terminal.checkouts.model import Checkout, Line, Till
from store_terminal.refunds.model import TillRefund
from tillmesh import receipt_code
from tillmesh.lines import TaxTotal
from tillmesh.origin import NOWHERE, Origin
from tillmesh.payer import PayerKind
from tillmesh.runtime.money import Money

UNKNOWN_ZONE = "UTC"


class Kind(StrEnum):
    """What a receipt is for."""

    SALE = "SALE"
    REFUND = "REFUND"
    RETURN = "RETURN"
    DECLINE = "DECLINE"
    BILL = "BILL"


@dataclass(frozen=True, slots=True)
class StoreRecord:
    """What the payment server knows of a store, as far as it is printed."""

    store_id: str
    name: str
    address_lines: tuple[str, ...] = ()
    tax_number: str = ""
    time_zone: str = UNKNOWN_ZONE

    @property
    def zone(self) -> tzinfo | None:
        """Its time zone; None if this machine does not know it."""
        try:
            return ZoneInfo(self.time_zone)
        except (ValueError, OSError, KeyError):  # no such name, no such file, or one that is no time zone
            return None


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment, or its refusal."""

    payment_id: str
    """Empty where there was nothing to pay, and for a return."""
    payer: str
    """Who paid, or gets the money of a return, as far as the till may know."""
    amount: Money | None
    reason: str = ""
    """Why it was declined."""


@dataclass(frozen=True, slots=True)
class Decline:
    """The end of a payment that did not pay."""

    payment_id: str
    amount: Money
    reason: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a receipt is made of."""

    kind: Kind
    store: StoreRecord
    checkout: Checkout | None
    """None for a return."""
    now_ms: int
    refunds: Sequence[TillRefund] = ()
    """Of a sale the latest ones, oldest first; of a refund or a return the one."""
    has_earlier_refunds: bool = False
    exchanged: TillRefund | None = None
    """The refund that the sale is an exchange for."""
    decline: Decline | None = None
    """Of a DECLINE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One receipt. Only a sale and a bill have lines, taxes and a total."""

    kind: Kind
    reprint: bool
    store: StoreRecord
    terminal_id: str
    origin: Origin
    checkout_id: str
    lines: Sequence[Line]
    prices_include_tax: bool
    amount: Money | None
    taxes: Sequence[TaxTotal]
    payment: Payment | None
    refunds: Sequence[TillRefund]
    has_earlier_refunds: bool
    exchanged: TillRefund | None
    zone: tzinfo
    at_ms: int
    qr_text: str

    @property
    def exchange_difference(self) -> Money | None:
        """What the sale comes to, less what came back for it; None in two currencies."""
        if self.exchanged is None or self.amount is None or self.exchanged.currency != self.amount.currency:
            return None
        return Money(self.amount.currency, self.amount.minor - (self.exchanged.amount_minor or 0))

    def local(self, at_ms: int) -> datetime:
        """A moment by the clock on the store's wall."""
        return datetime.fromtimestamp(at_ms / 1000, self.zone)


def receipt_of(sources: Sources, till: Till, *, reprint: bool) -> Receipt:
    """Makes a receipt. A time zone that this machine does not know is shown as UTC."""
    checkout, kind = sources.checkout, sources.kind
    zone = sources.store.zone
    has_lines = checkout is not None and kind in (Kind.SALE, Kind.BILL)
    lines = checkout.lines if checkout and has_lines else ()
    amount = checkout.amount if checkout and has_lines else None
    if sources.decline:
        amount = sources.decline.amount
    return Receipt(
        kind=kind,
        reprint=reprint,
        store=sources.store if zone else replace(sources.store, time_zone=UNKNOWN_ZONE),
        terminal_id=till.terminal_id,
        origin=_origin(sources),
        checkout_id=checkout.checkout_id if checkout else "",
        lines=lines,
        prices_include_tax=checkout is not None and checkout.prices_include_tax,
        amount=amount,
        taxes=checkout.totals.taxes if checkout and has_lines else (),
        payment=_payment(sources),
        refunds=sources.refunds,
        has_earlier_refunds=sources.has_earlier_refunds,
        exchanged=sources.exchanged,
        zone=zone or UTC,
        at_ms=_at_ms(sources),
        qr_text=_qr_text(checkout, till) if checkout else "",
    )


def _origin(sources: Sources) -> Origin:
    if sources.kind in (Kind.REFUND, Kind.RETURN):
        return sources.refunds[0].origin
    return sources.checkout.origin if sources.checkout else NOWHERE


def _payment(sources: Sources) -> Payment | None:
    checkout, decline = sources.checkout, sources.decline
    if decline:
        return Payment(decline.payment_id, "", decline.amount, decline.reason)
    if checkout is None:
        payee = sources.refunds[0].payer
        return Payment("", payee.value, None) if payee else None
    if sources.kind is Kind.BILL:
        return None
    return Payment(checkout.paid_by, _payer(checkout) if checkout.paid_by else "", checkout.amount)


def _payer(checkout: Checkout) -> str:
    """Who paid; empty where the till knows nothing but a reference, which says nothing to anybody."""
    known = checkout.payer.value if checkout.payer.kind is PayerKind.IDENTITY else ""
    return checkout.payer_display_name or known


def _at_ms(sources: Sources) -> int:
    match sources.kind:
        case Kind.SALE if sources.checkout:
            return sources.checkout.sold_at_ms
        case Kind.DECLINE if sources.decline:
            return sources.decline.at_ms
        case Kind.REFUND | Kind.RETURN:
            return sources.refunds[0].created_at_ms
    return sources.now_ms


def _qr_text(checkout: Checkout, till: Till) -> str:
    return receipt_code.make(checkout.checkout_id, till.terminal_id, checkout.event_count, checkout.history_hash)
