"""The shop's QR code, and displays that watch, as a part of the tour."""

from typing import TYPE_CHECKING

from store_terminal.checkouts import queries as checkout_queries
from store_terminal.outbox import queries as outbox_queries
from tests.plans.callers import ADA, DEVICE, LANE, PLATFORM, STORE
from tests.simulation.network import TERMINAL
from tillmesh.auth.callers import Caller

if TYPE_CHECKING:
    from tests.plans.tour import Tour


async def present(tour: "Tour") -> None:
    """A sticker that is made, renewed and printed again; a checkout that is presented, and shown on a display."""
    for _ in range(2):
        await tour.ask(DEVICE, "PresentationService.RenewLaneSticker", request_id=tour.new(), lane=LANE)
    await tour.ask(DEVICE, "PresentationService.GetLaneSticker", lane=LANE)
    checkout = await tour.submitted({})
    request = {"request_id": tour.new(), "checkout_id": checkout.checkout_id}
    for _ in range(2):
        await tour.ask(DEVICE, "PresentationService.PresentCheckout", **request)
    for filters in ({}, {"lane": LANE}, {"checkout_id": checkout.checkout_id}):
        await _watch(tour, DEVICE, "CheckoutService.WatchCheckouts", **filters)
    for filters in ({}, {"store_id": STORE}):
        await _watch(tour, PLATFORM, "OrderService.WatchOrders", **filters)
    for filters in ({}, {"store_id": STORE}, {"identity_id": ADA}):
        await _watch(tour, PLATFORM, "PaymentService.WatchPayments", **filters)


async def _watch(tour: "Tour", who: Caller, method: str, **filters: str) -> None:
    """The beginning of a stream, from now, from the oldest event, and from where that one stopped."""
    for cursor in ("", "oldest"):
        answer = await tour.ask(who, method, cursor=cursor, **filters)
    await tour.ask(who, method, cursor=answer.cursor, **filters)


async def watch_orders(tour: "Tour") -> None:
    """What the terminal does with the events of orders, of which none come through here."""
    terminal = tour.mesh.world.nodes[TERMINAL].database
    for cursor in ("first", "second"):
        await terminal.run(outbox_queries.keep_cursor, cursor)
    await terminal.run(outbox_queries.find_cursor)
    for after in ("", "M"):
        await terminal.run(checkout_queries.pending_checkouts, after, 64)
