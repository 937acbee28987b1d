"""`tillmesh watch`: what happens, as it happens."""

from typing import Annotated

import typer

from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as order_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payment_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.cli.event_lines import checkout_line, order_line, payment_line
from tillmesh.cli.filters import StoreId
from tillmesh.cli.options import DEFAULT, Json, Orders, Payments, Terminal
from tillmesh.cli.watching import CursorPath, From, Start, Types, Watch, run_watch, types_of
from tillmesh.client.connections import Addresses, Client

watch = typer.Typer(
    help="""Print what happens as it happens, an event a line, until Ctrl-C.

Each event is printed once and in order, and none is left out, whatever becomes of servers and connections meanwhile.
With --cursor-file that holds from one run to the next: after a crash the events of the last answer, at most 100, may
be printed once more. An event has a number within its record, so whoever reads the lines can tell.

With --json a line is the event and the record as it is now, which may be newer; the last line of an answer has the
cursor that leads on behind it.""",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@watch.command(
    epilog="**Examples**\n\ntillmesh watch orders --store store-1 --type paid --type canceled\n\n"
    "tillmesh watch orders --from oldest --cursor-file orders.cursor --json | your-program"
)
def orders(
    store: StoreId = "",
    types: Types = None,
    start: From = Start.NOW,
    cursor_file: CursorPath = None,
    orders: Orders = DEFAULT.orders,
    json: Json = False,
) -> None:
    """Print what happens to orders: raised, changed, locked, unlocked, paid, canceled."""
    request = order_api.WatchOrdersRequest(store_id=store)
    request.types.extend(types_of(order_pb2.OrderEvent, types))
    watching = Watch(start, cursor_file, order_line)

    async def act() -> None:
        async with Client(Addresses(orders=orders)) as client:
            await watching.print_all(client, client.orders.WatchOrders, request)

    run_watch(act())


@watch.command(
    epilog="**Examples**\n\ntillmesh watch checkouts --lane lane-4\n\n"
    "tillmesh watch checkouts --checkout 7K3M-9Q2X-VB4T --from oldest"
)
def checkouts(
    checkout: Annotated[str, typer.Option("--checkout", help="Only this one.")] = "",
    lane: Annotated[str, typer.Option("--lane", help="Only of this device, as its display.")] = "",
    types: Types = None,
    start: From = Start.NOW,
    cursor_file: CursorPath = None,
    terminal: Terminal = DEFAULT.terminal,
    json: Json = False,
) -> None:
    """Print what happens to the terminal's checkouts, and what the till says of each now."""
    request = checkout_api.WatchCheckoutsRequest(checkout_id=checkout, lane=lane)
    request.types.extend(types_of(checkout_pb2.CheckoutEvent, types))
    watching = Watch(start, cursor_file, checkout_line)

    async def act() -> None:
        async with Client(Addresses(terminal=terminal)) as client:
            await watching.print_all(client, client.till.WatchCheckouts, request)

    run_watch(act())


@watch.command(
    epilog="**Examples**\n\ntillmesh watch payments --store store-1\n\n"
    "tillmesh watch payments --identity ada --type locked_for_payer"
)
def payments(
    store: StoreId = "",
    identity: Annotated[str, typer.Option("--identity", help="Only from the wallets of this identity.")] = "",
    types: Types = None,
    start: From = Start.NOW,
    cursor_file: CursorPath = None,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Print what happens to payments; `tillmesh phone watch` does so for the owner of a phone."""
    request = payment_api.WatchPaymentsRequest(store_id=store, identity_id=identity)
    request.types.extend(types_of(payment_pb2.PaymentEvent, types))
    watching = Watch(start, cursor_file, payment_line)

    async def act() -> None:
        async with Client(Addresses(payments=payments)) as client:
            await watching.print_all(client, client.payments.WatchPayments, request)

    run_watch(act())
