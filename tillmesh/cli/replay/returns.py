"""Finds the earlier sales that a return gives goods back from."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tillmesh.cli.replay.invoices import Invoice, InvoiceLine


@dataclass
class _Units:
    """Pieces of one sold line that have not come back."""

    sku: str
    unit_price_minor: int
    quantity: int


@dataclass
class Purchase:
    """A paid checkout, with what of it can still be given back."""

    checkout_id: str
    refundable_minor: int
    units: list[_Units]

    @staticmethod
    def of(checkout_id: str, amount_minor: int, lines: Iterable[InvoiceLine]) -> "Purchase":
        """Remembers a sale that was paid. A row with a negative quantity is a discount and cannot come back."""
        units = [_Units(line.sku, line.unit_price_minor, line.quantity) for line in lines if line.quantity > 0]
        return Purchase(checkout_id, amount_minor, units)


@dataclass
class RefundPart:
    """The goods given back from one purchase, with positive quantities."""

    purchase: Purchase
    lines: list[InvoiceLine] = field(default_factory=list)

    @property
    def amount_minor(self) -> int:
        """Sum of the lines."""
        return sum(line.amount_minor for line in self.lines)


@dataclass
class ReturnPlan:
    """The refunds of a return: from purchases, and the rest without a sale."""

    parts: list[RefundPart]
    rest: list[InvoiceLine]
    """With positive quantities; prices may be negative, but the sum is above zero, or there are none."""


@dataclass(frozen=True)
class _Taken:
    purchase: Purchase
    units: _Units
    quantity: int
    price_minor: int

    def undo(self) -> None:
        self.units.quantity += self.quantity
        self.purchase.refundable_minor += self.quantity * self.price_minor


def plan_return(invoice: Invoice, purchases: Iterable[Purchase]) -> ReturnPlan:
    """Covers each row in full from the oldest purchases that can, or not at all.

    What it takes is no longer there for the next return.
    """
    purchases = list(purchases)
    parts: dict[str, RefundPart] = {}
    rest: list[InvoiceLine] = []
    taken: list[_Taken] = []
    for line in invoice.lines:
        cover = _cover(line, purchases)
        taken += cover
        for take in cover:
            part = parts.setdefault(take.purchase.checkout_id, RefundPart(take.purchase))
            part.lines.append(InvoiceLine(line.sku, line.title, take.quantity, take.price_minor))
        if not cover:
            rest.append(_given_back(line))
    rest_minor = sum(line.amount_minor for line in rest)
    if rest_minor > 0 or not rest:
        return ReturnPlan(list(parts.values()), rest)
    if rest_minor == 0 and parts:
        return ReturnPlan(list(parts.values()), [])  # the rest is worth nothing, so no money moves for it
    # Rows of both signs: what is left would be paid, not given back, so nothing is split off.
    for take in taken:
        take.undo()
    return ReturnPlan([], [_given_back(line) for line in invoice.lines])


def _cover(line: InvoiceLine, purchases: Iterable[Purchase]) -> list[_Taken]:
    """Takes the row's pieces out of purchases at no more than they were sold for; all of them or none."""
    missing = -line.quantity
    price_minor = line.unit_price_minor
    if missing <= 0 or price_minor <= 0:
        return []
    taken: list[_Taken] = []
    for purchase in purchases:
        for units in purchase.units:
            if units.sku != line.sku or units.unit_price_minor < price_minor:
                continue
            quantity = min(missing, units.quantity, purchase.refundable_minor // price_minor)
            if quantity > 0:
                units.quantity -= quantity
                purchase.refundable_minor -= quantity * price_minor
                missing -= quantity
                taken.append(_Taken(purchase, units, quantity, price_minor))
    if missing:
        for take in taken:
            take.undo()
        return []
    return taken


def _given_back(line: InvoiceLine) -> InvoiceLine:
    """The row from the shopper's side: a positive quantity, and the same amount with its sign turned."""
    price_minor = line.unit_price_minor if line.quantity < 0 else -line.unit_price_minor
    return InvoiceLine(line.sku, line.title, abs(line.quantity), price_minor)
