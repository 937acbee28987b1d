"""Two payment servers on one PostgreSQL database, asked at the same time: nothing is paid or given back twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from google.protobuf import field_mask_pb2

from tests.clocks import ManualClock
from tests.payments.books import ids_of
from tests.payments.phones import TILL, acting, order_under_reference, pay_at_till, payer, scan
from tests.payments.side import STORE, Side, asked, payment_side, state_and_reason
from tests.postgres import Cluster
from tests.processes import Server
from tests.trust.secrets import PIN
from thirdparty_server.errors import Reason
from thirdparty_server.ledger.model import ACCOUNTS
from thirdparty_server.payments import operations as payment_operations
from thirdparty_server.payments.model import Lock, Payment
from thirdparty_server.tables import METADATA
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import identity_pb2, payment_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.type.v1 import line_item_pb2
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.storage.batches import takes_turns
from tillmesh.storage.chains import HistoryTable, read_chains
from tillmesh.storage.claims import CLAIM_MS, FRESH_MS
from tillmesh.storage.database import open_engine, parse_url
from tillmesh.storage.statements import Transaction

ROUNDS = 10
HISTORY = HistoryTable("payment_history", "payments", "payment_id")


@pytest.fixture
async def sides(
    postgres: Cluster, tmp_path: Path, order_service: Server, clock: ManualClock
) -> AsyncIterator[tuple[Side, Side]]:
    with postgres.database(METADATA) as url:
        async with AsyncExitStack() as stack:
            first, second = [
                await stack.enter_async_context(payment_side(url, tmp_path, order_service.address, clock))
                for _ in range(2)
            ]
            yield first, second
            await first.books()
        with open_engine(parse_url(url)).connect() as connection:
            assert [chain for chain in read_chains(connection, HISTORY) if chain.findings] == []
        assert postgres.deadlocks(url) == 0


def confirmation(payment_id: str, amount: int = 1000) -> payments_api.ConfirmPaymentRequest:
    request = payments_api.ConfirmPaymentRequest(request_id=new_request_id(), payment_id=payment_id, store_id=STORE)
    request.amount.currency_code, request.amount.minor_units = "GBP", amount
    return request


async def test_a_payment_that_comes_to_both_is_one(sides: tuple[Side, Side]) -> None:
    payer_id = await sides[0].shopper(funds=1000 * ROUNDS)
    for _ in range(ROUNDS):
        request = asked(await sides[0].order(payer_id))
        payments = await asyncio.gather(*(side.payments.CreatePayment(request) for side in sides))
        assert [state_and_reason(payment) for payment in payments] == [("CAPTURED", "")] * 2
        assert await sides[1].events(request.payment_id) == ["CREATED", "FUNDS_HELD", "ORDER_PAID"]
    assert await sides[1].wallet(payer_id) == (0, 0)


async def test_a_wallet_that_has_the_money_once_pays_once(sides: tuple[Side, Side]) -> None:
    for _ in range(ROUNDS):
        payer_id = await sides[0].shopper(funds=1500)
        orders = [await side.order(payer_id) for side in sides]
        payments = await asyncio.gather(*(side.pay(order) for side, order in zip(sides, orders, strict=True)))
        assert sorted(map(state_and_reason, payments)) == [("CAPTURED", ""), ("VOIDED", "INSUFFICIENT_FUNDS")]
        assert await sides[0].wallet(payer_id) == (500, 0)


async def test_a_wallet_that_many_pay_from_at_both_pays_for_each_once(sides: tuple[Side, Side]) -> None:
    """What waits for its row neither loses it nor is refused for that."""
    payer_id = await sides[0].shopper(funds=1000 * ROUNDS)
    orders = [await sides[0].order(payer_id) for _ in range(ROUNDS + 5)]
    payments = await asyncio.gather(*(sides[number % 2].pay(order) for number, order in enumerate(orders)))
    outcomes = Counter(map(state_and_reason, payments))
    assert outcomes == {("CAPTURED", ""): ROUNDS, ("VOIDED", "INSUFFICIENT_FUNDS"): 5}
    assert await sides[1].wallet(payer_id) == (0, 0)


async def test_refunds_at_both_do_not_exceed_the_payment(sides: tuple[Side, Side]) -> None:
    payer_id = await sides[0].shopper(funds=1000 * ROUNDS)
    for number in range(1, ROUNDS + 1):
        payment = await sides[0].captured(payer_id)
        outcomes = await asyncio.gather(
            *(side.refund(payment.payment_id, 600) for side in sides), return_exceptions=True
        )
        (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        assert refusal.reason == Reason.REFUND_EXCEEDS_PAYMENT.name
        assert (await sides[1].payment(payment.payment_id)).refunded.minor_units == 600
        assert await sides[1].wallet(payer_id) == (1000 * (ROUNDS - number) + 600 * number, 0)


async def test_a_refund_that_comes_to_both_is_one(sides: tuple[Side, Side]) -> None:
    payer_id = await sides[0].shopper(funds=1000)
    payment = await sides[0].captured(payer_id)
    for number in range(1, ROUNDS + 1):
        request_id = new_request_id()
        first, second = await asyncio.gather(*(side.refund(payment.payment_id, 50, request_id) for side in sides))
        assert first == second
        assert await sides[0].wallet(payer_id) == (50 * number, 0)


async def test_refunds_of_lines_at_both_give_no_piece_back_twice(sides: tuple[Side, Side]) -> None:
    payer_id = await sides[0].shopper(funds=1_000_000)
    tea = line_item_pb2.LineItem(sku="TEA", quantity=3, unit_price_minor=333)
    for _ in range(ROUNDS):
        payment = await sides[0].pay(await sides[0].order_of(payer_id, [tea]))
        outcomes = await asyncio.gather(
            *(side.refund_lines(payment.payment_id, {1: 2}) for side in sides), return_exceptions=True
        )
        (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        assert (refusal.reason, refusal.metadata["left"]) == (Reason.REFUND_EXCEEDS_LINE.name, "1")
        assert (await sides[1].refund_lines(payment.payment_id, {1: 1})).amount.minor_units == 333
        assert (await sides[0].payment(payment.payment_id)).refunded.minor_units == 999


async def test_refunds_without_a_sale_at_both_stay_within_the_limit(sides: tuple[Side, Side]) -> None:
    payer_id = await sides[0].shopper()
    for number in range(ROUNDS):
        await sides[0].store(limit=1000, store_id=f"store-{number}")
        outcomes = await asyncio.gather(
            *(side.give_back(payer_id, 999, store_id=f"store-{number}") for side in sides), return_exceptions=True
        )
        (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        assert refusal.reason == Reason.UNREFERENCED_REFUND_LIMIT_EXCEEDED.name
    assert await sides[0].wallet(payer_id) == (999 * ROUNDS, 0)


async def test_of_two_changes_of_one_version_at_both_one_counts(sides: tuple[Side, Side]) -> None:
    payer_id = await sides[0].shopper()

    def change(name: str, version: int) -> identities_api.UpdateIdentityRequest:
        identity = identity_pb2.Identity(identity_id=payer_id, display_name=name)
        mask = field_mask_pb2.FieldMask(paths=["display_name"])
        return identities_api.UpdateIdentityRequest(
            request_id=new_request_id(), identity=identity, update_mask=mask, version=version
        )

    for version in range(1, ROUNDS + 1):
        outcomes = await asyncio.gather(
            *(side.identities.UpdateIdentity(change(str(index), version)) for index, side in enumerate(sides)),
            return_exceptions=True,
        )
        (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Refusal)]
        assert refusal.reason == Reason.VERSION_MISMATCH.name


async def test_two_locks_of_one_order_at_both_leave_the_larger_epoch_alone_with_money(
    sides: tuple[Side, Side],
) -> None:
    """Each answer is recorded by another server, at the same moment: neither may miss the other's epoch."""
    first, second = sides
    payer_id = await first.shopper(funds=1_000_000)
    for number in range(ROUNDS):
        order = await first.order(payer_id)
        attempts = [await side.record(order) for side in sides]
        await asyncio.gather(
            *(side.locked(attempt, epoch) for side, attempt, epoch in zip(sides, attempts, (1, 2), strict=True))
        )
        assert await second.state(attempts[0]) == ("VOIDED", "SUPERSEDED")
        assert await first.state(attempts[1]) == ("AUTHORIZED", "")
        assert await first.wallet(payer_id) == (1_000_000, 1000 * (number + 1))


