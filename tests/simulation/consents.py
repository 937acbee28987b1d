"""What shoppers agreed to, as they know it themselves: to pay with their code, or to take for nothing what is shown."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from tests.simulation.reading import Violation


class Consents:
    """Taken down before anything is sent."""

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}
        """Who showed a pay code, by payment."""
        self.free_versions: defaultdict[str, set[int]] = defaultdict(set)
        """Versions that were shown with an amount of 0 and taken, by order."""

    def check_orders(self, free: Iterable[tuple[str, int, int]]) -> None:
        """Of PAID orders without a payment: number, version and amount (invariant 1, rule 4)."""
        for order_id, version, amount_minor in free:
            if amount_minor or version not in self.free_versions[order_id]:
                shown = sorted(self.free_versions[order_id])
                raise Violation(
                    f"rule 4: order {order_id} was completed without a payment at version {version}, amount "
                    f"{amount_minor}; its shopper took {shown}"
                )

    def check_payments(self, payments: Iterable[tuple[Any, ...]]) -> None:
        """Of payments: id, payer as the order says, whose wallet, state and reason."""
        for payment_id, kind, value, identity_id, state, reason in payments:
            owner = self.codes.get(payment_id)
            if kind == "IDENTITY" and identity_id not in (None, value):
                raise Violation(f"payment {payment_id} of {value} is deducted from the wallet of {identity_id}")
            if owner and identity_id not in (None, owner):
                raise Violation(f"payment {payment_id} is that of {identity_id}, but {owner} showed its pay code")
            if kind == "REFERENCE" and reason == "PAYER_MISMATCH":
                raise Violation(f"payment {payment_id} under a reference is {state} for its payer, who may be anybody")
