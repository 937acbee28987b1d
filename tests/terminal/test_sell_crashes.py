"""A sale in one call is made once, or not at all, whatever is away and whoever dies in between."""

import asyncio
from collections.abc import Iterator

import grpc
import pytest
from grpc import StatusCode

from store_terminal.tables import METADATA
from tests.clocks import ManualClock
from tests.links import Link
from tests.postgres import Cluster
from tests.processes import Server, wait_until
from tests.terminal.inside import WAIT_MS, Inside, now_ms, terminal
from tests.terminal.phones import shopper_with_phone
from tests.terminal.sales import sale, sell
from tests.terminal.shaky import Shaky
from tests.terminal.test_free import GIFT
from tests.terminal.test_kept import Failing
from tests.terminal.till import TEA_MINOR, Behind, gbp, goods, refused, said
from tests.trust.secrets import files_with_secrets
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.runtime.deadlines import set_deadline
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage.claims import CLAIM_MS

SHORT_S = 1.5
PAID = "PAID HAND_OVER_GOODS"


@pytest.fixture
def today() -> ManualClock:
    return ManualClock(now_ms())


@pytest.fixture
def orders(order_service: Server) -> Iterator[Link]:
    with Link(order_service.address) as orders:
        yield orders


@pytest.fixture
def payments(payment_server: Server) -> Iterator[Link]:
    with Link(payment_server.address) as payments:
        yield payments


def named(request: api.SellRequest) -> checkout_pb2.Checkout:
    return checkout_pb2.Checkout(checkout_id=request.checkout_id)


def created(behind: Behind, request: api.SellRequest) -> bool:
    try:
        return behind.order_events(named(request)) == ["CREATED"]
    except grpc.RpcError:
        return False


async def sell_inside(inside: Inside, request: api.SellRequest, within_s: float = 0.5) -> checkout_pb2.Checkout:
    set_deadline(within_s)
    answer = await inside.service.Sell(request)
    set_deadline(None)
    return answer


@pytest.mark.parametrize("loses", ["requests", "answers"])
def test_a_sale_goes_on_in_the_next_process(shaky: Shaky, behind: Behind, loses: str) -> None:
    shoppers = [behind.shopper() for _ in range(3)]
    requests = [sale(shopper) for shopper in shoppers]
    with shaky.till() as till:
        sell(till, requests.pop())  # the connections are there
        for link in (shaky.orders, shaky.payments):
            (link.lose_requests if loses == "requests" else link.lose_answers)()
        with refused("PEER_UNAVAILABLE", StatusCode.UNAVAILABLE):
            sell(till, requests[0], timeout=SHORT_S)
        shaky.orders.heal()
        assert said(sell(till, requests[1], timeout=SHORT_S)) in ("PAYING WAIT", PAID)
    shaky.server.kill()
    shaky.payments.heal()
    shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: all(said(sell(till, request)) == PAID for request in requests))
        for request in requests:
            assert till.events(named(request)) == ["OPENED", "SUBMITTED", "PAYMENT_STARTED", "PAID"]
            assert behind.order_events(named(request)) == ["CREATED", "LOCKED", "PAID"]
            assert behind.payment_states(named(request)) == ["CAPTURED"]
    assert [behind.wallet(shopper) for shopper in shoppers] == [(100_000 - TEA_MINOR, 0)] * 3


def test_no_payment_is_sent_before_its_order_is_there(shaky: Shaky, behind: Behind) -> None:
    shopper = behind.shopper()
    request = sale(shopper)
    with shaky.till() as till:
        shaky.orders.lose_requests()
        with refused("PEER_UNAVAILABLE", StatusCode.UNAVAILABLE):
            sell(till, request, timeout=SHORT_S)
        assert behind.payment_states(named(request)) == []
        shaky.orders.heal()
        assert said(sell(till, request)) == PAID
    assert behind.payment_states(named(request)) == ["CAPTURED"]


def test_a_sale_by_code_that_died_before_its_order_was_there_needs_a_new_code(shaky: Shaky, behind: Behind) -> None:
    phone = shopper_with_phone(behind)
    request = sale("", code=phone.code())
    with shaky.till() as till:
        shaky.orders.lose_requests()
        with refused("PEER_UNAVAILABLE", StatusCode.UNAVAILABLE):
            sell(till, request, timeout=SHORT_S)
        shaky.server.kill()
        assert files_with_secrets(shaky.folder) == []
        shaky.orders.heal()
        shaky.restart()
    with shaky.till() as till:
        wait_until(lambda: said(till.get(named(request))) == "SUBMITTED SAFE_TO_RETRY")
        lost = sell(till, request)
        assert (said(lost), lost.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "PAY_CODE_LOST")
        assert said(till.pay(lost, code=shopper_with_phone(behind).code())) == PAID
    assert behind.wallet(phone.identity_id) == (1000, 0)


