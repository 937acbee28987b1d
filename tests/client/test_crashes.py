"""A till that is ended with kill -9 between a request and its answer charges once, and forgets nothing."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import IO

import pytest

from tests.client.lone_till import CONNECTED, ENDED, UNANSWERED
from tests.client.sales import CUP, PRICE, TEA, Counter, heard
from tests.processes import wait_until
from tests.sources import ROOT
from tests.terminal.phones import Phone, shopper_with_phone
from tests.terminal.till import Behind
from tests.trust.secrets import files_with_secrets
from tillmesh.client import Outcome, Refund, Refusal, Sale, Till, Verdict
from tillmesh.client.journal import Journal

pytestmark = pytest.mark.process

FUNDS = 1000
PAID_ONCE = (FUNDS - PRICE.minor, 0)


class LoneTill:
    """A till in a process of its own."""

    def __init__(self, process: "subprocess.Popen[str]", words: IO[str], keys: IO[str]) -> None:
        self.process = process
        self._words = words
        self._keys = keys

    def says(self, word: str) -> None:
        """Waits until it says so."""
        told = []
        for line in self._words:
            told.append(line.strip())
            if told[-1] == word:
                return
        raise AssertionError(f"the till ended; it said {told}")

    def begins(self) -> None:
        """Lets it do what it is there for."""
        self._keys.write("\n")
        self._keys.flush()

    def dies(self) -> None:
        """Ends it with kill -9."""
        self.process.kill()
        self.process.wait()


@contextmanager
def lone_till(counter: Counter, what: str, payer: str = "", code: str = "") -> Iterator[LoneTill]:
    """The till does one thing, until it is killed."""
    command = [sys.executable, "-m", "tests.client.lone_till", counter.link.address, str(counter.journal)]
    process = subprocess.Popen(
        [*command, what, payer, code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    till = LoneTill(process, process.stdout, process.stdin)
    try:
        till.says(CONNECTED)
        yield till
    finally:
        till.dies()
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def phone(behind: Behind) -> Phone:
    return shopper_with_phone(behind, funds=FUNDS)


async def resumed(till: Till) -> Sale:
    """The one sale that is not final."""
    (sale,) = await till.resume()
    assert isinstance(sale, Sale)
    return sale


async def test_a_sale_whose_answer_was_lost_is_paid_once_and_not_forgotten(counter: Counter, phone: Phone) -> None:
    with lone_till(counter, "sell", code=phone.code()) as lone:
        counter.link.lose_answers()
        lone.begins()
        lone.says(UNANSWERED)
        wait_until(lambda: counter.behind.wallet(phone.identity_id) == PAID_ONCE)
        lone.dies()
    assert files_with_secrets(counter.journal.parent) == []
    counter.link.heal()
    async with counter.till() as till:
        sale = await resumed(till)
        assert await heard(sale) == ["HAND_OVER_GOODS"]
        assert await till.resume() == []
    assert counter.payments(sale) == ["CAPTURED"]
    assert counter.behind.wallet(phone.identity_id) == PAID_ONCE


async def test_a_paid_sale_is_told_again_until_it_was_taken_in(counter: Counter, phone: Phone) -> None:
    with lone_till(counter, "sell", code=phone.code()) as lone:
        lone.begins()
        lone.says(ENDED)
        lone.dies()
    for _ in range(2):
        async with counter.till() as till:
            async for said in (await resumed(till)).follow():
                assert said.hands_over
                break  # the till dies here as well
    async with counter.till() as till:
        assert (await (await resumed(till)).ended()).hands_over
        assert await till.resume() == []


async def test_a_sale_that_never_arrived_is_made_once_after_the_crash(counter: Counter, phone: Phone) -> None:
    with lone_till(counter, "sell", payer=phone.identity_id) as lone:
        counter.link.lose_requests()
        lone.begins()
        lone.says(UNANSWERED)
        lone.dies()
    counter.link.heal()
    async with counter.till() as till:
        sale = await resumed(till)
        assert (await sale.ended()).hands_over
    assert counter.payments(sale) == ["CAPTURED"]
    assert counter.behind.wallet(phone.identity_id) == PAID_ONCE


async def test_a_sale_by_code_that_never_arrived_asks_for_a_new_code(counter: Counter, phone: Phone) -> None:
    with lone_till(counter, "sell", code=phone.code()) as lone:
        counter.link.lose_requests()
        lone.begins()
        lone.says(UNANSWERED)
        lone.dies()
    counter.link.heal()
    with closing(Journal(counter.journal, counter.link.address)) as journal:
        (checkout_id,) = journal.subjects()
    async with counter.till() as till:
        with pytest.raises(Refusal, match="PAY_CODE_LOST"):
            await (await resumed(till)).ended()
        assert await till.resume() == []
        with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):  # a copy of the first request comes late
            await till.sell([TEA], amount=PRICE, pay_code=phone.code(), checkout_id=checkout_id)
        again = await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        assert (await again.ended()).hands_over
    assert counter.behind.wallet(phone.identity_id) == PAID_ONCE


async def test_money_for_goods_that_comes_late_to_a_pay_code_is_known_to_be_given(
    counter: Counter, phone: Phone
) -> None:
    code = phone.code()
    with lone_till(counter, "take back", code=code) as lone:
        counter.link.lose_requests()
        lone.begins()
        lone.says(UNANSWERED)
        lone.dies()
    counter.link.heal()
    with closing(Journal(counter.journal, counter.link.address)) as journal:
        (refund_id,) = journal.subjects()
    other = counter.journal.with_name("other.journal")
    async with counter.till() as till, Till.connect(counter.link.address, certificates=None, journal=other) as late:
        (refund,) = await till.resume()
        assert isinstance(refund, Refund)
        ended = asyncio.create_task(refund.ended())
        await late.take_back([CUP], pay_code=code, refund_id=refund_id)  # a copy of the first request
        assert (await ended).is_done
    assert counter.behind.wallet(phone.identity_id) == (FUNDS + 30, 0)


@pytest.mark.parametrize("loses", ["requests", "answers"])
async def test_a_basket_that_was_being_submitted_goes_on(counter: Counter, phone: Phone, loses: str) -> None:
    with lone_till(counter, "basket", code=phone.code()) as lone:
        (counter.link.lose_requests if loses == "requests" else counter.link.lose_answers)()
        lone.begins()
        lone.says(UNANSWERED)
        lone.dies()
    counter.link.heal()
    async with counter.till() as till:
        sale = await resumed(till)
        assert (await sale.ended()).verdict is Verdict.NOT_TRIED
        assert sale.said.checkout.order_version == 1
        await sale.pay(phone.code())
        assert (await sale.ended()).hands_over
    assert counter.behind.wallet(phone.identity_id) == PAID_ONCE


@pytest.mark.parametrize("loses", ["requests", "answers"])
async def test_money_that_was_being_given_back_is_given_back_once(counter: Counter, phone: Phone, loses: str) -> None:
    async with counter.till() as till:
        sale = await till.sell([TEA], amount=PRICE, pay_code=phone.code())
        await sale.ended()
    with lone_till(counter, "refund", sale.checkout_id) as lone:
        (counter.link.lose_requests if loses == "requests" else counter.link.lose_answers)()
        lone.begins()
        lone.says(UNANSWERED)
        lone.dies()
    counter.link.heal()
    async with counter.till() as till:
        (refund,) = await till.resume()
        assert isinstance(refund, Refund)
        assert (await refund.ended()).is_done
        assert await till.resume() == []
    assert counter.behind.wallet(phone.identity_id) == (FUNDS, 0)


async def test_money_for_goods_that_was_given_to_a_pay_code_is_found_without_the_code(
    counter: Counter, phone: Phone
) -> None:
    with lone_till(counter, "take back", code=phone.code()) as lone:
        counter.link.lose_answers()
        lone.begins()
        lone.says(UNANSWERED)
        wait_until(lambda: counter.behind.wallet(phone.identity_id) == (FUNDS + 30, 0))
        lone.dies()
    counter.link.heal()
    async with counter.till() as till:
        (refund,) = await till.resume()
        assert isinstance(refund, Refund)
        assert (await refund.ended()).is_done
        assert await till.resume() == []
    assert counter.behind.wallet(phone.identity_id) == (FUNDS + 30, 0)


async def test_a_void_that_was_not_answered_is_finished_and_the_sale_is_not_made(
    counter: Counter, phone: Phone
) -> None:
    with lone_till(counter, "sell", payer=phone.identity_id) as lone:
        counter.link.lose_requests()
        lone.begins()
        lone.says(UNANSWERED)
        lone.dies()
    counter.link.heal()
    with closing(Journal(counter.journal, counter.link.address)) as journal:
        (checkout_id,) = journal.subjects()
    with lone_till(counter, "void", checkout_id) as lone:
        counter.link.lose_requests()
        lone.begins()
        lone.says(UNANSWERED)
        lone.dies()
    counter.link.heal()
    async with counter.till() as till:
        with pytest.raises(Refusal, match="ORDER_NOT_FOUND"):
            await (await resumed(till)).ended()
        assert await till.resume() == []
    assert counter.behind.wallet(phone.identity_id) == (FUNDS, 0)


async def test_a_sale_that_is_undone_before_it_was_answered_gives_its_money_back(
    counter: Counter, phone: Phone
) -> None:
    with lone_till(counter, "sell", code=phone.code()) as lone:
        counter.link.lose_answers()
        lone.begins()
        lone.says(UNANSWERED)
        wait_until(lambda: counter.behind.wallet(phone.identity_id) == PAID_ONCE)
        lone.dies()
    counter.link.heal()
    async with counter.till() as till:
        assert (await (await resumed(till)).void()).outcome is Outcome.REFUNDED
        assert await till.resume() == []
    assert counter.behind.wallet(phone.identity_id) == (FUNDS, 0)
