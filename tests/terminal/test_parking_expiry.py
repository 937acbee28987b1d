"""What nobody recalls is withdrawn by the terminal itself, and whatever became of its order elsewhere stays right."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from store_terminal.checkouts.housekeeping import WITHDRAWN_A_ROUND, Housekeeping
from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Parking
from store_terminal.checkouts.moves import list_events
from store_terminal.server import TerminalSettings
from store_terminal.tables import METADATA
from tests.clocks import ManualClock
from tests.processes import Server
from tests.terminal.inside import Inside, now_ms, terminal
from tests.terminal.parked import park_request
from tests.terminal.test_housekeeping import BASKET_MS, NAMES_MS, add, housekeeping
from tests.terminal.till import Behind, goods, said
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.rpc.settings import load_settings
from tillmesh.runtime.clock import DAY_MS, HOUR_MS
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import SYSTEM_RNG, new_request_id
from tillmesh.storage.database import open_database

KEPT_MS = 24 * HOUR_MS


@dataclass
class Kept:
    """A terminal in this process, and what it has put aside."""

    inside: Inside
    behind: Behind
    housekeeping: Housekeeping

    async def park(self, identity_id: str = "ada") -> checkout_pb2.Checkout:
        return await self.inside.service.ParkCheckout(park_request(await self.inside.create(identity_id)))

    async def withdrawn(self, checkout: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
        """The checkout, once the withdrawal that is asked for is answered."""
        return await self.inside.until(checkout, lambda now: not now.busy)

    def kept_ms(self, checkout: checkout_pb2.Checkout) -> int:
        """How long it is parked still."""
        return checkout.parking.expire_time.ToMilliseconds() - self.inside.clock.now_ms()

    async def events(self, checkout: checkout_pb2.Checkout) -> list[str]:
        request = api.ListCheckoutEventsRequest(checkout_id=checkout.checkout_id, page_size=200)
        names = checkout_pb2.CheckoutEvent.Type
        events = (await self.inside.service.ListCheckoutEvents(request)).events
        return [f"{names.Name(event.type).removeprefix('TYPE_')} {event.reason}".strip() for event in events]


@pytest.fixture
async def kept(database_url: str, order_service: Server, payment_server: Server, behind: Behind) -> AsyncIterator[Kept]:
    clock = ManualClock(now_ms())
    async with terminal(database_url, order_service.address, payment_server.address, clock) as inside:
        yield Kept(inside, behind, housekeeping(inside))


async def test_what_nobody_recalls_is_withdrawn_when_its_time_is_over(kept: Kept) -> None:
    parked = await kept.park()
    kept.inside.clock.advance(KEPT_MS - 1)
    assert await kept.housekeeping.withdraw_parked() == 0
    kept.inside.clock.advance(1)
    assert await kept.housekeeping.withdraw_parked() == 1
    assert await kept.housekeeping.withdraw_parked() == 0  # it is being asked for
    gone = await kept.withdrawn(parked)
    assert (said(gone), gone.HasField("parking")) == ("CANCELED CLOSED", False)
    assert await kept.events(parked) == ["OPENED", "PARKED", "SUBMITTED", "EXPIRED", "CANCELED"]
    assert kept.behind.order_events(parked) == ["CREATED", "CANCELED"]


async def test_what_is_recalled_in_time_stays(kept: Kept) -> None:
    parked = await kept.park()
    recall = api.RecallCheckoutRequest(request_id=new_request_id(), checkout_id=parked.checkout_id)
    recalled = await kept.inside.service.RecallCheckout(recall)
    kept.inside.clock.advance(2 * KEPT_MS)
    assert await kept.housekeeping.withdraw_parked() == 0
    assert said(await kept.inside.get(recalled)) == "SUBMITTED NOT_TRIED"


async def test_what_a_phone_has_paid_is_paid_and_not_withdrawn(kept: Kept) -> None:
    parked = await kept.park(kept.behind.shopper())
    kept.behind.pay_from_phone(parked)
    kept.inside.clock.advance(KEPT_MS)
    assert await kept.housekeeping.withdraw_parked() == 1
    paid = await kept.withdrawn(parked)
    assert (said(paid), paid.HasField("parking")) == ("PAID HAND_OVER_GOODS", False)
    assert (await kept.events(parked))[-3:] == ["EXPIRED", "REFUSED ORDER_ALREADY_PAID", "PAID"]
    assert await kept.housekeeping.withdraw_parked() == 0


async def test_what_was_changed_elsewhere_stays_parked_for_another_time(kept: Kept) -> None:
    parked = await kept.park()
    changed = kept.behind.change_order(parked, goods(900))
    kept.inside.clock.advance(KEPT_MS)
    assert await kept.housekeeping.withdraw_parked() == 1
    left = await kept.withdrawn(parked)
    assert (said(left), left.amount, left.parking.label) == ("SUBMITTED NOT_TRIED", changed.amount, "table 4")
    assert (await kept.events(parked))[-3:] == ["EXPIRED", "REFUSED VERSION_MISMATCH", "REFRESHED"]
    assert kept.kept_ms(left) == KEPT_MS
    kept.inside.clock.advance(KEPT_MS - 1)
    assert await kept.housekeeping.withdraw_parked() == 0
    kept.inside.clock.advance(1)
    assert await kept.housekeeping.withdraw_parked() == 1
    assert said(await kept.withdrawn(left)) == "CANCELED CLOSED"


async def test_what_a_phone_is_paying_is_tried_ever_later(kept: Kept) -> None:
    parked = await kept.park(kept.behind.shopper(threshold=0))
    kept.behind.pay_from_phone(parked)  # its order is locked, and waits for a yes
    for kept_ms in (KEPT_MS, 2 * KEPT_MS, 4 * KEPT_MS):
        kept.inside.clock.advance(kept.kept_ms(await kept.inside.get(parked)))
        assert await kept.housekeeping.withdraw_parked() == 1
        left = await kept.withdrawn(parked)
        assert (said(left).split()[0], kept.kept_ms(left)) == ("SUBMITTED", kept_ms)
    assert (await kept.events(parked)).count("REFUSED ORDER_LOCKED") == 3


def parked_record(parking: Parking) -> dict[str, Any]:
    """How a checkout differs from a paid one that is submitted and parked."""
    return {"state": CheckoutState.SUBMITTED, "paid_by": "", "paid_at_ms": 0, "attempt": None, "parking": parking}


async def test_what_the_order_service_will_never_withdraw_is_not_tried_again(kept: Kept) -> None:
    overdue = Parking("c-17", "table 4", 1, kept.inside.clock.now_ms())
    (lost,) = await add(kept.inside.database, 1, **parked_record(overdue))
    assert await kept.housekeeping.withdraw_parked() == 1
    left = await kept.withdrawn(checkout_pb2.Checkout(checkout_id=lost.checkout_id))
    assert (said(left).split()[0], left.HasField("parking")) == ("SUBMITTED", False)
    assert (await kept.events(left))[-2:] == ["EXPIRED", "REFUSED ORDER_NOT_FOUND"]
    kept.inside.clock.advance(100 * KEPT_MS)
    assert await kept.housekeeping.withdraw_parked() == 0


async def test_what_is_being_withdrawn_is_not_recalled(database_url: str, closed_port: str, clock: ManualClock) -> None:
    async with terminal(database_url, closed_port, closed_port, clock) as inside:
        (overdue,) = await add(inside.database, 1, **parked_record(Parking("c-17", "", 1, clock.now_ms())))
        assert await housekeeping(inside).withdraw_parked() == 1
        recall = api.RecallCheckoutRequest(request_id=new_request_id(), checkout_id=overdue.checkout_id)
        with pytest.raises(Refusal) as raised:
            await inside.service.RecallCheckout(recall)
        assert raised.value.reason == "CHECKOUT_BUSY"


async def test_of_recalls_and_a_withdrawal_at_once_one_counts(
    database_url: str, closed_port: str, clock: ManualClock
) -> None:
    """Several processes share the database; each of these races in a transaction of its own."""
    async with (
        terminal(database_url, closed_port, closed_port, clock) as one,
        terminal(database_url, closed_port, closed_port, clock) as other,
    ):
        (parked,) = await add(one.database, 1, **parked_record(Parking("c-17", "", 1, clock.now_ms())))

        async def recall(inside: Inside) -> str:
            request = api.RecallCheckoutRequest(request_id=new_request_id(), checkout_id=parked.checkout_id)
            try:
                await inside.service.RecallCheckout(request)
            except Refusal as refusal:
                return refusal.reason
            return "RECALLED"

        withdrawn, *recalled = await asyncio.gather(
            housekeeping(other).withdraw_parked(), recall(one), recall(other), recall(one)
        )
        history = await one.database.run(list_events, parked.checkout_id, None, 10)
    events = [entry.event for entry in history]
    if withdrawn:
        assert (recalled, events) == (["CHECKOUT_BUSY"] * 3, ["RESUMED", "EXPIRED"])
    else:
        assert (sorted(recalled), events) == (["CHECKOUT_NOT_PARKED"] * 2 + ["RECALLED"], ["RESUMED", "RECALLED"])


async def test_many_are_withdrawn_a_few_at_a_time(database_url: str, clock: ManualClock) -> None:
    database = open_database(database_url, METADATA)
    await add(database, WITHDRAWN_A_ROUND + 1, **parked_record(Parking("c-17", "", 1, clock.now_ms())))
    keeping = Housekeeping(database, clock, "", BASKET_MS, NAMES_MS, SYSTEM_RNG)
    assert [await keeping.withdraw_parked() for _ in range(3)] == [WITHDRAWN_A_ROUND, 1, 0]
    await database.close()


async def test_what_is_parked_without_an_end_is_never_withdrawn(database_url: str, clock: ManualClock) -> None:
    database = open_database(database_url, METADATA)
    await add(database, 1, **parked_record(Parking("c-17", "", 1, 0)))
    clock.advance(10 * 365 * DAY_MS)
    assert await Housekeeping(database, clock, "", BASKET_MS, NAMES_MS, SYSTEM_RNG).withdraw_parked() == 0
    await database.close()


def test_how_long_is_a_setting_and_0_is_without_an_end() -> None:
    for flags, parked_ms in (
        ([], 24 * HOUR_MS),
        (["--parked-hours", "0.5"], HOUR_MS // 2),
        (["--parked-hours", "0"], 0),
    ):
        settings = load_settings(TerminalSettings, ["--store-id", "s", "--insecure", *flags])
        assert settings.till().parked_ms == parked_ms
