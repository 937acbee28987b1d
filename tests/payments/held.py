"""Payments that hold money, and an order service that says what the payment server does not expect."""

from structlog.testing import capture_logs

from tests.payments.side import Side
from tillmesh.api.order.v1 import order_payment_pb2, order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.runtime.driver import Progress


async def lock(
    side: Side, order: order_pb2.Order, payment_id: str, lease_s: int = 60
) -> order_payment_pb2.OrderPayment:
    """Sends LockOrder as the payment server does; its own answer is the one that got lost."""
    request = orders_api.LockOrderRequest(
        payment_id=payment_id,
        order_id=order.order_id,
        payer=order.payer,
        order_version=order.version,
        amount=order.amount,
    )
    request.lease.FromSeconds(lease_s)
    return await side.orders.LockOrder(request)


async def cancel_at_order(side: Side, order: order_pb2.Order, payment_id: str) -> order_payment_pb2.OrderPayment:
    return await side.orders.CancelOrderPayment(
        orders_api.CancelOrderPaymentRequest(payment_id=payment_id, order_id=order.order_id)
    )


async def authorized_with(side: Side, order: order_pb2.Order, epoch: int) -> str:
    """A payment whose recorded epoch the order service never granted to it."""
    payment_id = await side.record(order)
    await side.locked(payment_id, epoch)
    assert (await side.state(payment_id))[0] == "AUTHORIZED"
    return payment_id


async def stuck(side: Side, payment_id: str) -> list[str]:
    """Steps a payment that stays where it is, and is asked for again; what the log says of the reason."""
    before = await side.resolver.get(payment_id)
    with capture_logs() as logs:
        assert await side.resolver.step(before) == (before, Progress.WAITING)
    assert await side.resolver.get(payment_id) == before
    return [entry["why"] for entry in logs if (entry["event"], entry["log_level"]) == ("hold_without_end", "error")]
