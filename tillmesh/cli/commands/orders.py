"""`tillmesh orders`."""

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.cli.display import amount, date_time, payer_name, show_json, show_table
from tillmesh.cli.filters import SHOWN, Limit, Payer, State, StoreId, first, state_name
from tillmesh.cli.options import DEFAULT, Json, Orders, payer_of, run_async
from tillmesh.cli.records import order_state
from tillmesh.client.connections import Addresses, Client


def orders(
    payer: Payer = "",
    store: StoreId = "",
    state: State = None,
    limit: Limit = SHOWN,
    orders: Orders = DEFAULT.orders,
    json: Json = False,
) -> None:
    """List orders, newest first: with --payer, the pending and past transactions of an identity."""
    known = order_pb2.Order.State
    states = [known.Value(state_name(known.keys(), name)) for name in state or ()]
    request = order_api.ListOrdersRequest(store_id=store, payer=payer_of(payer), states=states)

    async def look() -> list[order_pb2.Order]:
        async with Client(Addresses(orders=orders)) as client:
            listed = client.listed(client.orders.ListOrders, request, lambda page: page.orders)
            return await first(listed, limit)

    found = run_async(look())
    if show_json(found):
        return
    rows = [
        (
            order.order_id,
            date_time(order.create_time),
            order.store_id,
            payer_name(order.payer),
            str(len(order.lines)),
            amount(order.amount),
            str(order.version),
            order_state(order),
        )
        for order in found
    ]
    columns = ["order", "raised", "store", "payer", "lines", "amount", "version", "state"]
    show_table("Orders", columns, rows, right=["lines", "amount", "version"])
