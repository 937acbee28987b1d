"""Refunds of this till."""

from collections.abc import Sequence
from dataclasses import dataclass

from store_terminal.outbox.model import EntryState
from tillmesh.lines import LineItem, TaxTotal, Totals
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.runtime.secret import Secret


@dataclass(frozen=True, slots=True)
class TillRefund:
    """Money given back; its state is that of its outbox entry."""

    refund_id: str
    checkout_id: str
    payer: Payer | None
    """None for a return to whoever showed a pay code."""
    currency: str
    note: str
    origin: Origin
    actor: str
    created_at_ms: int
    items: Sequence[LineItem] = ()
    """The items that came back, each with its amount."""
    taxes: Sequence[TaxTotal] = ()
    amount_minor: int | None = None
    """None while the payment server has not said how much it is."""
    state: EntryState = EntryState.PENDING
    reason: str = ""


@dataclass(frozen=True, slots=True)
class NewRefund:
    """What every refund that is asked for says of itself."""

    note: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class ReturnedGoods:
    """Goods that came back without their sale."""

    store_id: str
    payee: Payer | Secret
    """An identity, or a pay code that somebody showed."""
    currency: str
    items: Sequence[LineItem]
    total: Totals


@dataclass(frozen=True, slots=True)
class ReturnedLine:
    """A quantity of a checkout's line that came back."""

    line_number: int
    quantity: int
