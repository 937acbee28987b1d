"""What a sale costs the three servers: calls and transactions, counted."""

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from tests.simulation.baskets import gbp
from tests.simulation.network import SERVERS, Fate
from tests.simulation.runner import parts
from tests.simulation.shoppers import Shopper
from tests.simulation.world import World, simulate
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkouts_api

Sale = Callable[[Shopper], Coroutine[Any, Any, checkout_pb2.Checkout]]


def no_streams(_source: str, _target: str, what: str) -> Fate | None:
    """Those who only watch do not count: their streams do not come through."""
    return Fate(()) if what.startswith("Watch") else None


def counted(world: World, counts: Counter[str]) -> Callable[[], None]:
    """Counts calls and transactions from now on, until the function that is returned is called."""

    def call(source: str, target: str, what: str) -> Fate | None:
        if lost := no_streams(source, target, what):
            return lost
        if len(what.split()) == 2:  # a request; an answer has its status as well
            counts["served"] += 1
            counts["made"] += source in SERVERS
        return None

    def transaction(run: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            counts["transactions"] += 1
            return run(*arguments, **options)

        return counting

    databases = [node.database for node in world.nodes.values()]
    world.network.decide = call
    for database in databases:
        database.run = transaction(database.run)  # type: ignore[method-assign]

    def stop() -> None:
        world.network.decide = no_streams
        for database in databases:
            del database.run

    return stop


def cost_of(sale: Sale) -> dict[str, int]:
    """What a sale by pay code costs while nothing goes wrong."""
    counts = Counter[str]()

    async def story(world: World) -> list[Coroutine[Any, Any, None]]:
        world.network.decide = no_streams
        shopper = Shopper(world, "ada")
        shopper.named = False
        await shopper.open_store()
        await shopper.join(funds=1_000, threshold=1_000)

        async def shop() -> None:
            stop = counted(world, counts)
            sold = await sale(shopper)
            stop()
            assert sold.verdict == checkout_pb2.VERDICT_HAND_OVER_GOODS, sold

        return [shop()]

    assert simulate(parts(), 7, story, troubles=False).violation == ""
    return dict(counts)


async def in_one_call(shopper: Shopper) -> checkout_pb2.Checkout:
    request = checkouts_api.SellRequest(
        checkout_id=shopper.new_id(),
        payment_id=shopper.new_id(),
        amount=gbp(shopper.basket.amount_minor),
        lines=shopper.basket.request("", "").lines,
        pay_code=shopper.pay_code(),
    )
    sold: checkout_pb2.Checkout = await shopper.peer.call(shopper.till.Sell, request)
    return sold


async def in_three_calls(shopper: Shopper) -> checkout_pb2.Checkout:
    await shopper.raise_order()
    request = checkouts_api.PayCheckoutRequest(
        payment_id=shopper.new_id(),
        checkout_id=shopper.checkout_id,
        order_version=1,
        amount=gbp(shopper.basket.amount_minor),
        pay_code=shopper.pay_code(),
    )
    sold: checkout_pb2.Checkout = await shopper.peer.call(shopper.till.PayCheckout, request)
    return sold


def test_a_sale_in_one_call_costs_less_than_one_in_three() -> None:
    assert cost_of(in_one_call) == {"served": 5, "made": 4, "transactions": 9}
    assert cost_of(in_three_calls) == {"served": 7, "made": 4, "transactions": 11}
