"""Ways in which the shop's QR code could go wrong; see `mutants`."""

from dataclasses import replace
from typing import Any

from thirdparty_server.claims import operations, queries
from thirdparty_server.claims.model import OrderFacts, OrderPresentation
from thirdparty_server.payments import payer_search

Patch = tuple[Any, str, Any]


def two_win_one_code() -> list[Patch]:
    """Whoever scans a code has the order, whoever else has it."""
    real = operations.claim_order

    def claim_order(transaction: Any, seen: OrderPresentation, order: Any, identity_id: str, now_ms: int) -> Any:
        shown = queries.PRESENTATIONS.find(transaction, seen.order_id)
        if shown and shown.is_claimed(now_ms) and shown.claimed_by != identity_id:
            queries.PRESENTATIONS.change(transaction, shown, shown.unclaimed())
        return real(transaction, seen, order, identity_id, now_ms)

    return [(operations, "claim_order", claim_order)]


def claim_outlives_its_order() -> list[Patch]:
    """Nobody looks at whether the order is still pending."""
    real = operations.claim_order

    def claim_order(transaction: Any, seen: Any, order: OrderFacts | None, identity_id: str, now_ms: int) -> Any:
        pending = order and replace(order, is_pending=True)
        return real(transaction, seen, pending, identity_id, now_ms)

    def is_good_for(self: OrderPresentation, order: OrderFacts | None) -> bool:
        return order is not None and self.is_of(order)

    return [(operations, "claim_order", claim_order), (OrderPresentation, "is_good_for", is_good_for)]


def any_claim_will_do() -> list[Patch]:
    """Nobody looks at whose claim it is, and whether it has ended."""

    def claimed_reference(transaction: Any, order_id: str, _identity_id: str, _now_ms: int) -> str | None:
        known = queries.PRESENTATIONS.find(transaction, order_id)
        return known.reference if known else None

    return [(payer_search, "claimed_reference", claimed_reference)]
