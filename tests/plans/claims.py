"""Orders that a store presents as QR codes on the tour, and a phone that claims them."""

from typing import TYPE_CHECKING, Any

from tests.plans.callers import ADA, ADAS_PHONE, PLATFORM, SHOP, STORE
from tillmesh import claim_code

if TYPE_CHECKING:
    from tests.plans.tour import Tour


async def claim_orders(tour: "Tour") -> None:
    """An order that is claimed and paid, one that is given back, one that is canceled, and one that stays claimed."""
    paid = await _claimed(tour, 1)
    answer = await tour.ask(
        ADAS_PHONE,
        "PaymentService.CreatePayment",
        payment_id=tour.new("payment"),
        order_id=paid.order_id,
        order_version=paid.version,
        payer={"identity_id": ADA},
        amount=paid.amount,
    )
    assert answer.payer.reference, answer
    given_back = await _claimed(tour, 2)
    released: dict[str, Any] = {"request_id": tour.new(), "order_id": given_back.order_id}
    await tour.ask(ADAS_PHONE, "ClaimService.ReleaseOrderClaim", **released)
    canceled = await _claimed(tour, 3)
    await tour.ask(PLATFORM, "OrderService.CancelOrder", request_id=tour.new(), order_id=canceled.order_id, version=1)
    gone = await tour.ask(ADAS_PHONE, "ClaimService.GetOrderClaim", order_id=canceled.order_id)
    assert gone == "CLAIM_NOT_FOUND", gone
    await _claimed(tour, 4)


async def _claimed(tour: "Tour", number: int) -> Any:
    """An order of whoever comes, as a phone sees it that has claimed it."""
    order = await tour.order(payer={"reference": f"01890a5d-ac96-774b-bcce-b302099a80{number:02}"})
    code, sticker = claim_code.make(STORE, bytes([number] * 16)), claim_code.make(STORE, bytes(16))
    presented = {"request_id": tour.new(), "order_id": order.order_id, "lifetime": {"seconds": 300}}
    hashes = {"code_hash": claim_code.digest(code), "sticker_hash": claim_code.digest(sticker)}
    for _ in range(2):
        await tour.ask(SHOP, "ClaimService.PresentOrder", **presented, **hashes)
    claiming = {"request_id": tour.new(), "code": sticker}
    for _ in range(2):
        await tour.ask(ADAS_PHONE, "ClaimService.ClaimOrder", **claiming)
    return (await tour.ask(ADAS_PHONE, "ClaimService.GetOrderClaim", order_id=order.order_id)).order