async def test_a_sale_by_code_outlives_an_order_service_that_is_away(
    database_url: str, orders: Link, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    phone = shopper_with_phone(behind)
    request = sale("", code=phone.code())
    async with terminal(database_url, orders.address, payment_server.address, today, resumes=True) as inside:
        codes = inside.outbox.exchanges.pay_codes
        orders.lose_requests()
        with pytest.raises(Refusal, match="PEER_UNAVAILABLE"):
            await sell_inside(inside, request)
        assert len(codes) == 1
        today.advance(10 * CLAIM_MS)
        orders.heal()
        assert said(await sell_inside(inside, request, within_s=60)) == PAID
        assert len(codes) == 0
    assert behind.wallet(phone.identity_id) == (1000 - TEA_MINOR, 0)


async def test_the_time_for_a_payment_begins_when_it_is_sent(
    database_url: str, orders: Link, payments: Link, behind: Behind, today: ManualClock
) -> None:
    request = sale(behind.shopper())
    async with terminal(database_url, orders.address, payments.address, today) as inside:
        orders.lose_requests()
        payments.lose_requests()
        with pytest.raises(Refusal, match="PEER_UNAVAILABLE"):
            await sell_inside(inside, request)
        today.advance(WAIT_MS)
        orders.heal()
        paying = await sell_inside(inside, request, within_s=2)
        assert said(paying) == "PAYING WAIT"
        assert paying.verdict_remaining.ToMilliseconds() > WAIT_MS // 2


async def test_a_sale_whose_order_comes_too_late_is_not_paid(
    database_url: str, orders: Link, payments: Link, behind: Behind, today: ManualClock
) -> None:
    """Whoever was to pay may have left the shop meanwhile."""
    shopper = behind.shopper()
    request = sale(shopper)
    async with terminal(database_url, orders.address, payments.address, today) as inside:
        orders.lose_requests()
        with pytest.raises(Refusal, match="PEER_UNAVAILABLE"):
            await sell_inside(inside, request)
        today.advance(WAIT_MS + 1)
        orders.heal()
        for _ in range(2):
            with pytest.raises(Refusal, match="SALE_TOO_LATE"):
                await sell_inside(inside, request)
        submitted = await inside.get(checkout_pb2.Checkout(checkout_id=request.checkout_id))
        assert said(submitted) == "SUBMITTED NOT_TRIED"
        assert behind.wallet(shopper) == (100_000, 0)
        assert said(await inside.pay(submitted)) == PAID


async def test_a_pay_code_of_a_sale_is_forgotten_when_nothing_is_sent(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    foreign = behind.raise_order(behind.shopper()).order_id
    phone = shopper_with_phone(behind)
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        codes = inside.outbox.exchanges.pay_codes
        used = await inside.create()
        for request, reason in (
            (sale("", code=phone.code(), checkout_id=foreign), "ORDER_EXISTS"),
            (sale("", code=phone.code(), checkout_id=used.checkout_id), "CHECKOUT_EXISTS"),
            (sale("", code=phone.code(), amount=gbp(1)), "AMOUNT_MISMATCH"),
        ):
            with pytest.raises(Refusal, match=reason):
                await sell_inside(inside, request)
            assert len(codes) == 0
        inside.write_to(Failing(inside.database, 1))
        with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
            await sell_inside(inside, sale("", code=phone.code()))
        assert len(codes) == 0
        free = sale("", [GIFT], gbp(0), code=phone.code())
        assert said(await sell_inside(inside, free)) == PAID
        assert len(codes) == 0


async def test_an_order_that_somebody_else_had_first_is_not_paid_by_the_sale(
    database_url: str, orders: Link, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    """The order is created, and its answer lost; by the time it is asked for again, the order is another one."""
    shoppers = [behind.shopper() for _ in range(3)]
    paid, canceled, changed = requests = [sale(shopper) for shopper in shoppers]
    async with terminal(database_url, orders.address, payment_server.address, today) as inside:
        await inside.submitted()  # the connection is there
        orders.lose_answers()
        for request in requests:
            with pytest.raises(Refusal, match="PEER_UNAVAILABLE"):
                await sell_inside(inside, request)
            await asyncio.to_thread(wait_until, lambda request=request: created(behind, request))  # type: ignore[misc]
        behind.pay_from_phone(named(paid))
        behind.cancel_order(named(canceled))
        behind.change_order(named(changed), goods(TEA_MINOR))
        orders.heal()
        by_phone = await sell_inside(inside, paid, within_s=60)
        assert (said(by_phone), by_phone.verdict_reason) == (PAID, "PAID_BY_ANOTHER_PAYMENT")
        with pytest.raises(Refusal, match="CHECKOUT_CANCELED"):
            await sell_inside(inside, canceled, within_s=60)
        other = await sell_inside(inside, changed, within_s=60)
        assert (said(other), other.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "VERSION_MISMATCH")
    assert [behind.wallet(shopper) for shopper in shoppers] == [(100_000 - TEA_MINOR, 0), (100_000, 0), (100_000, 0)]


async def test_replicas_share_a_sale_and_the_one_with_the_code_pays(
    postgres: Cluster, orders: Link, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    with postgres.database(METADATA) as url:
        async with (
            terminal(url, orders.address, payment_server.address, today, resumes=True) as first,
            terminal(url, orders.address, payment_server.address, today, resumes=True) as second,
        ):
            orders.lose_requests()
            phones = [shopper_with_phone(behind) for _ in range(3)]
            requests = [sale("", code=phone.code()) for phone in phones]
            for request in requests:
                with pytest.raises(Refusal, match="PEER_UNAVAILABLE"):
                    await sell_inside(first, request, within_s=0.5)
            today.advance(2_000)
            orders.heal()
            answers = await asyncio.gather(
                *(sell_inside(inside, request, within_s=60) for request in requests for inside in (first, second))
            )
            for request, answer in zip([each for each in requests for _ in range(2)], answers, strict=True):
                told = await second.until(answer, lambda now: said(now) not in ("PAYING WAIT", "BASKET WAIT"))
                assert (said(told), told.payment_id) == (PAID, request.payment_id)
            assert second.calls["CreatePayment"] == 0
    assert [behind.wallet(phone.identity_id) for phone in phones] == [(1000 - TEA_MINOR, 0)] * 3


async def test_a_replica_ends_a_sale_whose_code_died_with_the_other(
    postgres: Cluster, orders: Link, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    phone = shopper_with_phone(behind)
    request = sale("", code=phone.code())
    with postgres.database(METADATA) as url:
        async with terminal(url, orders.address, payment_server.address, today, resumes=True) as second:
            async with terminal(url, orders.address, payment_server.address, today) as first:
                orders.lose_requests()
                with pytest.raises(Refusal, match="PEER_UNAVAILABLE"):
                    await sell_inside(first, request, within_s=0.5)
            orders.heal()
            paying = await sell_inside(second, request, within_s=1.5)
            assert said(paying) == "PAYING WAIT"  # the first may still be there
            today.advance(CLAIM_MS + 1)
            ended = await second.until(paying, lambda now: said(now) != "PAYING WAIT")
            assert (said(ended), ended.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "PAY_CODE_LOST")
    assert behind.wallet(phone.identity_id) == (1000, 0)


async def test_replicas_share_a_void_and_give_back_once(
    postgres: Cluster, orders: Link, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    shoppers = [behind.shopper(), behind.shopper(threshold=1)]
    with postgres.database(METADATA) as url:
        async with terminal(url, orders.address, payment_server.address, today, resumes=True) as second:
            async with terminal(url, orders.address, payment_server.address, today) as first:
                sold = [await sell_inside(first, sale(shopper), within_s=60) for shopper in shoppers]
                assert [said(each) for each in sold] == [PAID, "PAYING ASK_PAYER"]
                orders.lose_requests()
                voids = [
                    api.VoidCheckoutRequest(refund_id=new_request_id(), checkout_id=each.checkout_id)
                    for each in sold
                    for _ in range(2)
                ]
                set_deadline(0.5)
                await asyncio.gather(
                    *(each.service.VoidCheckout(void) for void in voids for each in (first, second)),
                    return_exceptions=True,
                )
                set_deadline(None)
            orders.heal()
            today.advance(CLAIM_MS + 1)
            set_deadline(60)
            answers = [await second.service.VoidCheckout(void) for void in voids]
            set_deadline(None)
    refunded, canceled = api.VoidCheckoutResponse.OUTCOME_REFUNDED, api.VoidCheckoutResponse.OUTCOME_CANCELED
    assert [answer.outcome for answer in answers] == [refunded, refunded, canceled, canceled]
    assert [behind.wallet(shopper) for shopper in shoppers] == [(100_000, 0)] * 2
