"""The shop's QR code: the till presents an order, a phone claims and pays it, and the customer display hears of it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import claim_service_pb2 as claim_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.type.v1 import payer_pb2
from tillmesh.cli.display import amount, seconds
from tillmesh.cli.phone.client import PhoneClient
from tillmesh.cli.story.payer import CARD
from tillmesh.cli.story.scene import CALL_S, PAYER, Stage, check, say, scene
from tillmesh.client.requests import payment_for
from tillmesh.runtime.ids import new_request_id

PRESENTED = CARD
"""What she pays in this scene."""
Event = checkout_pb2.CheckoutEvent


async def scans_the_shops_code(stage: Stage, line: PhoneClient) -> None:
    """Nothing is keyed in at the till, and nobody asks it how the payment stands."""
    scene("The shop's QR code: her phone scans the till's display")
    sale = await stage.sell("", CARD=1)
    watch = checkout_api.WatchCheckoutsRequest(checkout_id=sale.checkout_id)
    async with aclosing(stage.client.watch(stage.client.till.WatchCheckouts, watch)) as display:
        await anext(display)  # from here on it is told
        shown = await sale.present()
        say(f"The display shows order {sale.checkout_id} as a QR code, good for {seconds(shown.remaining)} seconds.")
        claim = claim_api.ClaimOrderRequest(request_id=new_request_id(), code=shown.code)
        order = (await line.call(line.claims.ClaimOrder, claim)).order
        check(order.amount == sale.said.checkout.amount, f"she sees what is due: {order}")
        await _pay(line, order)
        say(f"Her phone claims it, shows her {amount(order.amount)}, and pays when she says yes.")
        told = await stage.until("the display hears that it is paid", _told(display), lambda names: "PAID" in names)
    say(f"The display was told {', '.join(told)}, as it happened: it never asked.")


async def _pay(line: PhoneClient, order: order_pb2.Order) -> None:
    request = payment_for(order, payer_pb2.Payer(identity_id=PAYER))
    payment = await line.call(line.payments.CreatePayment, request, timeout_s=CALL_S)
    check(payment.state == payment_pb2.Payment.STATE_CAPTURED, f"to pay on her phone is her yes: {payment}")


async def _told(display: AsyncGenerator[checkout_api.WatchCheckoutsResponse]) -> AsyncGenerator[list[str]]:
    """The types of all events so far."""
    names: list[str] = []
    async for answer in display:
        names += [Event.Type.Name(update.event.type).removeprefix("TYPE_") for update in answer.updates]
        yield names
