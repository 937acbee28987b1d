"""What a till keeps: of a pay code nothing, of a request little, of a note no history; and what its replicas share."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.rpc import status_pb2
from sqlalchemy import select

from store_terminal.checkouts.tables import checkout_history
from store_terminal.outbox.pay_codes import PayCodes
from store_terminal.tables import METADATA
from tests.clocks import ManualClock
from tests.links import Link
from tests.postgres import Cluster
from tests.processes import Server, wait_until
from tests.terminal.inside import Inside, now_ms, terminal
from tests.terminal.phones import shopper_with_phone
from tests.terminal.till import Behind, goods, refund_state, said
from tillmesh.api.terminal.v1 import checkout_service_pb2 as api
from tillmesh.api.terminal.v1 import till_refund_service_pb2
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret
from tillmesh.storage.claims import CLAIM_MS
from tillmesh.storage.database import Database
from tillmesh.storage.statements import Transaction

SHORT_S = 0.5


@pytest.fixture
def today() -> ManualClock:
    return ManualClock(now_ms())


@pytest.fixture
def payments(payment_server: Server) -> Iterator[Link]:
    with Link(payment_server.address) as payments:
        yield payments


async def rows(inside: Inside, table: Any) -> list[dict[str, Any]]:
    """All that stands in a table."""
    return await inside.database.run(lambda transaction: [dict(row) for row in transaction.execute(select(table))])


async def test_a_basket_that_is_scanned_item_by_item_leaves_little_behind(
    database_url: str, order_service: Server, closed_port: str, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        basket = await inside.create(lines=[])
        for number in range(100):
            wide = api.NewLine(sku=f"SKU-{number}", quantity=1, unit_price_minor=1, title="\u00e9" * 256)
            add = api.AddLinesRequest(
                request_id=new_request_id(),
                checkout_id=basket.checkout_id,
                basket_version=basket.basket_version,
                lines=[wide],
            )
            basket = await inside.service.AddLines(add)
        kept = await rows(inside, METADATA.tables["requests"])
        size = sum(len(str(value).encode()) for row in kept for value in row.values())
        assert len(kept) == 101
        assert size < 60 * 1024


async def test_a_refusal_that_is_kept_does_not_ask_to_be_repeated(
    database_url: str, order_service: Server, closed_port: str, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        paying = await inside.pay(await inside.submitted(), within_s=SHORT_S)
        with pytest.raises(Refusal):
            await inside.service.CancelCheckout(
                api.CancelCheckoutRequest(request_id="no-1", checkout_id=paying.checkout_id)
            )
        kept = {row["request_id"]: row for row in await rows(inside, METADATA.tables["requests"])}
        refusal = Refusal.from_status(status_pb2.Status.FromString(kept["no-1"]["refusal"]))
        assert refusal is not None
        assert (refusal.reason, refusal.retry_after_ms) == ("PAYMENT_UNDER_WAY", None)


async def test_notes_and_cashiers_stand_in_no_history_and_who_acted_does(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payment_server.address, today) as inside:
        paid = await inside.pay(await inside.submitted(behind.shopper()))
        await inside.refunds.RefundCheckout(
            till_refund_service_pb2.RefundCheckoutRequest(
                refund_id=new_request_id(), checkout_id=paid.checkout_id, note="Ada was here", cashier_id="Bob"
            )
        )
        history = await rows(inside, checkout_history)
        assert [row["event"] for row in history][-2:] == ["REFUND_STARTED", "REFUNDED"]
        for row in history:
            assert not {"Ada was here", "Bob"} & set(map(str, row.values()))
        by_itself = "spiffe://tillmesh/terminal"
        assert {row["event"]: row["actor"] for row in history} == {
            "OPENED": "",
            "SUBMITTED": by_itself,
            "PAYMENT_STARTED": "",
            "PAID": by_itself,
            "REFUND_STARTED": "",
            "REFUNDED": by_itself,
        }


async def test_a_pay_code_is_forgotten_when_its_payment_or_refund_ends(
    database_url: str, order_service: Server, payments: Link, behind: Behind, today: ManualClock
) -> None:
    phone = shopper_with_phone(behind)
    async with terminal(database_url, order_service.address, payments.address, today) as inside:
        codes = inside.outbox.exchanges.pay_codes
        await inside.pay(await inside.submitted(""), code=phone.code())
        assert len(codes) == 0
        payments.lose_requests()
        paying = await inside.pay(await inside.submitted(""), within_s=SHORT_S, code=shopper_with_phone(behind).code())
        assert (said(paying), len(codes)) == ("PAYING WAIT", 1)
        assert said(await inside.cancel_payment(paying)) == "SUBMITTED SAFE_TO_RETRY"
        assert len(codes) == 0
        refund = await inside.give_back(goods(5), code=shopper_with_phone(behind).code(), within_s=SHORT_S)
        assert (refund_state(refund), len(codes)) == ("PENDING", 1)
        payments.heal()
        assert refund_state(await inside.ended_refund(refund.refund_id)) == "DONE"
        assert len(codes) == 0


async def test_a_pay_code_is_forgotten_while_its_payment_waits_for_the_payer(
    database_url: str, order_service: Server, payments: Link, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payments.address, today) as inside:
        phone = shopper_with_phone(behind, threshold=1)
        assert said(await inside.pay(await inside.submitted(""), code=phone.code())) == "PAYING ASK_PAYER"
        assert len(inside.outbox.exchanges.pay_codes) == 0


async def test_a_pay_code_is_forgotten_when_its_order_says_that_it_is_paid(
    database_url: str, order_service: Server, payments: Link, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, payments.address, today) as inside:
        await inside.pay(await inside.submitted(behind.shopper()))  # the connection is there
        payments.lose_answers()
        paying = await inside.pay(await inside.submitted(""), within_s=SHORT_S, code=fresh_code(behind))
        assert len(inside.outbox.exchanges.pay_codes) == 1
        await asyncio.to_thread(wait_until, lambda: behind.payment_states(paying) == ["CAPTURED"])
        assert said(await inside.get(paying)) == "PAID HAND_OVER_GOODS"
        assert len(inside.outbox.exchanges.pay_codes) == 0


async def test_a_pay_code_is_forgotten_when_its_refund_was_ended_by_a_replica(
    database_url: str, order_service: Server, payment_server: Server, behind: Behind, today: ManualClock
) -> None:
    peers, refund_id = (order_service.address, payment_server.address), new_request_id()
    async with (
        terminal(database_url, *peers, today) as inside,
        terminal(database_url, *peers, today, resumes=True) as replica,
    ):
        inside.write_to(Failing(inside.database, 1, rolls_back=False))
        with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
            await inside.give_back(goods(5), code=fresh_code(behind), refund_id=refund_id)
        assert len(inside.outbox.exchanges.pay_codes) == 1
        today.advance(CLAIM_MS + 1)
        assert (await replica.ended_refund(refund_id)).reason == "PAY_CODE_LOST"
        with pytest.raises(Refusal, match="PAY_CODE_LOST"):
            await inside.outbox.settle(refund_id)
        assert len(inside.outbox.exchanges.pay_codes) == 0


class Failing:
    """A database that rolls back so many transactions after they ran, or only says so."""

    def __init__(self, real: Database, times: int, *, rolls_back: bool = True) -> None:
        self._real = real
        self._times = times
        self._rolls_back = rolls_back

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    async def run(self, operation: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Runs it, and fails."""

        def spoiled(transaction: Transaction) -> None:
            operation(transaction, *args, **kwargs)
            raise CommonReason.STORAGE_UNAVAILABLE()

        self._times -= 1
        if self._times >= 0 and self._rolls_back:
            await self._real.run(spoiled)
        outcome = await self._real.run(operation, *args, **kwargs)
        if self._times >= 0:
            raise CommonReason.STORAGE_UNAVAILABLE()
        return outcome


