"""The result of a replay, for people and as one JSON object."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from tillmesh.cli.display import out, say, show_table
from tillmesh.cli.replay.invoices import InvoiceFile
from tillmesh.cli.replay.reconcile import Check
from tillmesh.cli.replay.runner import Outcome
from tillmesh.runtime.foreign_text import visible
from tillmesh.runtime.money import Money

PROBLEMS_SHOWN = 5
SKIPPED_BECAUSE = {"zero_total": "total is 0", "other_document": "neither a sale nor a return"}


def percentile_ms(durations_s: Sequence[float], share: float) -> float | None:
    """The duration that `share` of all do not exceed, in milliseconds; None without any."""
    if not durations_s:
        return None
    ranked = sorted(durations_s)
    return round(ranked[max(0, math.ceil(share * len(ranked)) - 1)] * 1000, 1)


def show_checks(checks: Sequence[Check]) -> None:
    """Prints what holds, and where it does not."""
    for check in checks:
        mark = ("✗", "red") if check.problems else ("✓", "green")
        out.print(Text.assemble(mark, f" {check.claim}"))
        for problem in check.problems[:PROBLEMS_SHOWN]:
            out.print(f"    {visible(problem)}", soft_wrap=True)
        if len(check.problems) > PROBLEMS_SHOWN:
            out.print(f"    and {len(check.problems) - PROBLEMS_SHOWN} more")


@dataclass(frozen=True)
class Report:
    """The result of one replay."""

    currency: str
    file: InvoiceFile
    outcome: Outcome
    checks: Sequence[Check]

    @property
    def reconciled(self) -> bool:
        """True if no check found a problem."""
        return not any(check.problems for check in self.checks)

    @property
    def is_all_rejected(self) -> bool:
        """True if there were invoices, and not one of them was replayed."""
        is_done = bool(self.outcome.sales or self.outcome.returns)
        return not is_done and bool(self.file.rejected or self.outcome.rejected)

    def as_json(self) -> dict[str, Any]:
        """The figures; amounts are decimal strings."""
        outcome = self.outcome
        sales_minor = sum(sale.invoice.total_minor for sale in outcome.sales)
        returns_minor = -sum(invoice.total_minor for invoice in outcome.returns)
        by_sale_minor = sum(refund.amount_minor for refund in outcome.refunds if refund.checkout_id)
        without_sale_minor = sum(refund.amount_minor for refund in outcome.refunds if not refund.checkout_id)
        durations_s = [sale.checkout_s for sale in outcome.sales]
        return {
            "sales": len(outcome.sales),
            "sales_total": self._decimal(sales_minor),
            "returns": len(outcome.returns),
            "returns_total": self._decimal(returns_minor),
            "refunded_by_sale": self._decimal(by_sale_minor),
            "returned_without_sale": self._decimal(without_sale_minor),
            "net": self._decimal(sales_minor - returns_minor),
            "currency": self.currency,
            "skipped": dict(self.file.skipped),
            "rejected": [asdict(rejection) for rejection in [*self.file.rejected, *outcome.rejected]],
            "reconciled": self.reconciled,
            "elapsed_s": round(outcome.elapsed_s, 3),
            "checkouts_per_second": round(len(durations_s) / outcome.elapsed_s, 1) if outcome.elapsed_s else None,
            "p50_ms": percentile_ms(durations_s, 0.50),
            "p99_ms": percentile_ms(durations_s, 0.99),
        }

    def show(self) -> None:
        """Prints the readable summary."""
        figures = self.as_json()
        rows = [
            ("sales, paid", str(figures["sales"]), figures["sales_total"]),
            ("returns, given back", str(figures["returns"]), figures["returns_total"]),
            ("  against the sale", "", figures["refunded_by_sale"]),
            ("  without its sale", "", figures["returned_without_sale"]),
            ("net", "", figures["net"]),
        ]
        for reason, count in self.file.skipped.items():
            rows.append((f"skipped: {SKIPPED_BECAUSE[reason]}", str(count), ""))
        rows.append(("rejected", str(len(figures["rejected"])), ""))
        show_table("Replay", ["", "invoices", self.currency], rows, right=["invoices", self.currency])
        if figures["sales"]:
            say(
                f"{figures['checkouts_per_second']} checkouts/s in {figures['elapsed_s']} s; "
                f"a checkout took {figures['p50_ms']} ms (p50), {figures['p99_ms']} ms (p99)"
            )
            out.print()
        show_checks(self.checks)

    def _decimal(self, minor: int) -> str:
        return Money(self.currency, minor).decimal()
