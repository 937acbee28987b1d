"""How long the till waits: its own classes over real connections, by a clock that the test moves."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from store_terminal.server import TerminalSettings, assemble
from store_terminal.servicer import TerminalServicer
from store_terminal.tables import METADATA
from tests.clocks import ManualClock
from tests.processes import Server, wait_until
from tests.terminal.till import TEA, TEA_MINOR, Behind, said, terminal_flags
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import terminal_service_pb2 as api
from tillmesh.runtime.callers import Role
from tillmesh.runtime.database import open_database
from tillmesh.runtime.deadlines import set_deadline
from tillmesh.runtime.ids import SYSTEM_RNG, new_request_id
from tillmesh.runtime.peers import open_channel
from tillmesh.runtime.settings import load_settings

WAIT_MS = 60_000
DEADLINE_S = 60.0


@dataclass
class Inside:
    """The terminal without its own port; nothing resumes by itself, only what is asked is driven."""

    service: TerminalServicer
    clock: ManualClock

    async def pending(self, payer_id: str = "ada") -> checkout_pb2.Checkout:
        request = api.CreateCheckoutRequest(request_id=new_request_id(), payer_id=payer_id, lines=[TEA])
        basket = await self.service.CreateCheckout(request)
        submit = api.SubmitCheckoutRequest(request_id=new_request_id(), checkout_id=basket.checkout_id)
        return await self.service.SubmitCheckout(submit)

    async def pay(
        self, checkout: checkout_pb2.Checkout, payment_id: str = "", within_s: float = 20
    ) -> checkout_pb2.Checkout:
        set_deadline(within_s)
        request = api.PayCheckoutRequest(
            request_id=payment_id or new_request_id(),
            checkout_id=checkout.checkout_id,
            order_version=checkout.order_version,
            amount=checkout.amount,
        )
        answer = await self.service.PayCheckout(request)
        set_deadline(None)
        return answer

    async def get(self, checkout: checkout_pb2.Checkout) -> checkout_pb2.Checkout:
        return await self.service.GetCheckout(api.GetCheckoutRequest(checkout_id=checkout.checkout_id))

    async def until(
        self, checkout: checkout_pb2.Checkout, holds: Callable[[checkout_pb2.Checkout], bool]
    ) -> checkout_pb2.Checkout:
        """Asks as a till does, until it is told that."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                now = await self.get(checkout)
                if holds(now):
                    return now
                await asyncio.sleep(0.02)


@asynccontextmanager
async def terminal(database_url: str, orders: str, payments: str, clock: ManualClock) -> AsyncIterator[Inside]:
    flags = terminal_flags(orders, payments, "--insecure", "--database-url", database_url)
    settings = load_settings(TerminalSettings, [*flags, "--payment-wait-s", str(WAIT_MS / 1000)])
    database = open_database(settings.database_url, METADATA)
    channels = open_channel(orders, Role.ORDERS, None), open_channel(payments, Role.PAYMENTS, None)
    wiring = assemble(settings, database, *channels, clock, SYSTEM_RNG)
    service = wiring.servicers["tillmesh.api.terminal.v1.TerminalService"]
    assert isinstance(service, TerminalServicer)
    yield Inside(service, clock)
    for close in wiring.on_stop:
        await close()


@pytest.fixture
def today() -> ManualClock:
    """A clock that starts right: the payment server's goes on."""
    return ManualClock(time.time_ns() // 1_000_000)


async def test_an_unknown_outcome_is_wait_and_then_do_not_retry_and_the_till_ends_it_itself(
    database_url: str, order_service: Server, closed_port: str, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        paying = await inside.pay(await inside.pending(), within_s=0.5)
        assert (said(paying), paying.verdict_reason) == ("PAYING WAIT", "")
        assert paying.verdict_deadline.ToMilliseconds() == today.now_ms() + WAIT_MS
        today.advance(WAIT_MS - 1)
        assert said(await inside.get(paying)) == "PAYING WAIT"
        today.advance(1)
        late = await inside.get(paying)
        assert said(late) == "PAYING DO_NOT_RETRY"
        assert not late.HasField("verdict_deadline")
        ended = await inside.until(paying, lambda now: said(now) == "PENDING SAFE_TO_RETRY")
        assert ended.verdict_reason == "PAYMENT_TIMEOUT"
        assert behind.pay_from_phone(ended).state  # the order is free for another payment


async def test_a_clock_that_steps_back_turns_nothing_back(
    database_url: str, order_service: Server, closed_port: str, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        paying = await inside.pay(await inside.pending(), within_s=0.5)
        today.advance(WAIT_MS)
        ended = await inside.until(paying, lambda now: said(now) == "PENDING SAFE_TO_RETRY")
        today.advance(-WAIT_MS)
        assert await inside.get(paying) == ended


async def test_the_payer_has_as_long_as_the_payment_server_says(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        shopper = behind.shopper(instant_limit=1)
        waiting = await inside.pay(await inside.pending(shopper))
        assert (said(waiting), waiting.verdict_reason) == ("PAYING WAIT", "AWAITING_PAYER")
        window_ms = waiting.verdict_deadline.ToMilliseconds() - today.now_ms()
        assert window_ms > WAIT_MS
        today.advance(WAIT_MS + 1)
        assert said(await inside.get(waiting)) == "PAYING WAIT"
        behind.confirm(waiting.payment_id, waiting.amount)
        await inside.until(waiting, lambda now: said(now) == "PAID HAND_OVER_GOODS")
        assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


async def test_a_payer_who_confirms_in_the_last_moment_is_not_cut_off(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        waiting = await inside.pay(await inside.pending(behind.shopper(instant_limit=1)))
        today.advance(waiting.verdict_deadline.ToMilliseconds() - today.now_ms())
        assert said(await inside.pay(waiting, waiting.payment_id)) == "PAYING DO_NOT_RETRY"
        behind.confirm(waiting.payment_id, waiting.amount)
        await inside.until(waiting, lambda now: said(now) == "PAID HAND_OVER_GOODS")


async def test_a_payer_who_never_confirms_does_not_freeze_the_checkout(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        waiting = await inside.pay(await inside.pending(behind.shopper(instant_limit=1)))
        today.advance(24 * 3600 * 1000)
        assert said(await inside.get(waiting)) == "PAYING DO_NOT_RETRY"
        ended = await inside.until(waiting, lambda now: said(now) == "PENDING SAFE_TO_RETRY")
        assert ended.verdict_reason == "PAYMENT_TIMEOUT"
        await asyncio.to_thread(wait_until, lambda: behind.payment_states(ended) == ["VOIDED"])


async def test_a_payment_server_whose_clock_is_wrong_holds_the_till_for_minutes_at_most(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    today.advance(-365 * 24 * 3600 * 1000)
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        waiting = await inside.pay(await inside.pending(behind.shopper(instant_limit=1)))
        assert waiting.verdict_reason == "AWAITING_PAYER"
        assert 0 < waiting.verdict_deadline.ToMilliseconds() - today.now_ms() <= 600_000
