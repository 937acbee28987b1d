"""A till that names identities learns nothing of them that their payers would not notice, and cannot try many."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from tests.payments.phones import (
    OTHER_TILL,
    PLATFORM,
    TILL,
    acting,
    order_under_reference,
    pay_at_till,
    payer,
    scan,
)
from tests.payments.side import Side, asked, named, payment_side, refused, state_and_reason
from tests.processes import Server
from thirdparty_server.errors import Reason
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallets_api
from tillmesh.auth.callers import Caller, Role
from tillmesh.runtime.ids import new_request_id

HOUR_MS = 3_600_000
PER_HOUR = 2
DECLINED = ("VOIDED", "DECLINED")
Make = Callable[[Side, str], Awaitable[payments_api.CreatePaymentRequest]]


async def made_up(_side: Side, identity_id: str) -> payments_api.CreatePaymentRequest:
    order = order_pb2.Order(order_id=new_request_id(), version=1, payer=named(identity_id))
    order.amount.currency_code, order.amount.minor_units = "GBP", 1000
    return asked(order)


async def of_another_version(side: Side, identity_id: str) -> payments_api.CreatePaymentRequest:
    request = asked(await side.order(identity_id))
    request.order_version += 1
    return request


async def of_another_amount(side: Side, identity_id: str) -> payments_api.CreatePaymentRequest:
    request = asked(await side.order(identity_id))
    request.amount.minor_units += 1
    return request


async def of_another_payer(side: Side, identity_id: str) -> payments_api.CreatePaymentRequest:
    request = asked(await order_under_reference(side))
    request.payer.CopyFrom(named(identity_id))
    return request


async def real(side: Side, identity_id: str) -> payments_api.CreatePaymentRequest:
    return asked(await side.order(identity_id))


@pytest.mark.parametrize(
    ("make", "till", "reason"),
    [
        (made_up, TILL, "STORE_MISMATCH"),
        (of_another_version, TILL, "VERSION_MISMATCH"),
        (of_another_amount, TILL, "AMOUNT_MISMATCH"),
        (of_another_payer, TILL, "PAYER_MISMATCH"),
        (real, OTHER_TILL, "STORE_MISMATCH"),
    ],
    ids=["made-up", "another-version", "another-amount", "another-payer", "another-store"],
)
async def test_an_order_that_cannot_be_paid_tells_a_till_nothing_of_whom_it_names(
    side: Side, make: Make, till: Caller, reason: str
) -> None:
    heard = []
    for identity_id in (await side.shopper(funds=5000), await side.shopper(funds=5000, currency="JPY"), "nobody"):
        request = await make(side, identity_id)
        with acting(till):
            payment = await side.payments.CreatePayment(request)
            heard.append((state_and_reason(payment), payment.epoch, await side.events(payment.payment_id)))
    assert heard == [(("VOIDED", reason), 0, ["CREATED", "ORDER_RELEASED"])] * 3


async def test_whoever_a_till_names_its_order_is_locked_for_as_long(side: Side) -> None:
    leases = []
    for identity_id in (await side.shopper(funds=5000), "nobody"):
        payment_id = await record_at_till(side, order := await side.order(identity_id))
        payment = await side.resolver.get(payment_id)
        leases.append(side.settings.timing().lease_ms(payment.confirm))
        assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert leases == [100_000, 100_000]


async def record_at_till(side: Side, order: order_pb2.Order) -> str:
    with acting(TILL):
        return await side.record(order)


async def test_a_wallet_that_is_opened_before_the_order_is_locked_pays_after_a_yes(side: Side) -> None:
    identity_id = await side.shopper(currency="JPY")
    payment_id = await side.record(await side.order(identity_id))
    await side.wallets.OpenWallet(
        wallets_api.OpenWalletRequest(request_id=new_request_id(), identity_id=identity_id, currency_code="GBP")
    )
    assert await side.step(payment_id) == "AWAITING_PAYER"


# The budget


@pytest.fixture
async def strict(database_url: str, tmp_path: Path, order_service: Server, clock: ManualClock) -> AsyncIterator[Side]:
    """A server at which a store may name few identities that cannot pay."""
    async with payment_side(
        database_url, tmp_path, order_service.address, clock, identity_guesses_per_hour=PER_HOUR
    ) as side:
        yield side


async def spend(side: Side, guesses: int = PER_HOUR) -> payment_pb2.Payment:
    """Names so many identities that there are not; returns the last payment."""
    for number in range(guesses):
        payment = await pay_at_till(side, await side.order(f"guess-{number}"))
        assert state_and_reason(payment) == DECLINED
    return payment


async def test_a_store_that_named_too_many_that_cannot_pay_names_nobody_for_a_while(strict: Side) -> None:
    known, yen_id = await strict.shopper(funds=5000), await strict.shopper(currency="JPY")
    assert state_and_reason(await pay_at_till(strict, await strict.order(yen_id))) == DECLINED
    strict.clock.advance(1000)
    last = await spend(strict, PER_HOUR - 1)
    strict.clock.advance(1000)
    request = await real(strict, known)
    with acting(TILL):
        for _ in range(2):
            with refused(Reason.IDENTITY_GUESSES_EXHAUSTED) as refusals:
                await strict.payments.CreatePayment(request)
        assert refusals[0].retry_after_ms == HOUR_MS - 2000  # then the first guess is an hour old
        with acting(PLATFORM), refused(Reason.PAYMENT_NOT_FOUND):
            await strict.payment(request.payment_id)
        repeated = payments_api.CreatePaymentRequest(
            payment_id=last.payment_id,
            order_id=last.order_id,
            order_version=last.order_version,
            payer=last.payer,
            amount=last.amount,
        )
        assert await strict.payments.CreatePayment(repeated) == last
        strict.clock.advance(HOUR_MS - 2001)
        with refused(Reason.IDENTITY_GUESSES_EXHAUSTED):
            await strict.payments.CreatePayment(request)
        strict.clock.advance(1)
        assert (await strict.payments.CreatePayment(request)).state == payment_pb2.Payment.STATE_AWAITING_PAYER


async def test_a_spent_budget_stops_no_code_no_reference_no_other_store_and_nobody_else(strict: Side) -> None:
    phone = await payer(strict)
    await spend(strict)
    with refused(Reason.IDENTITY_GUESSES_EXHAUSTED):
        await pay_at_till(strict, order := await strict.order(phone.identity_id))
    assert state_and_reason(await scan(strict, order, phone.code())) == ("CAPTURED", "")
    under_reference = await order_under_reference(strict)
    assert state_and_reason(await pay_at_till(strict, under_reference)) == ("VOIDED", "PAY_CODE_REQUIRED")
    elsewhere = await pay_at_till(strict, await strict.order("nobody"), OTHER_TILL)
    assert state_and_reason(elsewhere) == ("VOIDED", "STORE_MISMATCH")
    await phone.sign_in()
    for who in (PLATFORM, await phone.admitted()):
        with acting(who):
            assert state_and_reason(await strict.pay(await strict.order(phone.identity_id))) == ("CAPTURED", "")


async def test_what_is_no_guess_spends_nothing(strict: Side) -> None:
    yen_id, poor_id = await strict.shopper(currency="JPY"), await strict.shopper()
    for _ in range(PER_HOUR):
        with acting(TILL):
            await strict.payments.CreatePayment(await made_up(strict, "nobody"))
        with acting(Caller("spiffe://tillmesh/phone/p", Role.PHONE, None, yen_id)):
            own = await strict.pay(await strict.order(yen_id))
            assert state_and_reason(own) == ("VOIDED", "WALLET_NOT_FOUND")
        assert state_and_reason(await strict.pay(await strict.order(poor_id))) == ("VOIDED", "INSUFFICIENT_FUNDS")
    await spend(strict)
