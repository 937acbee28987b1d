"""The shop's QR code, and displays that watch, as a part of the tour."""

from typing import TYPE_CHECKING

from store_terminal.checkouts import queries as checkout_queries
from store_terminal.outbox import queries as outbox_queries
from tests.plans.callers import DEVICE, LANE
from tests.simulation.network import TERMINAL

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
        for cursor in ("", "oldest"):
            await tour.ask(DEVICE, "CheckoutService.WatchCheckouts", cursor=cursor, **filters)


async def watch_orders(tour: "Tour") -> None:
    """What the terminal does with the events of orders, of which none come through here."""
    terminal = tour.mesh.world.nodes[TERMINAL].database
    for cursor in ("first", "second"):
        await terminal.run(outbox_queries.keep_cursor, cursor)
    for after in ("", "M"):
        await terminal.run(checkout_queries.pending_checkouts, after, 64)