@pytest.mark.parametrize("times", [1, 99])
async def test_a_pay_code_of_what_was_not_written_down_is_forgotten(
    database_url: str, order_service: Server, closed_port: str, behind: Behind, today: ManualClock, times: int
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        pending, code, outbox = await inside.submitted(""), fresh_code(behind), inside.outbox
        for ask in (lambda: inside.pay(pending, code=code), lambda: inside.give_back(goods(5), code=code)):
            inside.write_to(Failing(inside.database, times))
            with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
                await ask()
            assert len(outbox.exchanges.pay_codes) == 0


async def test_a_pay_code_of_what_was_written_down_is_kept_whatever_fails(
    database_url: str, order_service: Server, closed_port: str, behind: Behind, today: ManualClock
) -> None:
    async with terminal(database_url, order_service.address, closed_port, today) as inside:
        pending, other, payment_id = await inside.submitted(""), await inside.submitted(""), new_request_id()
        inside.write_to(Failing(inside.database, 1, rolls_back=False))
        with pytest.raises(Refusal, match="STORAGE_UNAVAILABLE"):
            await inside.pay(pending, payment_id, code=fresh_code(behind))
        with pytest.raises(Refusal, match="REQUEST_ID_REUSED"):
            await inside.pay(other, payment_id, code=fresh_code(behind))
        assert len(inside.outbox.exchanges.pay_codes) == 1


def test_only_so_many_pay_codes_are_kept() -> None:
    codes = PayCodes(at_most=2)
    for number in range(5):
        codes.keep(f"pay-{number}", Secret(b"1"))
    codes.drop("pay-0")
    assert len(codes) == 2
    assert [bool(codes.find(f"pay-{number}")) for number in range(5)] == [False, False, False, True, True]


async def test_a_refund_by_pay_code_ends_where_the_code_is_lost_and_is_found_where_it_was_made(
    database_url: str, order_service: Server, payments: Link, behind: Behind, today: ManualClock
) -> None:
    phone, other = shopper_with_phone(behind, funds=0), shopper_with_phone(behind, funds=0)
    lost, made = new_request_id(), new_request_id()
    async with terminal(database_url, order_service.address, payments.address, today) as inside:
        await inside.pay(await inside.submitted(behind.shopper()))  # the connection is there
        payments.lose_answers()
        await inside.give_back(goods(7), code=other.code(), refund_id=made, within_s=SHORT_S)
        await asyncio.to_thread(wait_until, lambda: behind.wallet(other.identity_id) == (7, 0))
        payments.lose_requests()
        await inside.give_back(goods(5), code=phone.code(), refund_id=lost, within_s=SHORT_S)
    payments.heal()
    today.advance(CLAIM_MS + 1)
    async with terminal(database_url, order_service.address, payments.address, today, resumes=True) as inside:
        told = await inside.ended_refund(lost)
        assert (refund_state(told), told.reason) == ("REFUSED", "PAY_CODE_LOST")
        assert refund_state(await inside.ended_refund(made)) == "DONE"
    assert behind.wallet(phone.identity_id) == (0, 0)


async def test_a_replica_leaves_a_payment_by_pay_code_to_the_one_that_was_shown_the_code(
    postgres: Cluster, order_service: Server, payments: Link, behind: Behind, today: ManualClock
) -> None:
    phone = shopper_with_phone(behind, funds=100_000)
    with postgres.database(METADATA) as url:
        async with (
            terminal(url, order_service.address, payments.address, today, resumes=True) as first,
            terminal(url, order_service.address, payments.address, today, resumes=True) as second,
        ):
            payments.lose_requests()
            paying = []
            for _ in range(4):
                pending = await first.submitted("")
                paying.append(await first.pay(pending, within_s=SHORT_S, code=fresh_code(behind)))
            refund = await first.give_back(goods(5), code=phone.code(), within_s=SHORT_S)
            today.advance(2_000)  # now they are due, and asked for at both
            for each in paying:
                assert said(await second.get(each)) == "PAYING WAIT"
            payments.heal()
            for each in paying:
                ended = await second.until(each, lambda now: said(now) != "PAYING WAIT")
                assert (said(ended), ended.verdict_reason) == ("PAID HAND_OVER_GOODS", "")
            assert refund_state(await second.ended_refund(refund.refund_id)) == "DONE"
            assert second.calls["CreatePayment"] == 0
            assert len(first.outbox.exchanges.pay_codes) == 0


async def test_a_replica_ends_a_payment_whose_code_died_with_the_one_that_was_shown_it(
    postgres: Cluster, order_service: Server, payments: Link, behind: Behind, today: ManualClock
) -> None:
    with postgres.database(METADATA) as url:
        async with terminal(url, order_service.address, payments.address, today, resumes=True) as second:
            async with terminal(url, order_service.address, payments.address, today) as first:
                payments.lose_requests()
                pending = await first.submitted("")
                paying = await first.pay(pending, within_s=SHORT_S, code=fresh_code(behind))
            payments.heal()
            assert said(await second.get(paying)) == "PAYING WAIT"  # the first may still be there
            today.advance(CLAIM_MS + 1)
            ended = await second.until(paying, lambda now: said(now) != "PAYING WAIT")
            assert (said(ended), ended.verdict_reason) == ("SUBMITTED SAFE_TO_RETRY", "PAY_CODE_LOST")
            assert said(await second.pay(ended, code=fresh_code(behind))) == "PAID HAND_OVER_GOODS"
            assert second.calls["CreatePayment"] == 1


def fresh_code(behind: Behind) -> str:
    """The pay code of a new shopper."""
    return shopper_with_phone(behind).code()
