"""What came of the baskets, for people and as one JSON object."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tillmesh.api.order.v1 import order_pb2
from tillmesh.cli.display import show_table
from tillmesh.cli.groceries.basket_file import BasketFile
from tillmesh.cli.groceries.shopping import Played, Way
from tillmesh.cli.replay.reconcile import Books, Check
from tillmesh.cli.replay.report import percentile_ms, show_checks
from tillmesh.runtime.money import Money

WORDS = {Way.SCAN: "scanned item by item", Way.SELL: "sold in one call"}


def same_either_way(file: BasketFile, played: Played, books: Books) -> Check:
    """Each basket is paid once each way, and its orders come to the same amount and taxes."""
    check = Check("every basket is paid each way, and comes to the same amount and taxes")
    for basket in file.baskets:
        orders = []
        for way, sales in played.sales.items():
            sale = sales.get(basket.line_number)
            check.require(sale is not None, f"the basket in line {basket.line_number} was not paid by {way}")
            if sale:
                orders.append(books.orders.get(sale.checkout_id, order_pb2.Order()))
        told = [(order.amount.minor_units, [tax.SerializeToString() for tax in order.taxes]) for order in orders]
        same = all(each == told[0] for each in told)
        check.require(same, f"the basket in line {basket.line_number} comes to another total each way: {told}")
    return check


@dataclass(frozen=True)
class Report:
    """The result of playing a file of baskets."""

    currency: str
    file: BasketFile
    played: Played
    checks: Sequence[Check]

    @property
    def reconciled(self) -> bool:
        """True if no check found a problem."""
        return not any(check.problems for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The figures; amounts are decimal strings."""
        baskets = self.file.baskets
        return {
            "baskets": len(baskets),
            "items": sum(len(basket.articles) for basket in baskets),
            "articles": len(self.file.articles),
            "total": self._decimal(sum(basket.total_minor for basket in baskets)),
            "currency": self.currency,
            "by": {way.value: self._of_way(way) for way in self.played.sales},
            "rejected": [asdict(rejection) for rejection in self.played.outcome.rejected],
            "reconciled": self.reconciled,
            "elapsed_s": round(self.played.outcome.elapsed_s, 3),
        }

    def show(self) -> None:
        """Prints the readable summary."""
        figures = self.as_json()
        rows = [("in the file", str(figures["baskets"]), str(figures["items"]), figures["total"], "", "", "")]
        for way, told in figures["by"].items():
            speed = [str(told[name]) for name in ("baskets_per_second", "p50_ms", "p99_ms")]
            rows.append((WORDS[Way(way)], str(told["baskets"]), str(told["items"]), told["total"], *speed))
        columns = ["", "baskets", "items", self.currency, "baskets/s", "p50 ms", "p99 ms"]
        show_table("Baskets", columns, rows, right=columns[1:])
        show_checks(self.checks)

    def _of_way(self, way: Way) -> dict[str, Any]:
        sales, elapsed_s = self.played.sales[way].values(), self.played.elapsed_s[way]
        durations_s = [sale.checkout_s for sale in sales]
        return {
            "baskets": len(sales),
            "items": sum(len(sale.invoice.lines) for sale in sales),
            "total": self._decimal(sum(sale.invoice.total_minor for sale in sales)),
            "baskets_per_second": round(len(sales) / elapsed_s, 1) if elapsed_s else None,
            "p50_ms": percentile_ms(durations_s, 0.50),
            "p99_ms": percentile_ms(durations_s, 0.99),
        }

    def _decimal(self, minor: int) -> str:
        return Money(self.currency, minor).decimal()