async def test_a_lock_that_is_recorded_late_in_a_batch_sees_what_came_since_it_began(sides: tuple[Side, Side]) -> None:
    """A batch of operations begins with its first one: what came since must not be overlooked."""
    side, _ = sides
    payer_id = await side.shopper(funds=5000, threshold=0)
    order = await side.order(payer_id)
    early_id = await side.record(order)
    late_id: list[str] = []
    loop = asyncio.get_running_loop()

    async def lock_late() -> None:
        late_id.append(await sides[1].record(order))
        await sides[1].locked(late_id[0], epoch=2)

    @takes_turns(ACCOUNTS)
    def after_another(transaction: Transaction) -> Payment:
        assert payment_operations.get_payment(transaction, early_id).epoch == 0
        asyncio.run_coroutine_threadsafe(lock_late(), loop).result()
        now_ms = side.clock.now_ms()
        return payment_operations.record_lock(transaction, early_id, Lock(1, STORE, now_ms + 50_000), now_ms)

    await side.database.run(after_another)
    assert await side.state(early_id) == ("VOIDED", "SUPERSEDED")
    assert await side.state(late_id[0]) == ("AWAITING_PAYER", "")
    assert await side.wallet(payer_id) == (5000, 0)


async def test_yes_and_no_at_once_agree_with_the_order(sides: tuple[Side, Side]) -> None:
    first, second = sides
    payer_id = await first.shopper(funds=1000 * ROUNDS, threshold=0)
    captured = 0
    for number in range(ROUNDS):
        order = await first.order(payer_id)
        payment = await first.pay(order)
        cancel = payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment.payment_id)
        calls = [
            first.payments.ConfirmPayment(confirmation(payment.payment_id)),
            second.payments.CancelPayment(cancel),
        ]
        await asyncio.gather(*(calls if number % 2 else calls[::-1]), return_exceptions=True)
        state, _ = await second.finish(payment.payment_id)
        paid = (await first.order_now(order)).state == order_pb2.Order.STATE_PAID
        assert state == ("CAPTURED" if paid else "VOIDED")
        captured += paid
    assert await first.wallet(payer_id) == (1000 * (ROUNDS - captured), 0)


