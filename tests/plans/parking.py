"""Checkouts that are put aside, as a part of the tour."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.plans.callers import DEVICE
from tests.plans.lists import Ask


async def park_and_recall(ask: Ask, new: Callable[[], str], baskets: Sequence[Any]) -> None:
    """Parks all baskets, recalls the first and parks it again."""
    parked = [await _park(ask, new, basket) for basket in baskets]
    where = {"checkout_id": parked[0].checkout_id}
    await _park(ask, new, await ask(DEVICE, "CheckoutService.RecallCheckout", request_id=new(), **where))


async def _park(ask: Ask, new: Callable[[], str], checkout: Any) -> Any:
    return await ask(
        DEVICE,
        "CheckoutService.ParkCheckout",
        request_id=new(),
        checkout_id=checkout.checkout_id,
        basket_version=checkout.basket_version,
        label="table 4",
    )
