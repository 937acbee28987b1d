"""`tillmesh store`: what the payment server knows of stores, and how much they may give back without a sale."""

from typing import Annotated

import typer
from google.protobuf.field_mask_pb2 import FieldMask

from tillmesh.api.payment.v1 import store_pb2
from tillmesh.api.payment.v1 import store_service_pb2 as store_api
from tillmesh.cli.display import amount, date_time, show_json, show_table
from tillmesh.cli.options import DEFAULT, CurrencyCode, Json, Payments, money, run_async
from tillmesh.client.connections import Addresses, Client
from tillmesh.runtime.ids import new_request_id

NONE = "none"
State = store_pb2.Store.State

store = typer.Typer(
    help="Stores: who is paid, and within which limits. Their terminals print name, address and tax number.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
StoreId = Annotated[str, typer.Argument(help="The store, as its terminals' certificates name it.")]
Name = Annotated[str | None, typer.Option("--name", help="What shoppers call it.")]
Address = Annotated[
    list[str] | None, typer.Option("--address", metavar="LINE", help="A line of its postal address; up to 5 times.")
]
TaxNumber = Annotated[str | None, typer.Option("--tax-number", help="As receipts show it.")]


@store.command(
    epilog="**Examples**\n\ntillmesh store create store-7 --name 'Corner Shop' --time-zone Europe/London\n\n"
    "tillmesh store create store-8 --currency EUR --address 'Hauptstr. 1' --address '10827 Berlin' "
    "--tax-number DE123456789 --refund-limit 500"
)
def create(
    store_id: StoreId,
    name: Name = None,
    address: Address = None,
    tax_number: TaxNumber = None,
    time_zone: Annotated[str, typer.Option("--time-zone", help="Of its receipts, an IANA name.")] = "UTC",
    currency: CurrencyCode = "GBP",
    refund_limit: Annotated[
        str | None,
        typer.Option(
            "--refund-limit",
            metavar="AMOUNT",
            help="What it may give back without a sale, in all. [default: nothing]",
        ),
    ] = None,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Register a store."""
    new = store_pb2.Store(
        store_id=store_id,
        name=name or store_id,
        address_lines=address or (),
        tax_number=tax_number or "",
        time_zone=time_zone,
        currency_code=currency,
        unreferenced_refund_limit=None if refund_limit is None else money(refund_limit, currency),
    )

    async def act() -> store_pb2.Store:
        async with Client(Addresses(payments=payments)) as client:
            return await client.call(client.stores.CreateStore, store_api.CreateStoreRequest(store=new))

    show_store(run_async(act()))


@store.command(epilog="**Example**\n\ntillmesh store show store-7")
def show(
    store_id: StoreId,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Show a store."""

    async def look() -> store_pb2.Store:
        async with Client(Addresses(payments=payments)) as client:
            return await read_store(client, store_id)

    show_store(run_async(look()))


@store.command("list", epilog="**Example**\n\ntillmesh store list")
def list_(
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """List all stores."""

    async def look() -> list[store_pb2.Store]:
        async with Client(Addresses(payments=payments)) as client:
            request = store_api.ListStoresRequest()
            return [each async for each in client.listed(client.stores.ListStores, request, lambda page: page.stores)]

    found = run_async(look())
    if show_json(found):
        return
    rows = [(each.store_id, each.name, each.currency_code, _refund_limit(each), _state(each)) for each in found]
    columns = ["store", "name", "currency", "refund limit", "state"]
    show_table("Stores", columns, rows, right=["refund limit"])


@store.command(
    epilog="**Examples**\n\ntillmesh store update store-7 --refund-limit 800\n\ntillmesh store update store-7 --suspend"
)
def update(
    store_id: StoreId,
    name: Name = None,
    address: Address = None,
    tax_number: TaxNumber = None,
    time_zone: Annotated[str | None, typer.Option("--time-zone", help="Of its receipts, an IANA name.")] = None,
    refund_limit: Annotated[
        str | None,
        typer.Option(
            "--refund-limit", metavar="AMOUNT", help="What it may give back without a sale, in all; none: nothing."
        ),
    ] = None,
    suspend: Annotated[
        bool | None,
        typer.Option("--suspend/--activate", help="A suspended store starts no payment and no refund without a sale."),
    ] = None,
    payments: Payments = DEFAULT.payments,
    json: Json = False,
) -> None:
    """Change a store. What is not named stays as it is; --address replaces all lines of the address."""
    given = {
        "name": name,
        "address_lines": address,
        "tax_number": tax_number,
        "time_zone": time_zone,
        "unreferenced_refund_limit": refund_limit,
        "state": suspend,
    }
    mask = FieldMask(paths=[field for field, value in given.items() if value is not None])
    if not mask.paths:
        raise typer.BadParameter("say what to change: see --help", param_hint="OPTIONS")
    new = store_pb2.Store(
        store_id=store_id,
        name=name or "",
        address_lines=address or (),
        tax_number=tax_number or "",
        time_zone=time_zone or "",
    )
    if suspend is not None:
        new.state = State.STATE_SUSPENDED if suspend else State.STATE_ACTIVE

    async def act() -> store_pb2.Store:
        async with Client(Addresses(payments=payments)) as client:
            found = await read_store(client, store_id)
            if refund_limit not in (None, NONE):
                new.unreferenced_refund_limit.CopyFrom(money(refund_limit, found.currency_code))
            request = store_api.UpdateStoreRequest(
                request_id=new_request_id(), store=new, update_mask=mask, version=found.version
            )
            return await client.call(client.stores.UpdateStore, request)

    show_store(run_async(act()))


async def read_store(client: Client, store_id: str) -> store_pb2.Store:
    """A store as the payment server knows it."""
    return await client.call(client.stores.GetStore, store_api.GetStoreRequest(store_id=store_id))


def show_store(found: store_pb2.Store) -> None:
    """Prints a store."""
    if show_json([found]):
        return
    rows = [
        ("name", found.name),
        *(("address", line) for line in found.address_lines),
        ("tax number", found.tax_number),
        ("time zone", found.time_zone),
        ("currency", found.currency_code),
        ("refund limit", f"{_refund_limit(found)} without a sale, in all"),
        ("state", _state(found)),
        ("registered", date_time(found.create_time)),
    ]
    show_table(f"Store {found.store_id}, version {found.version}", ["", ""], [row for row in rows if row[1]])


def _refund_limit(found: store_pb2.Store) -> str:
    return amount(found.unreferenced_refund_limit) if found.HasField("unreferenced_refund_limit") else "nothing"


def _state(found: store_pb2.Store) -> str:
    return State.Name(found.state).removeprefix("STATE_")
