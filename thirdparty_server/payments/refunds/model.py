"""Refunds, and what is asked to be refunded."""

from collections.abc import Mapping
from dataclasses import dataclass

from tillmesh.lines import TaxTotal
from tillmesh.origin import Origin
from tillmesh.payer import Payer
from tillmesh.runtime.money import Money


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
