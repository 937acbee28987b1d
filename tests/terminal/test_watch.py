"""What happens to checkouts is sent as it happens, to the displays that want it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from store_terminal.checkouts import queries
from tests.clocks import ManualClock
from tests.terminal.displays import Display
from tests.terminal.inside import Inside, now_ms, terminal
from tests.terminal.till import COFFEE, TEA, skus
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.rpc import streams
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id

T = checkout_pb2.CheckoutEvent


@pytest_asyncio.fixture
async def inside(database_url: str, closed_port: str) -> AsyncIterator[Inside]:
    async with terminal(database_url, closed_port, closed_port, ManualClock(now_ms()), resumes=True) as inside:
        yield inside


async def open_basket(inside: Inside, lane: str = "") -> checkout_pb2.Checkout:
    request = api.CreateCheckoutRequest(request_id=new_request_id(), lines=[TEA], lane=lane)
    return await inside.service.CreateCheckout(request)


async def add_coffee(inside: Inside, basket: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
    request = api.AddLinesRequest(
        request_id=new_request_id(),
        checkout_id=basket.checkout_id,
        basket_version=basket.basket_version,
        lines=[COFFEE],
    )
    return await inside.service.AddLines(request)


async def cancel(inside: Inside, basket: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
    request = api.CancelCheckoutRequest(request_id=new_request_id(), checkout_id=basket.checkout_id)
    return await inside.service.CancelCheckout(request)


async def test_a_display_shows_the_lines_as_they_are_added(inside: Inside) -> None:
    async with Display(inside) as display:
        basket = await open_basket(inside)
        await display.shows("OPENED", "BASKET NOT_TRIED")
        assert skus(display.updates[-1].checkout) == [(1, "TEA")]
        await add_coffee(inside, basket)
        await display.read(2)
        assert skus(display.updates[-1].checkout) == [(1, "TEA"), (2, "COFFEE")]
        await cancel(inside, basket)
        await display.shows("CANCELED", "CANCELED CLOSED")
    assert display.events == ["OPENED", "CHANGED", "CANCELED"]
    assert [update.event.number for update in display.updates] == [1, 2, 3]


async def test_a_display_hears_of_its_own_lane_alone(inside: Inside) -> None:
    async with Display(inside, lane="lane-2") as display:
        other = await open_basket(inside, "lane-1")
        mine = await open_basket(inside, "lane-2")
        for basket in (other, mine):
            await cancel(inside, basket)
        await display.shows("CANCELED", "CANCELED CLOSED")
    assert {update.event.checkout_id for update in display.updates} == {mine.checkout_id}
    assert display.events == ["OPENED", "CANCELED"]


async def test_a_display_hears_of_one_checkout_where_it_names_one(inside: Inside) -> None:
    first, second = await open_basket(inside, "lane-1"), await open_basket(inside, "lane-1")
    async with (
        Display(inside, streams.OLDEST, checkout_id=second.checkout_id) as display,
        Display(inside, streams.OLDEST, checkout_id=second.checkout_id, lane="lane-2") as elsewhere,
    ):
        for basket in (first, second):
            await cancel(inside, basket)
        await display.shows("CANCELED", "CANCELED CLOSED")
    assert display.events == ["OPENED", "CANCELED"]
    assert elsewhere.events == []


async def test_a_display_gets_the_types_that_it_asks_for_without_records_if_it_wants_none(inside: Inside) -> None:
    async with Display(inside, types=[T.TYPE_CANCELED], events_only=True) as display:
        await cancel(inside, await open_basket(inside))
        (update,) = await display.read(1)
    assert (update.event.type, update.event.from_state) == (T.TYPE_CANCELED, checkout_pb2.Checkout.STATE_BASKET)
    assert not update.HasField("checkout")


async def test_from_the_first_page_of_a_list_on_nothing_is_missed(inside: Inside) -> None:
    basket, _ = await open_basket(inside), await open_basket(inside)
    page = await inside.service.ListCheckouts(api.ListCheckoutsRequest(page_size=1))
    next_page = await inside.service.ListCheckouts(
        api.ListCheckoutsRequest(page_size=1, page_token=page.next_page_token)
    )
    await cancel(inside, basket)
    assert not next_page.cursor
    async with Display(inside, page.cursor) as display:
        await display.shows("CANCELED", "CANCELED CLOSED")
    assert display.events == ["CANCELED"]


async def test_a_display_that_comes_back_misses_nothing(inside: Inside) -> None:
    heard, cursor = [], ""
    async with Display(inside) as display:
        cursor = display.cursor
    for _ in range(5):
        await cancel(inside, await open_basket(inside))
        async with Display(inside, cursor) as display:
            await display.read(2)
            heard += display.events
            cursor = display.cursor
    assert heard == ["OPENED", "CANCELED"] * 5


async def test_a_cursor_of_another_terminal_is_refused(inside: Inside) -> None:
    with pytest.raises(Refusal, match="CURSOR_EXPIRED"):
        await anext(inside.service.WatchCheckouts(api.WatchCheckoutsRequest(cursor="of-another")))


async def test_a_display_of_a_quiet_lane_reads_nothing_while_others_sell(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Display(inside, lane="lane-1") as quiet, Display(inside, lane="lane-2") as busy:
        read = 0
        real = queries.checkouts_of

        def counted(*arguments: object) -> object:
            nonlocal read
            read += 1
            return real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(queries, "checkouts_of", counted)
        for number in range(1, 4):
            await open_basket(inside, "lane-2")
            await busy.read(number)
        assert read == 3
        assert quiet.updates == []