async def test_a_late_yes_and_the_next_attempt_take_the_money_once(sides: tuple[Side, Side]) -> None:
    """The order gave the first attempt up; its yes comes while the other server locks the order again."""
    first, second = sides
    payer_id = await first.shopper(funds=1000 * ROUNDS, threshold=0)
    for _ in range(ROUNDS):
        order = await first.order(payer_id)
        early = await first.pay(order)
        await first.orders.CancelOrderPayment(
            orders_api.CancelOrderPaymentRequest(payment_id=early.payment_id, order_id=order.order_id)
        )
        late, _ = await asyncio.gather(
            second.pay(order),
            first.payments.ConfirmPayment(confirmation(early.payment_id)),
            return_exceptions=True,
        )
        assert isinstance(late, payment_pb2.Payment)
        paid = await second.payments.ConfirmPayment(confirmation(late.payment_id))
        assert state_and_reason(paid) == ("CAPTURED", "")
        assert (await first.finish(early.payment_id))[0] == "VOIDED"
    assert await first.wallet(payer_id) == (0, 0)


async def confirmed(side: Side, request: payments_api.ConfirmPaymentRequest) -> payment_pb2.Payment:
    """Repeats the request while another process checks the PIN, as a till does."""
    while True:
        try:
            return await side.payments.ConfirmPayment(request)
        except Refusal as refusal:
            if refusal.reason != Reason.PIN_TRY_NOT_SETTLED.name:
                raise


async def test_a_pin_that_is_keyed_in_twice_is_one_yes(sides: tuple[Side, Side]) -> None:
    first, _ = sides
    phone = await payer(first, funds=1000 * ROUNDS)
    for _ in range(ROUNDS):
        payment = await pay_at_till(first, await first.order(phone.identity_id))
        request = confirmation(payment.payment_id)
        request.pin = PIN
        with acting(TILL):
            paid = await asyncio.gather(*(confirmed(side, request) for side in sides * 2))
        assert {state_and_reason(payment) for payment in paid} == {("CAPTURED", "")}
    assert await first.wallet(phone.identity_id) == (0, 0)


async def test_a_pay_code_that_is_scanned_at_both_pays_one_order(sides: tuple[Side, Side], clock: ManualClock) -> None:
    phone = await payer(sides[0], funds=1000 * ROUNDS)
    for _ in range(ROUNDS):
        clock.advance(60_000)
        code = phone.code()
        orders = [await order_under_reference(side) for side in sides]
        payments = await asyncio.gather(*(scan(side, order, code) for side, order in zip(sides, orders, strict=True)))
        assert sorted(map(state_and_reason, payments)) == [("CAPTURED", ""), ("VOIDED", "PAY_CODE_USED")]
    assert await sides[0].wallet(phone.identity_id) == (0, 0)


async def test_servers_share_what_is_due_and_one_that_dies_is_taken_over(
    sides: tuple[Side, Side], clock: ManualClock
) -> None:
    first, second = sides
    payer_id = await first.shopper()
    recorded = {await first.record(await first.order(payer_id)) for _ in range(ROUNDS)}
    assert ids_of(await first.resolver.due()) == [], "the calls that recorded them drive them on"

    clock.advance(FRESH_MS)
    shares = [set(ids_of(share)) for share in await asyncio.gather(first.resolver.due(), second.resolver.due())]
    assert shares[0] | shares[1] == recorded
    assert not shares[0] & shares[1]

    clock.advance(CLAIM_MS - 1)
    assert set(ids_of(await first.resolver.due())) == shares[0], "it goes on with its own, which it claims anew"
    clock.advance(1)
    assert set(ids_of(await first.resolver.due())) == recorded
    assert ids_of(await second.resolver.due()) == []


async def test_no_claim_outlasts_a_clock_that_stepped_back(sides: tuple[Side, Side], clock: ManualClock) -> None:
    first, second = sides
    payment_id = await first.record(await first.order(await first.shopper()))
    clock.advance(FRESH_MS)
    assert ids_of(await first.resolver.due()) == [payment_id]
    clock.advance(-3_600_000)
    assert ids_of(await second.resolver.due()) == [payment_id]
