"""A display hears what becomes of an order, wherever that happens, and nobody asks GetCheckout."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from store_terminal.outbox.queries import find_cursor, keep_cursor
from store_terminal.tables import METADATA
from tests.links import Link
from tests.postgres import Cluster
from tests.processes import Server, start_server
from tests.terminal.displays import Display, hearing
from tests.terminal.inside import Inside
from tests.terminal.till import COFFEE, Behind, goods
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.rpc import streams
from tillmesh.storage.database import open_database

PAID, ANOTHERS = "PAID HAND_OVER_GOODS", "PAID_BY_ANOTHER_PAYMENT"


@pytest_asyncio.fixture
async def inside(database_url: str, order_service: Server, payment_server: Server) -> AsyncIterator[Inside]:
    async with hearing(database_url, order_service.address, payment_server.address) as inside:
        yield inside


def traces(behind: Behind, checkout: checkout_pb2.Checkout) -> set[str]:
    """Those of what happened to its order."""
    request = orders_api.ListOrderEventsRequest(order_id=checkout.checkout_id)
    return {event.trace_id for event in behind.orders.ListOrderEvents(request).events}


async def test_a_display_hears_that_a_phone_paid(inside: Inside, behind: Behind) -> None:
    pending = await inside.submitted(behind.shopper())
    async with Display(inside, checkout_id=pending.checkout_id) as display:
        phone = await asyncio.to_thread(behind.pay_from_phone, pending)
        shown = await display.shows("PAID", PAID, ANOTHERS)
    event = display.updates[-1].event
    assert shown.paid_by_payment_id == event.reference == phone.payment_id
    assert event.trace_id in traces(behind, pending)


async def test_a_display_shows_a_sale_from_the_first_line_to_the_payer_s_yes(inside: Inside, behind: Behind) -> None:
    async with Display(inside) as display:
        pending = await inside.submitted(behind.shopper(threshold=1), lines=[COFFEE])
        paying = asyncio.create_task(inside.pay(pending))
        waiting = await display.shows("PAYER_ASKED", "PAYING ASK_PAYER")
        await asyncio.to_thread(behind.confirm, waiting.payment_id, waiting.amount)
        await display.shows("PAID", PAID)
        await paying
    assert {update.event.checkout_id for update in display.updates} == {pending.checkout_id}
    heard = [event for event in display.events if event != "PAYER_ACTED"]  # it may be paid at the next look
    assert heard == ["OPENED", "SUBMITTED", "PAYMENT_STARTED", "PAYER_ASKED", "PAID"]


async def test_a_display_hears_that_somebody_else_is_paying_and_gave_it_up(inside: Inside, behind: Behind) -> None:
    pending = await inside.submitted(behind.shopper(threshold=1))
    async with Display(inside, checkout_id=pending.checkout_id) as display:
        phone = await asyncio.to_thread(behind.pay_from_phone, pending)
        locked = await display.shows("ORDER_LOCKED", "SUBMITTED WAIT", "ORDER_LOCKED")
        assert 0 < locked.verdict_remaining.ToMilliseconds() <= 120_000
        await asyncio.to_thread(behind.cancel_payment, phone.payment_id)
        await display.shows("ORDER_UNLOCKED", "SUBMITTED NOT_TRIED")
    assert display.events == ["ORDER_LOCKED", "ORDER_UNLOCKED"]
    assert {update.event.reference for update in display.updates} == {phone.payment_id}


async def test_a_display_hears_that_the_payer_said_no(inside: Inside, behind: Behind) -> None:
    pending = await inside.submitted(behind.shopper(threshold=1))
    async with Display(inside, checkout_id=pending.checkout_id) as display:
        paying = asyncio.create_task(inside.pay(pending))
        waiting = await display.shows("PAYER_ASKED", "PAYING ASK_PAYER")
        await asyncio.to_thread(behind.cancel_payment, waiting.payment_id)
        await display.shows("PAYMENT_ENDED", "SUBMITTED SAFE_TO_RETRY", "PAYMENT_CANCELED")
        await paying
    assert display.events[-1] == "PAYMENT_ENDED"


async def test_a_display_hears_that_the_order_was_changed_and_canceled_elsewhere(
    inside: Inside, behind: Behind
) -> None:
    pending = await inside.submitted()
    async with Display(inside, checkout_id=pending.checkout_id) as display:
        await asyncio.to_thread(behind.change_order, pending, goods(900))
        changed = await display.shows("REFRESHED", "SUBMITTED NOT_TRIED")
        assert (changed.amount.minor_units, changed.order_version) == (900, 2)
        await asyncio.to_thread(behind.cancel_order, pending)
        await display.shows("CANCELED", "CANCELED CLOSED")
    assert display.events == ["REFRESHED", "CANCELED"]


async def test_what_happened_while_no_terminal_ran_is_heard_once_it_runs(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind
) -> None:
    addresses = order_service.address, payment_server.address
    async with hearing(database_url, *addresses) as inside:
        pending = await inside.submitted(behind.shopper())
    phone = behind.pay_from_phone(pending)
    async with hearing(database_url, *addresses) as inside, Display(inside, streams.OLDEST) as display:
        shown = await display.shows("PAID", PAID, ANOTHERS)
        assert shown.paid_by_payment_id == phone.payment_id
        assert inside.calls["GetOrder"] == 1


@pytest.mark.parametrize("cursor", ["", "of a database that was restored since"])
async def test_a_terminal_that_does_not_know_where_it_was_reads_all_that_is_pending(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, cursor: str
) -> None:
    addresses = order_service.address, payment_server.address
    async with hearing(database_url, *addresses) as inside:
        paid, pending = await inside.submitted(behind.shopper()), await inside.submitted()
    behind.pay_from_phone(paid)
    database = open_database(database_url, METADATA)
    await database.run(keep_cursor, cursor)
    await database.close()
    async with hearing(database_url, *addresses) as inside, Display(inside, streams.OLDEST) as display:
        await display.until(lambda: "PAID" in display.events)
        await asyncio.to_thread(behind.cancel_order, pending)
        await display.shows("CANCELED", "CANCELED CLOSED")
        assert await inside.database.run(find_cursor) not in ("", cursor)


async def test_what_happens_while_the_connection_is_gone_is_heard_afterwards(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind
) -> None:
    with Link(order_service.address) as orders:
        async with hearing(database_url, orders.address, payment_server.address) as inside:
            pending = await inside.submitted(behind.shopper())
            async with Display(inside, checkout_id=pending.checkout_id) as display:
                orders.lose_answers()
                await asyncio.to_thread(behind.pay_from_phone, pending)
                orders.heal()  # which ends the connections
                await display.shows("PAID", PAID, ANOTHERS)


async def test_a_display_hears_of_orders_after_the_order_service_died_and_came_back(
    database_url: str, payment_server: Server, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        server = start_server("order_service", tmp_path)
        stack.callback(lambda: server.kill())
        inside = await stack.enter_async_context(hearing(database_url, server.address, payment_server.address))
        pending = await inside.submitted()
        server.kill()
        server = start_server("order_service", tmp_path, listen=server.address)
        with server.channel() as orders, payment_server.channel() as payments:
            async with Display(inside, checkout_id=pending.checkout_id) as display:
                await asyncio.to_thread(Behind(orders, payments).cancel_order, pending)
                await display.shows("CANCELED", "CANCELED CLOSED")


async def test_what_a_terminal_does_itself_or_does_not_have_costs_it_no_read(inside: Inside, behind: Behind) -> None:
    shopper = behind.shopper()
    for _ in range(3):
        await inside.pay(await inside.submitted(shopper))
    for _ in range(3):
        await asyncio.to_thread(behind.pay_from_phone, checkout_of(behind, shopper))
    pending = await inside.submitted(shopper)
    async with Display(inside, checkout_id=pending.checkout_id) as display:
        await asyncio.to_thread(behind.cancel_order, pending)
        await display.shows("CANCELED", "CANCELED CLOSED")  # and all before was heard
    assert inside.calls["GetOrder"] == 1
    assert inside.calls["WatchOrders"] == 1


def checkout_of(behind: Behind, identity_id: str) -> checkout_pb2.Checkout:
    """A name for an order that the web shop raises."""
    return checkout_pb2.Checkout(checkout_id=behind.raise_order(identity_id).order_id)


async def test_replicas_that_both_watch_write_each_event_once(
    postgres: Cluster, order_service: Server, payment_server: Server, behind: Behind
) -> None:
    addresses = order_service.address, payment_server.address
    with postgres.database(METADATA) as url:
        async with (
            hearing(url, *addresses) as first,
            hearing(url, *addresses) as second,
            Display(second) as display,
        ):
            for _ in range(5):
                pending = await first.submitted(behind.shopper(threshold=1))
                phone = await asyncio.to_thread(behind.pay_from_phone, pending)
                await display.shows("ORDER_LOCKED", "SUBMITTED WAIT", "ORDER_LOCKED")
                await asyncio.to_thread(behind.confirm, phone.payment_id, phone.amount)
                await display.shows("PAID", PAID, ANOTHERS)
    heard = [(update.event.checkout_id, update.event.type) for update in display.updates]
    assert len(heard) == len(set(heard)) == 5 * len(["OPENED", "SUBMITTED", "ORDER_LOCKED", "PAID"])
