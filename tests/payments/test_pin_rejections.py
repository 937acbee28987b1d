"""A wrong PIN stands in the history of the payment that it was keyed in for: who watches it learns of the try."""

import asyncio
from collections.abc import Callable

import pytest

from tests.payments.phones import PLATFORM, TILL, acting
from tests.payments.side import Side, refused, state_and_reason
from tests.payments.test_pin_tries import Gate, abandoned, is_counted
from tests.payments.test_pin_tries import gate as gate  # the fixture
from tests.payments.test_pins import at_the_pad, keyed_in, waiting
from tests.trust.secrets import NEW_PIN, PIN, WRONG_PIN
from thirdparty_server.errors import Reason
from thirdparty_server.payers import operations as payer_operations
from thirdparty_server.payments import operations
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.auth.callers import Caller
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

REJECTED = payment_pb2.PaymentEvent.TYPE_PIN_REJECTED
AWAITING = payment_pb2.Payment.STATE_AWAITING_PAYER


async def rejections(
    side: Side, payment: payment_pb2.Payment, who: Caller = PLATFORM
) -> list[payment_pb2.PaymentEvent]:
    """The wrong PINs in a payment's history, as somebody sees it."""
    request = payments_api.ListPaymentEventsRequest(payment_id=payment.payment_id)
    with acting(who):
        listed = await side.payments.ListPaymentEvents(request)
    return [event for event in listed.events if event.type == REJECTED]


async def left(side: Side, payment: payment_pb2.Payment, who: Caller = PLATFORM) -> list[int | None]:
    """The tries that each of them left, None where that is not said."""
    events = await rejections(side, payment, who)
    return [event.pin_tries_left if event.HasField("pin_tries_left") else None for event in events]


async def wrong(side: Side, request: payments_api.ConfirmPaymentRequest, reason: Reason = Reason.PIN_WRONG) -> None:
    with refused(reason):
        await at_the_pad(side, request)


async def test_each_wrong_pin_is_an_event_of_the_payment_which_waits_on(side: Side) -> None:
    _, _, payment = await waiting(side)
    await wrong(side, keyed_in(payment, WRONG_PIN))
    (event,) = await rejections(side, payment)
    assert (event.from_state, event.to_state, event.reason) == (AWAITING, AWAITING, "")
    assert (event.actor, event.amount, event.pin_tries_left) == (TILL.uri, payment.amount, 4)
    await wrong(side, keyed_in(payment, WRONG_PIN))
    assert await left(side, payment) == [4, 3]
    assert state_and_reason(await at_the_pad(side, keyed_in(payment, PIN))) == ("CAPTURED", "")
    assert await side.events(payment.payment_id) == [
        "CREATED", "LOCKED_FOR_PAYER", "PIN_REJECTED", "PIN_REJECTED", "FUNDS_HELD", "ORDER_PAID",
    ]  # fmt: skip


async def test_the_fifth_locks_and_what_comes_after_it_is_no_try(side: Side) -> None:
    _, _, payment = await waiting(side)
    for _ in range(4):
        await wrong(side, keyed_in(payment, WRONG_PIN))
    for pin in (WRONG_PIN, WRONG_PIN, PIN):
        await wrong(side, keyed_in(payment, pin), Reason.PIN_LOCKED)
    assert await left(side, payment) == [4, 3, 2, 1, 0]


async def test_copies_of_a_request_are_one_event(side: Side) -> None:
    _, _, payment = await waiting(side)
    request = keyed_in(payment, WRONG_PIN)
    heard = await asyncio.gather(*(at_the_pad(side, request) for _ in range(6)), return_exceptions=True)
    assert {answer.reason for answer in heard if isinstance(answer, Refusal)} == {"PIN_WRONG"}
    await wrong(side, request)
    request.pin = PIN
    await wrong(side, request)
    assert await left(side, payment) == [4]


async def test_payer_and_platform_see_how_many_tries_are_left_and_a_store_does_not(side: Side) -> None:
    phone, _, payment = await waiting(side)
    await phone.sign_in()
    await wrong(side, keyed_in(payment, WRONG_PIN))
    assert await left(side, payment) == [4]
    assert await left(side, payment, await phone.admitted()) == [4]
    assert await left(side, payment, TILL) == [None]


async def test_a_caller_who_leaves_hides_no_wrong_pin(side: Side, gate: Gate) -> None:
    phone, _, payment = await waiting(side)
    await abandoned(side, phone.identity_id, gate, at_the_pad(side, keyed_in(payment, WRONG_PIN)))
    assert await left(side, payment) == [4]


async def test_a_payment_that_waits_no_longer_has_no_more_events(side: Side, gate: Gate) -> None:
    """It was given up, or its window ended, while the PIN was checked."""
    for end in (_cancel, _window_ends):
        phone, _, payment = await waiting(side)
        gate.open.clear()
        confirming = asyncio.create_task(at_the_pad(side, keyed_in(payment, WRONG_PIN)))
        await is_counted(side, phone.identity_id)
        await end(side, payment)
        gate.open.set()
        with refused(Reason.PIN_WRONG):
            await confirming
        assert await left(side, payment) == []


async def _cancel(side: Side, payment: payment_pb2.Payment) -> None:
    request = payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment.payment_id)
    await side.payments.CancelPayment(request)


async def _window_ends(side: Side, payment: payment_pb2.Payment) -> None:
    side.clock.advance(payment.confirm_remaining.ToMilliseconds())


async def test_a_try_of_a_pin_that_was_changed_meanwhile_is_a_wrong_one(side: Side, gate: Gate) -> None:
    phone, _, payment = await waiting(side)
    new_hash = await side.settings.vault().hash_pin(phone.identity_id, Secret(NEW_PIN.encode()))
    confirming = asyncio.create_task(at_the_pad(side, keyed_in(payment, PIN)))
    await is_counted(side, phone.identity_id)
    await side.database.run(payer_operations.set_pin, phone.identity_id, new_hash)
    gate.open.set()
    with refused(Reason.PIN_WRONG):
        await confirming
    assert await left(side, payment) == [5]


async def test_signing_in_with_a_wrong_pin_is_no_event_of_a_payment(side: Side) -> None:
    phone, _, payment = await waiting(side)
    with refused(Reason.PIN_WRONG):
        await phone.sign_in(WRONG_PIN)
    assert await left(side, payment) == []
    await wrong(side, keyed_in(payment, WRONG_PIN))
    assert await left(side, payment) == [3]


async def test_a_pin_that_cannot_be_noted_is_refused_all_the_same(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, payment = await waiting(side)
    with monkeypatch.context() as broken:
        broken.setattr(operations, "reject_pin", _unavailable())
        await wrong(side, request := keyed_in(payment, WRONG_PIN))
    await wrong(side, request)  # its outcome is remembered
    assert await left(side, payment) == []


def _unavailable() -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise CommonReason.STORAGE_UNAVAILABLE()

    return fail


async def test_wrong_pins_of_two_payments_are_each_one_s_own(side: Side) -> None:
    (_, _, first), (_, _, second) = await waiting(side), await waiting(side)
    await wrong(side, keyed_in(first, WRONG_PIN))
    await wrong(side, keyed_in(second, WRONG_PIN))
    assert (await left(side, first), await left(side, second)) == ([4], [4])
