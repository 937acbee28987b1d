"""A network between till and terminal, or behind the terminal, that loses what it is to carry."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.sales import PRICE, TEA, Counter, say_yes
from tests.links import Link
from tests.processes import Server, running
from tests.terminal.phones import shopper_with_phone
from tests.terminal.till import Behind, terminal_flags
from tillmesh.client import Failure, MayNotPay, Outcome, Refusal, Till, Unreachable, Verdict

pytestmark = pytest.mark.process

TRY_S = 0.5
NOWHERE = "127.0.0.1:1"
PAYMENT_WAIT_S = 4


async def test_a_lost_answer_is_asked_for_again_and_the_sale_is_made_once(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    silences: list[Failure] = []

    def heal(failure: Failure) -> None:
        silences.append(failure)
        counter.link.heal()

    async with counter.till(timeout_s=TRY_S, on_unanswered=heal) as till:
        await (await till.open()).cancel()  # the connection is there
        counter.link.lose_answers()
        sale = await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        assert (await sale.ended()).hands_over
    assert silences
    assert counter.payments(sale) == ["CAPTURED"]
    assert counter.behind.wallet(phone.identity_id) == (750, 0)


async def test_who_gives_up_waiting_finds_the_sale_again(counter: Counter) -> None:
    phone = shopper_with_phone(counter.behind)
    async with counter.till(timeout_s=TRY_S, patience_s=2 * TRY_S) as till:
        counter.link.lose_requests()
        with pytest.raises(Unreachable):
            await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        counter.link.heal()
        (sale,) = await till.resume()
        await sale.ended()  # with its code: the till has not stopped
        assert await till.resume() == []
    assert counter.behind.wallet(phone.identity_id) == (750, 0)


async def test_a_stream_that_is_cut_goes_on_and_misses_nothing(counter: Counter, terminal: Server) -> None:
    shopper = counter.behind.shopper(threshold=0)
    cuts: list[Failure] = []
    other = Till.connect(terminal.address, certificates=None, journal=counter.journal.with_name("other.journal"))
    told = []
    async with counter.till(timeout_s=TRY_S, on_unanswered=cuts.append) as till, other as other_till:
        sale = await till.sell([TEA], amount=PRICE, payer=shopper)
        async for said in sale.follow():
            told.append(said.verdict)
            if len(told) == 1:
                await (await other_till.find(sale.checkout_id)).cancel_payment()
            elif said.verdict is Verdict.SAFE_TO_RETRY:  # that came by the stream
                await sale.pay()
            elif said.verdict is Verdict.ASK_PAYER:
                counter.link.lose_answers()
                await asyncio.to_thread(say_yes, counter.behind, said)
                counter.link.heal()
    assert told[0] is Verdict.ASK_PAYER
    assert told[-1] is Verdict.HAND_OVER_GOODS
    assert cuts
    assert sorted(counter.payments(sale)) == ["CAPTURED", "VOIDED"]


async def test_to_look_for_a_sale_that_has_not_arrived_forgets_nothing(counter: Counter) -> None:
    async with counter.till(timeout_s=TRY_S, patience_s=2 * TRY_S) as till:
        counter.link.lose_requests()
        with pytest.raises(Unreachable):
            await till.sell([TEA], amount=PRICE, payer=counter.behind.shopper(), checkout_id="looked-for")
        counter.link.heal()
        with pytest.raises(Refusal, match="CHECKOUT_NOT_FOUND"):
            await till.find("looked-for")
        (sale,) = await till.resume()
        await sale.ended()
        assert (await till.find("looked-for")).said.hands_over
        assert await till.resume() == []


@pytest.fixture
def cut_off(tmp_path: Path, order_service: Server, behind: Behind) -> Iterator[Counter]:
    """A till whose terminal reaches no payment server, and can be cut off from the order service."""
    with Link(order_service.address) as orders:
        more = "--terminal-id", "till-2", "--payment-wait-s", f"{PAYMENT_WAIT_S}"
        flags = terminal_flags(orders.address, NOWHERE, *more)
        with running("store_terminal", tmp_path, *flags) as server, Link(server.address) as link:
            yield Counter(link, behind, tmp_path / "till.journal", orders)


async def test_while_nobody_knows_what_became_of_a_payment_no_other_one_is_started(cut_off: Counter) -> None:
    assert cut_off.orders
    told = []
    async with cut_off.till() as till:
        sale = await till.open([TEA], payer=cut_off.behind.shopper())
        await sale.submit()
        cut_off.orders.lose_requests()
        await sale.pay()
        async for said in sale.follow():
            told.append(said.verdict)
            if said.verdict is Verdict.DO_NOT_RETRY:
                with pytest.raises(MayNotPay):
                    await sale.pay()
                cut_off.orders.heal()
    assert told[-2:] == [Verdict.DO_NOT_RETRY, Verdict.SAFE_TO_RETRY]


async def test_an_order_that_came_too_late_to_be_paid_waits_for_another_payment(cut_off: Counter) -> None:
    assert cut_off.orders
    since_s = time.monotonic()

    def heal_late(_failure: Failure) -> None:
        if cut_off.orders and time.monotonic() - since_s > PAYMENT_WAIT_S + 1:
            cut_off.orders.heal()

    async with cut_off.till(timeout_s=TRY_S, on_unanswered=heal_late) as till:
        cut_off.orders.lose_requests()
        sale = await till.sell([TEA], amount=PRICE, payer=cut_off.behind.shopper())
        assert sale.outcome is Verdict.NOT_TRIED
        assert (await sale.void()).outcome is Outcome.CANCELED
        assert await till.resume() == []
