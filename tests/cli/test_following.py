"""A record is followed on its stream: as it is when the stream begins, and then with each update."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from grpc import StatusCode

from tests.runtime.test_watching import aborts, scripted, sends
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.auth.callers import Role
from tillmesh.client.connections import Connections, Server
from tillmesh.client.failures import Failure, NotLetIn, Unreachable
from tillmesh.client.watch import followed


def update(order_id: str, version: int) -> api.OrderUpdate:
    return api.OrderUpdate(
        event=order_pb2.OrderEvent(order_id=order_id), order=order_pb2.Order(order_id=order_id, version=version)
    )


async def versions(*answers: Sequence[api.OrderUpdate]) -> list[int]:
    """The versions of the order o-1 that a follower sees; 100, 101 ... are read."""
    reads = iter(range(100, 200))

    async def stream() -> AsyncGenerator[api.WatchOrdersResponse]:
        for updates in answers:
            yield api.WatchOrdersResponse(updates=updates)

    async def read() -> order_pb2.Order:
        return order_pb2.Order(version=next(reads))

    def own(told: api.OrderUpdate) -> order_pb2.Order | None:
        return told.order if told.event.order_id == "o-1" else None

    return [order.version async for order in followed(stream(), read, own)]


@pytest.mark.parametrize(
    ("answers", "seen"),
    [
        ([[], [update("o-1", 1)]], [100, 1]),  # it is read where the stream begins, and told from there on
        ([[update("o-1", 1), update("o-1", 2)]], [2]),  # of two updates the later one counts
        ([[update("o-2", 7)], [update("o-2", 8)]], [100]),  # another order's updates are no news of it
        ([[], [update("o-1", 1)], []], [100, 1, 101]),  # with a bookmark it is read: time may have changed it
    ],
)
async def test_a_follower_sees_the_record_when_it_begins_and_each_update(
    answers: list[list[api.OrderUpdate]], seen: list[int]
) -> None:
    assert await versions(*answers) == seen


async def test_a_client_fails_plainly_where_it_is_not_known_and_goes_on_where_the_server_was_away() -> None:
    cuts: list[Failure] = []
    away, unknown = aborts(StatusCode.UNAVAILABLE), aborts(StatusCode.UNAUTHENTICATED)
    async with scripted(away, sends("1", then=unknown)) as script:
        server: Any = Server("order service", script.address, Role.ORDERS, None)
        async with Connections({"tillmesh.api.order.v1": server}) as client:
            answers = client.watch(OrderServiceStub(server.channel).WatchOrders, api.WatchOrdersRequest(), cuts.append)
            assert (await anext(answers)).cursor == "1"
            with pytest.raises(NotLetIn, match="does not accept the caller"):
                await anext(answers)
    (cut,) = cuts
    assert isinstance(cut, Unreachable)
