"""Whole sales on the tour: made in one call, and undone."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tests.plans.callers import ADA, AT, DEVICE
from tests.plans.platform import gbp
from tillmesh import receipt_code

if TYPE_CHECKING:
    from tests.plans.tour import Tour


async def make_sales(tour: "Tour", payer: Mapping[str, str]) -> None:
    """Sales in one call, one whose number is somebody else's; each is undone, named by receipt or number."""
    sold = await _sell(tour, payer, pay_code=await tour.pay_code())
    assert sold.paid_by_payment_id, sold
    free = await _sell(tour, payer, price=0)
    taken = await tour.order()
    reason = await _sell(tour, payer, pay_code=tour.wrong_pay_code(), checkout_id=taken.order_id)
    assert reason == "ORDER_EXISTS"
    receipt = receipt_code.make(sold.checkout_id, "till-1", 4, bytes(32))
    web, open_order = await tour.order(), await tour.submitted(payer)
    waiting = await tour.submitted({"identity_id": ADA})
    paying = asyncio.ensure_future(tour.pay(waiting))
    await asyncio.sleep(1)
    for name in (
        *(receipt, sold.checkout_id, free.checkout_id, taken.order_id, web.order_id),
        *(open_order.checkout_id, waiting.checkout_id),
    ):
        request: dict[str, Any] = {"refund_id": tour.new("refund"), "checkout_id": name, **AT}
        for _ in range(2):
            await tour.ask(DEVICE, "CheckoutService.VoidCheckout", **request)
    await paying


async def _sell(
    tour: "Tour", payer: Mapping[str, str], price: int = 500, pay_code: str = "", checkout_id: str = ""
) -> Any:
    return await tour.ask(
        DEVICE,
        "CheckoutService.Sell",
        checkout_id=checkout_id or tour.new("sale"),
        payment_id=tour.new("payment"),
        lines=[{"sku": "tea", "title": "Tea", "quantity": 4, "unit_price_minor": price, "price_quantity": 1}],
        amount=gbp(4 * price),
        pay_code=pay_code,
        **payer,
        **AT,
    )
