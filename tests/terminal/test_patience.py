"""How long the till waits, by a clock that the test moves."""

import asyncio

import pytest

from store_terminal.outbox.order_reader import READ_EVERY_MS
from store_terminal.outbox.payments import PAYER_GRACE_MS
from tests.clocks import ManualClock
from tests.links import Link
from tests.processes import Server, wait_until
from tests.terminal.inside import MARGIN_MS, WAIT_MS, now_ms, terminal
from tests.terminal.till import TEA_MINOR, Behind, said
from tillmesh.api.terminal.v1 import checkout_pb2


@pytest.fixture
def today() -> ManualClock:
    """A clock that starts right: the payment server's goes on."""
    return ManualClock(now_ms())


def remaining_ms(checkout: checkout_pb2.Checkout) -> int:
    return checkout.verdict_remaining.ToMilliseconds()


async def test_a_till_cancels_early_enough_to_be_answered_before_its_deadline(
    database_url: str, order_service: Server, closed_port: str, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        paying = await inside.pay(await inside.submitted(), within_s=0.5)
        assert (said(paying), paying.verdict_reason) == ("PAYING WAIT", "")
        assert remaining_ms(paying) == WAIT_MS
        today.advance(WAIT_MS - MARGIN_MS - 1)
        waiting = await inside.get(paying)
        assert (said(waiting), remaining_ms(waiting)) == ("PAYING WAIT", MARGIN_MS + 1)
        today.advance(1)
        answers = await inside.answers_until(paying, lambda now: said(now) == "SUBMITTED SAFE_TO_RETRY")
        assert {said(now) for now in answers[:-1]} <= {"PAYING WAIT"}
        assert answers[-1].verdict_reason == "PAYMENT_TIMEOUT"
        assert not answers[-1].HasField("verdict_remaining")
        assert behind.pay_from_phone(paying).state  # the order is free for another payment


async def test_do_not_retry_never_shows_while_the_order_answers(
    database_url: str, order_service: Server, closed_port: str, today: ManualClock
) -> None:
    """Not for a moment, however late the till looks at its clock."""
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        paying = await inside.pay(await inside.submitted(), within_s=0.5)
        today.advance(24 * 3600 * 1000)
        answers = await inside.answers_until(paying, lambda now: said(now) == "SUBMITTED SAFE_TO_RETRY")
        assert {said(now) for now in answers[:-1]} <= {"PAYING WAIT"}
        assert {remaining_ms(now) for now in answers[:-1]} <= {0}


async def test_do_not_retry_shows_once_the_order_left_a_cancellation_unanswered_and_survives_the_process(
    database_url: str, order_service: Server, closed_port: str, today: ManualClock
) -> None:
    with Link(order_service.address) as orders:
        async with terminal(database_url, orders.address, closed_port, today) as inside:
            paying = await inside.pay(await inside.submitted(), within_s=0.5)
            orders.lose_requests()
            today.advance(WAIT_MS - MARGIN_MS)
            while not inside.calls["CancelOrderPayment"]:
                assert said(await inside.get(paying)) == "PAYING WAIT"
            await inside.until(paying, lambda now: inside.calls["CancelOrderPayment"] > 1)  # the first is unanswered
            assert said(await inside.get(paying)) == "PAYING WAIT"  # not before the deadline
            today.advance(MARGIN_MS)
            late = await inside.get(paying)
            assert said(late) == "PAYING DO_NOT_RETRY"
            assert not late.HasField("verdict_remaining")
        async with terminal(database_url, orders.address, closed_port, today) as inside:
            assert said(await inside.get(paying)) == "PAYING DO_NOT_RETRY"
            orders.heal()
            ended = await inside.until(paying, lambda now: said(now) != "PAYING DO_NOT_RETRY")
            assert (said(ended), ended.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "PAYMENT_TIMEOUT")


async def test_a_clock_that_steps_back_turns_nothing_back(
    database_url: str, order_service: Server, closed_port: str, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        paying = await inside.pay(await inside.submitted(), within_s=0.5)
        today.advance(WAIT_MS)
        ended = await inside.until(paying, lambda now: said(now) == "SUBMITTED SAFE_TO_RETRY")
        today.advance(-WAIT_MS)
        assert await inside.get(paying) == ended


async def test_the_payer_has_as_long_as_the_payment_server_says(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        shopper = behind.shopper(threshold=1)
        waiting = await inside.pay(await inside.submitted(shopper))
        assert (said(waiting), waiting.verdict_reason) == ("PAYING ASK_PAYER", "")
        assert remaining_ms(waiting) > WAIT_MS
        today.advance(WAIT_MS + 1)
        assert said(await inside.get(waiting)) == "PAYING ASK_PAYER"
        behind.confirm(waiting.payment_id, waiting.amount)
        today.advance(READ_EVERY_MS)
        await inside.until(waiting, lambda now: said(now) == "PAID HAND_OVER_GOODS")
        assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


async def test_a_payer_who_confirms_in_the_last_moment_is_not_cut_off(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        waiting = await inside.pay(await inside.submitted(behind.shopper(threshold=1)))
        today.advance(remaining_ms(waiting) + PAYER_GRACE_MS - 1)
        late = await inside.pay(waiting, waiting.payment_id)
        assert said(late) == "PAYING ASK_PAYER"
        behind.confirm(waiting.payment_id, waiting.amount)
        today.advance(READ_EVERY_MS)
        answers = await inside.answers_until(waiting, lambda now: said(now) == "PAID HAND_OVER_GOODS")
        assert {said(now) for now in answers[:-1]} <= {"PAYING ASK_PAYER", "PAYING WAIT"}


async def test_a_payer_who_never_confirms_does_not_freeze_the_checkout(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        waiting = await inside.pay(await inside.submitted(behind.shopper(threshold=1)))
        today.advance(24 * 3600 * 1000)
        answers = await inside.answers_until(waiting, lambda now: said(now) == "SUBMITTED SAFE_TO_RETRY")
        assert {said(now) for now in answers[:-1]} <= {"PAYING ASK_PAYER", "PAYING WAIT"}
        assert {remaining_ms(now) for now in answers[:-1]} <= {0}
        assert answers[-1].verdict_reason == "PAYMENT_TIMEOUT"
        await asyncio.to_thread(wait_until, lambda: behind.payment_states(waiting) == ["VOIDED"])


async def test_the_clocks_of_till_and_payment_server_need_not_agree(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    for years in (-1, 2):
        today.advance(years * 365 * 24 * 3600 * 1000)
        async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
            waiting = await inside.pay(await inside.submitted(behind.shopper(threshold=1)))
            assert said(waiting) == "PAYING ASK_PAYER"
            assert 60_000 < remaining_ms(waiting) <= 90_000
