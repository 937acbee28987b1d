"""The service with real servers: tillmesh's pytest plugin starts them."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from click_and_collect import ClickAndCollect

from tillmesh.api.order.v1.order_pb2 import Order
from tillmesh.api.type.v1.line_item_pb2 import LineItem
from tillmesh.testing.faults import Faults
from tillmesh.testing.running import RunningSandbox

KETTLE = LineItem(sku="KETTLE", title="Kettle", quantity=1, unit_price_minor=3490)
WITHIN_S = 60.0


@pytest.fixture
def service(tillmesh_sandbox: RunningSandbox) -> ClickAndCollect:
    store = tillmesh_sandbox.store
    return ClickAndCollect(tillmesh_sandbox.orders.channel, store.store_id, store.currency)


def reserved(service: ClickAndCollect, shopper: str) -> Order:
    return service.reserve(str(uuid4()), shopper, [KETTLE])


@pytest.mark.parametrize(
    ("shopper", "state"),
    [("sandbox-phone-pays", Order.STATE_PAID), ("sandbox-canceled-meanwhile", Order.STATE_CANCELED)],
)
def test_the_service_hears_how_an_order_ends(
    service: ClickAndCollect, shopper: str, state: Order.State.ValueType
) -> None:
    order = reserved(service, shopper)
    assert service.how_it_ends(order.order_id, WITHIN_S).state == state


def test_a_reservation_that_is_sent_twice_is_one_order(service: ClickAndCollect) -> None:
    reservation = str(uuid4())
    once, again = (service.reserve(reservation, "sandbox-paid", [KETTLE]) for _ in range(2))
    assert once.order_id == again.order_id


def test_the_service_hears_of_a_payment_at_the_till_although_the_order_service_was_restarted(
    service: ClickAndCollect, tillmesh_sandbox: RunningSandbox, tillmesh_faults: Faults
) -> None:
    order = reserved(service, "sandbox-paid")
    with ThreadPoolExecutor() as pool:
        end = pool.submit(service.how_it_ends, order.order_id, WITHIN_S)
        tillmesh_faults.orders.restart()
        asyncio.run(pay_at_the_till(tillmesh_sandbox, order))
        assert end.result().state == Order.STATE_PAID


async def pay_at_the_till(sandbox: RunningSandbox, order: Order) -> None:
    async with sandbox.till() as till:
        sale = await till.take_up(order.order_id)
        await sale.pay(sandbox.pay_code("sandbox-paid"))
        assert (await sale.ended()).hands_over
