"""What is pruned of payments: old histories and PIN tries that were answered; refunds and repeats go on as before."""

import asyncio
from typing import Any

from sqlalchemy import select

from tests.payments.side import Side, refused
from tests.payments.test_pins import at_the_pad, keyed_in, waiting
from tests.pruning import audit, counts, prune
from tests.trust.secrets import PIN, WRONG_PIN
from thirdparty_server.errors import Reason
from thirdparty_server.payers.tables import pin_tries
from thirdparty_server.pruning import PRUNABLE
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.runtime.ids import new_request_id


async def prune_all(side: Side) -> None:
    side.clock.advance(1)
    now_ms = side.clock.now_ms()
    pages = await prune(side.database, PRUNABLE, now_ms, now_ms)
    assert [page.findings for page in pages if page.findings] == []


async def history(side: Side, payment_id: str) -> list[tuple[int, str]]:
    request = payments_api.ListPaymentEventsRequest(payment_id=payment_id)
    listed = await side.payments.ListPaymentEvents(request)
    name = payment_pb2.PaymentEvent.Type.Name
    return [(event.number, name(event.type).removeprefix("TYPE_")) for event in listed.events]


async def test_a_payment_is_refunded_after_its_history_was_pruned_and_pruned_again(
    side: Side, database_url: str
) -> None:
    payment = await side.captured(await side.shopper(5000))
    count = len(await history(side, payment.payment_id))
    await prune_all(side)
    assert await history(side, payment.payment_id) == [(count, "ORDER_PAID")]
    assert await side.payment(payment.payment_id) == payment
    refund = await side.refund(payment.payment_id, 100, "ref-1")
    await side.refund(payment.payment_id, 200)
    assert await side.refund(payment.payment_id, 100, "ref-1") == refund
    assert [number for number, _ in await history(side, payment.payment_id)] == [count, count + 1, count + 2]
    assert audit(database_url, "payment_history") == []
    await prune_all(side)
    assert await history(side, payment.payment_id) == [(count + 2, "REFUNDED")]
    assert audit(database_url, "payment_history") == []
    with refused(Reason.REFUND_EXCEEDS_PAYMENT):
        await side.refund(payment.payment_id, 701)


async def test_a_repeated_payment_is_answered_as_before_and_takes_no_money_again(side: Side, database_url: str) -> None:
    who = await side.shopper(5000)
    order, payment_id = await side.order(who), new_request_id()
    payment = await side.pay(order, payment_id)
    assert payment.state == payment_pb2.Payment.STATE_CAPTURED
    wallet = await side.wallet(who)
    await prune_all(side)
    assert await side.pay(order, payment_id) == payment
    assert await side.wallet(who) == wallet
    assert audit(database_url, "payment_history") == []


async def test_refunds_beside_a_prune_leave_whole_histories(side: Side, database_url: str) -> None:
    who = await side.shopper(5000)
    payments = [await side.captured(who, 100) for _ in range(4)]
    await asyncio.gather(prune_all(side), *(side.refund(payment.payment_id, 10) for payment in payments))
    for payment in payments:
        assert (await history(side, payment.payment_id))[-1][1] == "REFUNDED"
        assert (await side.payment(payment.payment_id)).refunded.minor_units == 10
    assert audit(database_url, "payment_history") == []


async def test_a_payment_under_way_keeps_its_history(side: Side) -> None:
    _, _, payment = await waiting(side)
    before = await history(side, payment.payment_id)
    await prune_all(side)
    assert await history(side, payment.payment_id) == before


async def test_a_pin_try_goes_once_its_request_was_answered_and_the_request_counts_no_more(side: Side) -> None:
    phone, _, payment = await waiting(side)
    wrong, right = keyed_in(payment, WRONG_PIN), keyed_in(payment, PIN)
    with refused(Reason.PIN_WRONG):
        await at_the_pad(side, wrong)
    assert await tries(side) == 1
    side.clock.advance(1)
    assert (await counts(side.database, PRUNABLE, side.clock.now_ms()))["pin_tries"] == 1
    await prune_all(side)
    assert await tries(side) == 0
    with refused(Reason.PIN_WRONG):
        await at_the_pad(side, wrong)
    assert await tries(side) == 0
    paid = await at_the_pad(side, right)
    await prune_all(side)
    assert await tries(side) == 0
    assert await at_the_pad(side, right) == paid
    assert phone.identity_id


async def test_a_pin_try_whose_request_is_unanswered_stays(side: Side) -> None:
    await waiting(side)
    await side.database.run(lambda transaction: add_try(transaction, side))
    await prune_all(side)
    assert await tries(side) == 1


def add_try(transaction: Any, side: Side) -> None:
    rows = transaction.exec_driver_sql("SELECT identity_id FROM identities")
    values = {"request_id": "unanswered", "content_hash": b"", "identity_id": rows.scalars()[0], "attempt": 1}
    transaction.execute(pin_tries.insert(), {**values, "checked_by": "", "begun_at_ms": 1})


async def tries(side: Side) -> int:
    return len(await side.database.run(lambda transaction: transaction.execute(select(pin_tries)).all()))
