"""What a shop presents, the claim of one payer, and the rules that need nothing else."""

from dataclasses import dataclass, replace

PRESENTED_MS_MAX = 900_000
"""The longest that an order can be claimed after it was presented."""
CLAIM_MS = 300_000
"""How long a claim lasts."""
CLAIMS_MAX = 8
"""The most claims that a payer has at a time."""


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """What the order service says of an order."""

    order_id: str
    store_id: str
    reference: str
    """Its payer; empty if it names an identity."""
    state: str
    is_pending: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderPresentation:
    """An order that a shop presents, and the claim of it."""

    order_id: str
    store_id: str
    reference: str
    """The order's payer, who is nobody yet."""
    code_hash: bytes
    sticker_hash: bytes | None
    presented_until_ms: int
    claimed_by: str | None = None
    """The identity that has claimed it, also after the claim's time is over."""
    claim_place: int | None = None
    """Which of the identity's CLAIMS_MAX places the claim takes."""
    claimed_until_ms: int = 0
    kept_until_ms: int
    """When both are over: then the row may go."""

    def is_presented(self, now_ms: int) -> bool:
        """True while phones can claim it."""
        return now_ms < self.presented_until_ms

    def is_claimed(self, now_ms: int) -> bool:
        """True while somebody's claim lasts."""
        return self.claimed_by is not None and now_ms < self.claimed_until_ms

    def is_claimed_by(self, identity_id: str, now_ms: int) -> bool:
        """True while that identity's claim lasts."""
        return self.claimed_by == identity_id and self.is_claimed(now_ms)

    def is_of(self, order: OrderFacts) -> bool:
        """True for the order that was presented; an order service that was set back may have another of that number."""
        return (order.store_id, order.reference) == (self.store_id, self.reference)

    def is_good_for(self, order: OrderFacts | None) -> bool:
        """True if the order, as it is now, can be paid by whoever has claimed it."""
        return order is not None and order.is_pending and self.is_of(order)

    def claimed(self, identity_id: str, place: int, now_ms: int) -> "OrderPresentation":
        """The same with a new claim."""
        until_ms = now_ms + CLAIM_MS
        return replace(
            self,
            claimed_by=identity_id,
            claim_place=place,
            claimed_until_ms=until_ms,
            kept_until_ms=max(self.presented_until_ms, until_ms),
        )

    def unclaimed(self) -> "OrderPresentation":
        """The same without a claim."""
        return replace(
            self, claimed_by=None, claim_place=None, claimed_until_ms=0, kept_until_ms=self.presented_until_ms
        )

    def lasting(self, now_ms: int) -> "OrderPresentation":
        """The same, lasting no longer from now than if it were new: the clock may have stepped back."""
        presented_ms = min(self.presented_until_ms, now_ms + PRESENTED_MS_MAX)
        claimed_ms = min(self.claimed_until_ms, now_ms + CLAIM_MS)
        kept_ms = min(self.kept_until_ms, now_ms + PRESENTED_MS_MAX)
        return replace(self, presented_until_ms=presented_ms, claimed_until_ms=claimed_ms, kept_until_ms=kept_ms)
