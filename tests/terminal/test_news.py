"""A till learns what became of an order elsewhere by asking how its own checkout stands."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from grpc import StatusCode

from store_terminal.checkouts.lifecycle import CheckoutState
from store_terminal.checkouts.model import Checkout
from store_terminal.outbox.model import OrderCopy
from store_terminal.outbox.order_reader import READ_EVERY_MS, OrderReader
from store_terminal.tables import METADATA
from tests.clocks import ManualClock
from tests.links import Link
from tests.postgres import Cluster
from tests.processes import DEADLINE_S, Server, running, wait_until
from tests.terminal.inside import now_ms, terminal
from tests.terminal.shaky import CutOff
from tests.terminal.test_lifecycle import in_state, order
from tests.terminal.till import COFFEE, TEA_MINOR, Behind, Till, refused, said, terminal_flags
from tillmesh.rpc.peers import ATTEMPTS_MAX
from tillmesh.runtime.errors import Unanswered


@pytest.fixture
def today() -> ManualClock:
    return ManualClock(now_ms())


def test_a_till_that_lost_a_race_learns_that_the_other_tills_payment_paid(
    till: Till, behind: Behind, order_service: Server, payment_server: Server, tmp_path: Path
) -> None:
    flags = terminal_flags(order_service.address, payment_server.address, "--terminal-id", "till-2")
    with running("tests.terminal.deaf", tmp_path, *flags) as second, second.channel() as channel:
        other, shopper = Till(channel), behind.shopper(threshold=1)
        mine = till.submitted(shopper)
        theirs = other.pay(other.resume(mine.checkout_id))
        assert said(theirs) == "PAYING ASK_PAYER"
        lost = till.pay(mine)
        assert (said(lost), lost.verdict_reason) == ("SUBMITTED WAIT", "ORDER_LOCKED")
        assert 0 < lost.verdict_remaining.ToMilliseconds() <= 120_000
        behind.confirm(theirs.payment_id, theirs.amount)
        wait_until(lambda: said(till.get(mine)) == "PAID HAND_OVER_GOODS")
        told = till.get(mine)
        assert (told.verdict_reason, told.paid_by_payment_id) == ("PAID_BY_ANOTHER_PAYMENT", theirs.payment_id)
        assert told.payment_id == lost.payment_id != theirs.payment_id
        assert other.get(theirs).verdict_reason == ""
    assert behind.wallet(shopper) == (100_000 - TEA_MINOR, 0)


def test_a_till_whose_order_the_phone_paid_learns_it(till: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper())
    assert said(till.get(pending)) == "SUBMITTED NOT_TRIED"
    phone = behind.pay_from_phone(pending)
    wait_until(lambda: said(till.get(pending)) == "PAID HAND_OVER_GOODS")
    told = till.get(pending)
    assert (told.verdict_reason, told.paid_by_payment_id, told.payment_id) == (
        *("PAID_BY_ANOTHER_PAYMENT", phone.payment_id, ""),
    )
    assert told.verdict_age.ToMilliseconds() == 0
    assert till.events(pending) == ["OPENED", "SUBMITTED", "PAID"]


def test_an_order_that_the_phone_is_paying_is_waited_for_and_then_free_again(till: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper(threshold=1))
    phone = behind.pay_from_phone(pending)
    wait_until(lambda: said(till.get(pending)) == "SUBMITTED WAIT")
    told = till.get(pending)
    assert told.verdict_reason == "ORDER_LOCKED"
    assert 0 < told.verdict_remaining.ToMilliseconds() <= 120_000
    with refused("ORDER_LOCKED", StatusCode.FAILED_PRECONDITION, "order.tillmesh"):
        till.cancel(pending)
    behind.cancel_payment(phone.payment_id)
    wait_until(lambda: said(till.get(pending)) == "SUBMITTED NOT_TRIED")
    assert said(till.cancel(pending)) == "CANCELED CLOSED"


def test_a_checkout_whose_order_turns_out_paid_is_not_canceled(till: Till, behind: Behind) -> None:
    pending = till.submitted(behind.shopper())
    behind.pay_from_phone(pending)
    with refused("ORDER_ALREADY_PAID", StatusCode.FAILED_PRECONDITION, "order.tillmesh"):
        till.cancel(pending)
    assert said(till.get(pending)) == "PAID HAND_OVER_GOODS"
    with refused("CHECKOUT_PAID", StatusCode.FAILED_PRECONDITION):
        till.cancel(pending)


def test_a_checkout_whose_order_is_canceled_elsewhere_is_closed(till: Till, behind: Behind) -> None:
    asked, canceled = till.submitted(), till.submitted()
    behind.cancel_order(asked)
    behind.cancel_order(canceled)
    wait_until(lambda: said(till.get(asked)) == "CANCELED CLOSED")
    assert said(till.cancel(canceled)) == "CANCELED CLOSED"


def test_a_cancellation_after_a_decline_closes_the_checkout(till: Till, behind: Behind) -> None:
    declined = till.pay(till.submitted(behind.shopper(funds=0)))
    assert said(declined) == "SUBMITTED SAFE_TO_RETRY"
    assert said(till.cancel(declined)) == "CANCELED CLOSED"


def test_a_change_elsewhere_shows_by_itself(till: Till, behind: Behind) -> None:
    pending = till.submitted()
    behind.change_order(pending, *[line.item for line in till.create(lines=[COFFEE]).lines])
    wait_until(lambda: till.get(pending).order_version == 2)
    told = till.get(pending)
    assert (told.basket_version, told.amount, told.lines[0].item.sku) == (2, behind.order(pending).amount, "COFFEE")


def test_the_shopper_is_asked_no_more_once_the_payment_server_has_their_yes(cut_off: CutOff) -> None:
    """The payment server has the money on hold and cannot reach the order."""
    till, behind, orders = cut_off.till, cut_off.behind, cut_off.orders
    waiting = till.pay(till.submitted(behind.shopper(threshold=1)))
    assert said(waiting) == "PAYING ASK_PAYER"
    orders.lose_requests()
    behind.confirm(waiting.payment_id, waiting.amount, timeout=1.5)
    wait_until(lambda: said(till.get(waiting)) == "PAYING WAIT")
    assert behind.payment_states(waiting) == ["AUTHORIZED"]
    assert 0 < till.get(waiting).verdict_remaining.ToMilliseconds() <= 60_000
    orders.heal()
    wait_until(lambda: said(till.get(waiting)) != "PAYING WAIT")
    assert said(till.get(waiting)) == "PAID HAND_OVER_GOODS"


async def test_an_order_is_read_once_a_second_for_all_who_ask(
    database_url: str, order_service: Server, closed_port: str, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        pending = await inside.submitted()
        for ask_again_after_ms, reads in ((0, 1), (999, 1), (1, 2), (1000, 3)):
            today.advance(ask_again_after_ms)
            answers = await asyncio.gather(*[inside.get(pending) for _ in range(20)])
            assert inside.calls["GetOrder"] == reads
            assert {said(answer) for answer in answers} == {"SUBMITTED NOT_TRIED"}


async def test_without_an_answer_the_last_verdict_is_told_with_its_age(
    database_url: str, order_service: Server, closed_port: str, today: ManualClock
) -> None:
    with Link(order_service.address) as orders:
        async with terminal(database_url, orders.address, closed_port, today) as inside:
            pending = await inside.submitted()
            assert pending.verdict_age.ToMilliseconds() == 0
            orders.lose_requests()
            for seconds in (5, 10):
                today.advance(5_000)
                told = await inside.get(pending)
                assert (said(told), told.verdict_age.ToMilliseconds()) == ("SUBMITTED NOT_TRIED", seconds * 1000)
            orders.heal()

            async def confirmed() -> bool:
                today.advance(1_000)
                return (await inside.get(pending)).verdict_age.ToMilliseconds() == 0

            async with asyncio.timeout(DEADLINE_S):
                while not await confirmed():
                    pass
            today.advance(300)
            assert (await inside.get(pending)).verdict_age.ToMilliseconds() == 300


async def test_only_so_many_orders_are_remembered(today: ManualClock) -> None:
    async def read(_order_id: str) -> OrderCopy:
        return order()

    async def take(order_id: str, _order: OrderCopy) -> Checkout:
        return replace(in_state(CheckoutState.SUBMITTED), checkout_id=order_id)

    reader = OrderReader(read, take, today, "spiffe://tillmesh/terminal", at_most=3)
    for number in range(10):
        await reader.refresh(replace(in_state(CheckoutState.SUBMITTED), checkout_id=f"c-{number}"))
        assert len(reader) <= 3
    oldest, newest = (replace(in_state(CheckoutState.SUBMITTED), checkout_id=key) for key in ("c-0", "c-9"))
    assert (reader.read_at_ms(oldest), reader.read_at_ms(newest)) == (0, today.now_ms())
    assert reader.read_at_ms(replace(newest, event_count=newest.event_count + 1)) == 0


async def test_an_order_that_is_being_paid_is_read_once_a_second_for_payment_and_readers_alike(
    database_url: str, order_service: Server, closed_port: str, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        paying = await inside.pay(await inside.submitted(), within_s=0.5)
        for second in (1, 2):
            steps = inside.calls["CreatePayment"] // ATTEMPTS_MAX
            async with asyncio.timeout(DEADLINE_S):
                while inside.calls["CreatePayment"] <= (steps + 2) * ATTEMPTS_MAX:  # each ends with a look at the order
                    answers = await asyncio.gather(*[inside.get(paying) for _ in range(20)])
                    assert {said(answer) for answer in answers} == {"PAYING WAIT"}
            assert inside.calls["GetOrder"] == second
            today.advance(READ_EVERY_MS)


async def test_the_payment_server_is_asked_once_a_second_for_all_who_ask(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        waiting = await inside.pay(await inside.submitted(behind.shopper(threshold=1)))
        for second in (1, 2):
            async with asyncio.timeout(DEADLINE_S):
                while inside.calls["GetPayment"] < second:
                    await inside.get(waiting)
            for _ in range(5):
                answers = await asyncio.gather(*[inside.get(waiting) for _ in range(20)])
                assert {said(answer) for answer in answers} == {"PAYING ASK_PAYER"}
            assert inside.calls["GetPayment"] == second
            today.advance(READ_EVERY_MS)


async def test_what_a_replica_read_before_the_other_one_tried_to_pay_says_nothing_any_more(
    postgres: Cluster, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    with postgres.database(METADATA) as url:
        async with (
            terminal(url, order_service.address, payment_server.address, today) as first,
            terminal(url, order_service.address, payment_server.address, today) as second,
        ):
            pending = await first.submitted(behind.shopper(threshold=1))
            assert said(await second.get(pending)) == "SUBMITTED NOT_TRIED"
            behind.pay_from_phone(pending)
            for told in (await first.pay(pending), await second.get(pending)):
                assert (said(told), told.verdict_reason) == ("SUBMITTED WAIT", "ORDER_LOCKED")
            assert second.calls["GetOrder"] == 2


async def test_an_order_service_that_is_away_is_asked_once_a_second_too(today: ManualClock) -> None:
    reads = []

    async def read(order_id: str) -> OrderCopy:
        reads.append(order_id)
        raise Unanswered("away")

    async def take(_order_id: str, _order: OrderCopy) -> Checkout:
        raise AssertionError("there is nothing to take in")

    reader = OrderReader(read, take, today, "spiffe://tillmesh/terminal")
    checkout = in_state(CheckoutState.SUBMITTED)
    reader.note(checkout)
    changed = replace(checkout, event_count=checkout.event_count + 1)
    for _ in range(3):
        await reader.refresh(changed)
    assert len(reads) == 1
    today.advance(READ_EVERY_MS)
    await reader.refresh(changed)
    assert len(reads) == 2
