"""The terminal knows its store, so that receipts name it: also while the payment server is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from store_terminal.receipts import store_reader
from store_terminal.receipts.model import StoreRecord
from store_terminal.receipts.queries import store_record
from store_terminal.receipts.store_reader import StoreReader
from tests.clocks import ManualClock
from tests.processes import DEADLINE_S, Server
from tests.terminal.inside import Inside, terminal
from tests.terminal.till import Behind
from tillmesh.api.payment.v1 import store_pb2
from tillmesh.api.payment.v1 import store_service_pb2 as stores_api
from tillmesh.api.payment.v1.store_service_pb2_grpc import StoreServiceStub
from tillmesh.api.terminal.v1 import receipt_pb2
from tillmesh.api.terminal.v1 import receipt_service_pb2 as api
from tillmesh.auth.callers import Role
from tillmesh.rpc.peers import open_channel
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage.database import Database

SOON_S = 0.02


@pytest.fixture
def stores(payment_server: Server) -> StoreServiceStub:
    return StoreServiceStub(grpc.insecure_channel(payment_server.address))


def open_store(stores: StoreServiceStub) -> store_pb2.Store:
    """Registers a store of its own for a test."""
    store = store_pb2.Store(
        store_id=f"store-{new_request_id()}",
        name="Bär & Söhne",
        address_lines=["Hauptstr. 1", "10827 Berlin"],
        tax_number="DE123456789",
        time_zone="Europe/Berlin",
        currency_code="EUR",
    )
    return stores.CreateStore(stores_api.CreateStoreRequest(store=store), timeout=DEADLINE_S)


def rename(stores: StoreServiceStub, store: store_pb2.Store, name: str) -> None:
    request = stores_api.UpdateStoreRequest(
        request_id=new_request_id(),
        store=store_pb2.Store(store_id=store.store_id, name=name),
        update_mask=FieldMask(paths=["name"]),
        version=store.version,
    )
    stores.UpdateStore(request, timeout=DEADLINE_S)


@asynccontextmanager
async def reader(database: Database, address: str, store_id: str) -> AsyncIterator[StoreReader]:
    channel = open_channel(address, Role.PAYMENTS, None)
    yield StoreReader(database, channel, "spiffe://tillmesh/terminal/store-1/till-1", store_id)
    await channel.close()


async def bill(inside: Inside) -> receipt_pb2.Receipt:
    basket = await inside.create()
    return await inside.receipts.GetReceipt(api.GetReceiptRequest(checkout_id=basket.checkout_id))


async def until_called(database: Database, store_id: str, name: str) -> StoreRecord:
    """The record, once the store is called that."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            record = await database.run(store_record, store_id)
            if record.name == name:
                return record
            await asyncio.sleep(SOON_S)


async def test_a_terminal_reads_its_store_by_itself_and_prints_it_while_the_payment_server_is_away(
    database_url: str, closed_port: str, payment_server: Server, behind: Behind, clock: ManualClock
) -> None:
    async with terminal(database_url, closed_port, payment_server.address, clock, resumes=True) as inside:
        await until_called(inside.database, "store-1", "Corner shop")
        before = await bill(inside)
    async with terminal(database_url, closed_port, closed_port, clock) as inside:
        after = await bill(inside)
    for receipt in (before, after):
        assert receipt.store == receipt_pb2.ReceiptStore(
            store_id="store-1", name="Corner shop", time_zone="Europe/London"
        )
        assert receipt.text.startswith("Corner shop\n")


async def test_until_its_record_was_read_the_id_of_the_store_stands_for_its_name(
    database_url: str, closed_port: str, clock: ManualClock
) -> None:
    async with terminal(database_url, closed_port, closed_port, clock) as inside:
        async with reader(inside.database, closed_port, "store-1") as reading:
            assert not await reading.read()
        receipt = await bill(inside)
    assert receipt.store == receipt_pb2.ReceiptStore(store_id="store-1", name="store-1", time_zone="UTC")
    assert receipt.local_time.endswith("+00:00")
    assert receipt.text.startswith("store-1\n")


async def test_what_changes_in_the_record_is_read_again(
    database_url: str, closed_port: str, payment_server: Server, stores: StoreServiceStub, clock: ManualClock
) -> None:
    store = open_store(stores)
    async with (
        terminal(database_url, closed_port, closed_port, clock) as inside,
        reader(inside.database, payment_server.address, store.store_id) as reading,
    ):
        with patch.object(store_reader, "READ_EVERY_S", SOON_S):
            running = asyncio.create_task(reading.run())
            record = await until_called(inside.database, store.store_id, "Bär & Söhne")
            assert record == StoreRecord(
                store.store_id, "Bär & Söhne", ("Hauptstr. 1", "10827 Berlin"), "DE123456789", "Europe/Berlin"
            )
            rename(stores, store, "Bär & Töchter")
            await until_called(inside.database, store.store_id, "Bär & Töchter")
            running.cancel()


async def test_a_store_that_is_registered_later_is_read_soon_after(
    database_url: str, closed_port: str, payment_server: Server, stores: StoreServiceStub, clock: ManualClock
) -> None:
    store = store_pb2.Store(store_id=f"store-{new_request_id()}", name="New", time_zone="UTC", currency_code="EUR")
    async with (
        terminal(database_url, closed_port, closed_port, clock) as inside,
        reader(inside.database, payment_server.address, store.store_id) as reading,
    ):
        assert not await reading.read()
        with patch.object(store_reader, "AGAIN_S", SOON_S):
            running = asyncio.create_task(reading.run())
            stores.CreateStore(stores_api.CreateStoreRequest(store=store), timeout=DEADLINE_S)
            await until_called(inside.database, store.store_id, "New")
            running.cancel()
