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


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRefund:
    """A refund that is asked for."""

    refund_id: str
    note: str
    origin: Origin
    actor: str
    created_at_ms: int

    def made(
        self, store_id: str, payer: Payer, given: GivenBack, *, payment_id: str = "", by_code: bool = False
    ) -> "Refund":
        """The refund, once it is known what it comes to."""
        return Refund(
            refund_id=self.refund_id,
            payment_id=payment_id,
            store_id=store_id,
            payer=payer,
            by_code=by_code,
            given=given,
            note=self.note,
            origin=self.origin,
            actor=self.actor,
            created_at_ms=self.created_at_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund(NewRefund):
    """Money given back; `payment_id` is empty for a refund without a sale."""

    payment_id: str
    store_id: str
    payer: Payer
    by_code: bool
    """True if a pay code, and nobody else, named the payer."""
    given: GivenBack
