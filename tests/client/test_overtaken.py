"""A till that somebody else overtakes, or whose payment was not answered, pays what its shopper saw or nothing."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest
from grpc import StatusCode

from tests.client.sales import PRICE, TEA, Counter, say_yes
from tests.terminal.phones import shopper_with_phone
from tests.trust.secrets import PIN
from tillmesh.client import Failure, Money, Refusal, Sale, Till, Verdict

pytestmark = pytest.mark.process


async def test_in_the_loop_a_sale_that_somebody_else_paid_is_told_as_paid(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    told = []
    async with counter.till() as till:
        sale = await till.open([TEA])
        await sale.submit()
        async for said in sale.follow():
            told.append(said.verdict)
            if said.verdict is Verdict.NOT_TRIED:
                other = await till.find(sale.checkout_id)
                await other.pay(phone.code())
                assert (await other.ended()).hands_over
                await sale.pay(phone.code())
        assert told == [Verdict.NOT_TRIED, Verdict.HAND_OVER_GOODS]
        assert (await sale.cancel()).hands_over
        assert (await sale.cancel_payment()).hands_over
    assert counter.payments(sale) == ["CAPTURED"]


async def test_a_sale_that_somebody_else_canceled_is_told_as_closed(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    async with counter.till() as till:
        sale = await till.open([TEA])
        await sale.submit()
        await (await till.find(sale.checkout_id)).cancel()
        assert (await sale.pay(phone.code())).verdict is Verdict.CLOSED
    assert counter.payments(sale) == []


async def test_a_pin_after_the_yes_on_the_phone_is_told_as_paid(counter: Counter) -> None:
    shopper = counter.behind.shopper(threshold=0)
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, payer=shopper)
        say_yes(counter.behind, sale.said)
        assert (await sale.enter_pin(PIN)).hands_over


async def test_a_payment_carries_what_the_shopper_saw_and_not_what_a_repeat_brought(counter: Counter) -> None:
    shopper = counter.behind.shopper(threshold=0)
    elsewhere = counter.journal.with_name("other.journal")
    async with (
        counter.till(patience_s=1, timeout_s=0.5) as till,
        Till.connect(counter.link.address, certificates=None, journal=elsewhere) as other,
    ):
        sale = await till.sell([TEA], amount=PRICE, payer=shopper)
        counter.link.lose_answers()
        with pytest.raises(Failure):
            await sale.cancel_payment()
        counter.link.heal()
        changed = await other.find(sale.checkout_id)
        assert (await changed.ended()).verdict is Verdict.SAFE_TO_RETRY
        await changed.set_line(1, quantity=3)
        with pytest.raises(Refusal, match="VERSION_MISMATCH"):
            await sale.pay()
        assert (await sale.read()).amount == Money("GBP", 375)
        assert (await sale.pay()).verdict is Verdict.ASK_PAYER
    assert sorted(counter.payments(sale)) == ["AWAITING_PAYER", "VOIDED"]


async def test_a_payment_whose_code_is_lost_asks_nobody(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    async with counter.till(patience_s=0.5, timeout_s=0.3) as till:
        sale = await till.open([TEA], payer=phone.identity_id)
        await sale.submit()
        counter.link.lose_requests()
        with pytest.raises(Failure):
            await sale.pay(phone.code())
    counter.link.heal()
    async with counter.till() as till:  # it was switched off meanwhile
        (again,) = await till.resume()
        assert isinstance(again, Sale)
        assert (await again.ended()).verdict is Verdict.NOT_TRIED
        assert counter.payments(sale) == []
    assert counter.behind.wallet(phone.identity_id) == (1000, 0)


async def test_a_terminal_whose_cursors_are_of_another_history_is_heard_all_the_same(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper = counter.behind.shopper(threshold=0)
    streams = 0
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, payer=shopper)
        watch = till._desk.connections.watch

        async def expired_once(*args: Any) -> AsyncGenerator[Any]:
            nonlocal streams
            streams += 1
            if streams == 2:
                say_yes(counter.behind, sale.said)
            async with aclosing(watch(*args)) as answers:
                async for answer in answers:
                    yield answer
                    if streams == 1:
                        raise Refusal(StatusCode.OUT_OF_RANGE, "CURSOR_EXPIRED", "The cursor has expired.")

        monkeypatch.setattr(till._desk.connections, "watch", expired_once)
        assert (await sale.ended()).hands_over
    assert streams == 2
