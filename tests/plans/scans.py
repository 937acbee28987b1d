"""What a scanner sends, as a part of the tour."""

from typing import TYPE_CHECKING

from tests.plans.callers import DEVICE

if TYPE_CHECKING:
    from tests.plans.tour import Tour


async def scan_codes(tour: "Tour") -> None:
    """Rules that are set twice; codes that are added, are none, and are a pay code."""
    whole = {"prefix": "2", "value": "VALUE_WHOLE_CODE"}
    for version in range(2):
        rules = {"rules": [whole], "add_to_line": True, "version": version}
        await tour.ask(DEVICE, "ScanService.ReplaceScanRules", request_id=tour.new(), rules=rules)
    await tour.ask(DEVICE, "ScanService.GetScanRules")
    basket = await tour.basket({})
    where = {"checkout_id": basket.checkout_id}
    for scanned in ("4388844146686", "4388844146686", "2000000000008", await tour.pay_code()):
        request = {"request_id": tour.new(), "basket_version": basket.basket_version, "scanned": scanned, **where}
        for _ in range(2):
            answer = await tour.ask(DEVICE, "ScanService.ScanItem", **request)
        basket = basket if isinstance(answer, str) else answer.checkout
    await tour.ask(DEVICE, "CheckoutService.CancelCheckout", request_id=tour.new(), **where)
