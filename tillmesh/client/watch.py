"""Records as they are now and whenever something happens to them, instead of asking for them again and again."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.client.connections import Client

Record = TypeVar("Record")
Orders = AsyncGenerator[order_pb2.Order]
Payments = AsyncGenerator[payment_pb2.Payment]


def follow_order(client: Client, order: order_pb2.Order) -> Orders:
    """An order. Close it (`aclosing`), as each of these."""
    request = order_api.WatchOrdersRequest(store_id=order.store_id)
    get = order_api.GetOrderRequest(order_id=order.order_id)
    return followed(
        client.watch(client.orders.WatchOrders, request),
        lambda: client.call(client.orders.GetOrder, get),
        lambda update: update.order if update.event.order_id == order.order_id else None,
    )


def follow_payment(client: Client, payment: payment_pb2.Payment) -> Payments:
    """A payment."""
    request = payment_api.WatchPaymentsRequest(store_id=payment.store_id)
    get = payment_api.GetPaymentRequest(payment_id=payment.payment_id)
    return followed(
        client.watch(client.payments.WatchPayments, request),
        lambda: client.call(client.payments.GetPayment, get),
        lambda update: update.payment if update.event.payment_id == payment.payment_id else None,
    )


async def followed(
    answers: AsyncGenerator[Any], read: Callable[[], Awaitable[Record]], record_of: Callable[[Any], Record | None]
) -> AsyncGenerator[Record]:
    """A record as it is once the stream has begun, and then with each of its updates; `record_of` finds it in those.

    It is read anew with each bookmark, for what time alone has changed.
    """
    has_begun = False
    async with aclosing(answers):
        async for answer in answers:
            told = [record for update in answer.updates if (record := record_of(update)) is not None]
            if told:
                yield told[-1]
            elif not answer.updates or not has_begun:
                yield await read()
            has_begun = True
