"""A phone hears of the payments of its payer, a store of its own, each of what it may see."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.payments.claims import signed_in
from tests.payments.phones import PLATFORM, TILL, acting, pay_at_till
from tests.payments.side import Side, refused
from tests.payments.test_pins import at_the_pad, keyed_in, waiting
from tests.trust.secrets import WRONG_PIN
from tests.watching import Reader
from thirdparty_server.errors import Reason
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as api
from tillmesh.auth.callers import Caller
from tillmesh.rpc.streams import OLDEST
from tillmesh.runtime.errors import Refusal

Event = payment_pb2.PaymentEvent
STORE = TILL.store_id or ""
LOOKS_MAX = 8
"""Three events of a payment until its payer is asked, and on PostgreSQL what is older has to end first."""


@pytest.fixture
async def live(side: Side) -> AsyncIterator[Side]:
    """A payment server that looks for what is new."""
    task = asyncio.create_task(side.payments.streams.run())
    yield side
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def watching(side: Side, who: Caller, **filters: Any) -> AsyncIterator[Reader]:
    with acting(who):
        reader = Reader(side.payments.WatchPayments(api.WatchPaymentsRequest(**filters)))
    async with reader:
        yield reader


def told(updates: list[api.PaymentUpdate]) -> list[str]:
    return [Event.Type.Name(update.event.type).removeprefix("TYPE_") for update in updates]


async def test_a_phone_hears_within_a_few_looks_that_a_payment_waits_for_its_payer(live: Side) -> None:
    phone = await signed_in(live)
    streams = live.payments.streams
    async with watching(live, await phone.admitted(), identity_id=phone.identity_id) as reader:
        looks = streams.looks
        payment = await pay_at_till(live, await live.order(phone.identity_id))
        updates = await reader.read(2)
        assert streams.looks - looks <= LOOKS_MAX
    assert told(updates) == ["CREATED", "LOCKED_FOR_PAYER"]
    assert updates[-1].payment.payment_id == payment.payment_id
    assert updates[-1].payment.confirm_remaining.ToMilliseconds() > 0


async def test_a_phone_hears_how_many_tries_of_the_pin_are_left_and_the_store_does_not(live: Side) -> None:
    phone, _, payment = await waiting(live)
    await phone.sign_in()
    filters = {"types": [Event.TYPE_PIN_REJECTED], "cursor": OLDEST}
    async with (
        watching(live, await phone.admitted(), identity_id=phone.identity_id, **filters) as own,
        watching(live, TILL, store_id=STORE, **filters) as store,
    ):
        with refused(Reason.PIN_WRONG):
            await at_the_pad(live, keyed_in(payment, WRONG_PIN))
        assert (await own.read(1))[0].event.pin_tries_left == 4
        assert not (await store.read(1))[0].event.HasField("pin_tries_left")


async def test_nobody_hears_of_another_s_payments(live: Side) -> None:
    they, we = await signed_in(live), await signed_in(live)
    async with (
        watching(live, await we.admitted(), identity_id=we.identity_id) as own,
        watching(live, PLATFORM) as everything,
    ):
        await pay_at_till(live, await live.order(they.identity_id))
        await pay_at_till(live, await live.order(we.identity_id))
        await everything.read(4)
        heard = await own.read(2)
    assert {update.payment.identity_id for update in heard} == {we.identity_id}


async def test_a_store_does_not_hear_whose_the_wallet_is(live: Side) -> None:
    phone = await signed_in(live)
    async with watching(live, TILL, store_id=STORE) as reader:
        await pay_at_till(live, await live.order(phone.identity_id))
        updates = await reader.read(2)
    assert {update.payment.identity_id for update in updates} == {""}


async def test_a_store_names_no_identity(live: Side) -> None:
    answers = live.payments.WatchPayments(api.WatchPaymentsRequest(store_id=STORE, identity_id="ada"))
    with acting(TILL), pytest.raises(Refusal, match="identity_id"):
        await anext(answers)
