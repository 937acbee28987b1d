"""PINs: five tries however fast one guesses, for exactly one shop and amount, and nothing that tells them."""

import asyncio
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from tests.clocks import ManualClock
from tests.payments.phones import (
    OTHER_TILL,
    TILL,
    Phone,
    acting,
    bind,
    order_under_reference,
    pay_at_till,
    payer,
    scan,
    set_pin,
)
from tests.payments.side import STORE, Side, gbp, named, payment_side, refused, state_and_reason
from tests.processes import Server
from tests.trust.secrets import NEW_PIN, PIN, WRONG_PIN
from thirdparty_server.errors import Reason
from thirdparty_server.payers import operations as payer_operations
from thirdparty_server.payers import pin_counting, vault
from thirdparty_server.payers import queries as payer_queries
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.api.type.v1.money_pb2 import Money
from tillmesh.auth.callers import Caller
from tillmesh.runtime.errors import CommonReason, Refusal
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret


async def outcome(phone: Phone, pin: str) -> str:
    """What a try to sign in came to."""
    try:
        await phone.sign_in(pin)
    except Refusal as refusal:
        return f"{refusal.reason} {refusal.metadata.get('tries_left', '')}".strip()
    return "signed in"


async def test_five_wrong_pins_lock_and_a_new_pin_unlocks(side: Side) -> None:
    phone = await payer(side)
    heard = [await outcome(phone, WRONG_PIN) for _ in range(6)]
    assert heard == [f"PIN_WRONG {left}" for left in (4, 3, 2, 1)] + ["PIN_LOCKED"] * 2
    assert await outcome(phone, PIN) == "PIN_LOCKED"
    await set_pin(side, phone.identity_id, NEW_PIN)
    assert await outcome(phone, PIN) == "PIN_WRONG 4"
    assert await outcome(phone, NEW_PIN) == "signed in"


async def test_the_right_pin_forgives_the_wrong_ones_before_it(side: Side) -> None:
    phone = await payer(side)
    for _ in range(3):
        heard = [await outcome(phone, pin) for pin in (*[WRONG_PIN] * 4, PIN)]
        assert heard == ["PIN_WRONG 4", "PIN_WRONG 3", "PIN_WRONG 2", "PIN_WRONG 1", "signed in"]


async def test_guesses_at_once_get_no_more_than_five_tries(side: Side) -> None:
    phone = await payer(side)
    phones = [phone, *[await bind(side, phone.identity_id) for _ in range(3)]]
    heard = Counter(await asyncio.gather(*(outcome(phones[number % 4], WRONG_PIN) for number in range(40))))
    assert heard["PIN_LOCKED"] >= 35
    assert await outcome(phone, PIN) == "PIN_LOCKED"
    await set_pin(side, phone.identity_id)

    async def begin() -> bool:
        try:
            await side.database.run(pin_counting.begin_pin_try, phone.identity_id)
        except Refusal as refusal:
            return refusal.reason != "PIN_LOCKED"
        return True

    assert sum(await asyncio.gather(*(begin() for _ in range(40)))) == 5


async def test_another_payer_s_tries_are_their_own(side: Side) -> None:
    one, other = await payer(side), await payer(side)
    for _ in range(5):
        await outcome(one, WRONG_PIN)
    assert await outcome(other, PIN) == "signed in"


async def test_nobody_signs_in_without_a_pin_or_on_a_phone_that_is_nobody_s(side: Side) -> None:
    phone = await bind(side, await side.shopper())
    assert await outcome(phone, PIN) == "PIN_NOT_SET"
    stranger = Phone(side, "", Caller("spiffe://tillmesh/phone/found", phone.certified.role, None), "", phone.key)
    assert await outcome(stranger, PIN) == "PHONE_NOT_BOUND"


@pytest.mark.parametrize("pin", ["", "739", "7391046280462", "7391O462", "-7391046", "７３９１０４６２", "73910462\n"])
async def test_a_pin_that_is_none_is_refused_without_repeating_it(side: Side, pin: str) -> None:
    phone = await payer(side)
    for attempt in (phone.sign_in(pin), set_pin(side, phone.identity_id, pin)):
        with pytest.raises(Refusal) as raised:
            await attempt
        [violation] = raised.value.violations
        assert (violation.field, violation.description) == ("pin", "must be 4 to 12 digits")
        assert not pin or pin.strip() not in f"{raised.value} {raised.value.to_status('')}"
    assert await outcome(phone, PIN) == "signed in"  # and it was no try


async def test_a_pin_is_kept_so_that_equal_ones_do_not_show(
    side: Side, cheap_pins: PasswordHasher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "_ARGON2", cheap_pins)  # as a server does it
    first, second = await payer(side), await payer(side)
    hashes = await side.database.run(
        lambda transaction: {payer_queries.find_pin(transaction, phone.identity_id)[0] for phone in (first, second)}
    )
    assert len(hashes) == 2
    assert all(f"{pin_hash}".startswith("$argon2id$v=19$m=19456,t=2,p=1$") for pin_hash in hashes)


async def test_a_pin_that_is_changed_while_the_old_one_is_checked_lets_nobody_in(side: Side) -> None:
    phone = await payer(side)
    uri = phone.certified.uri
    begun = await side.database.run(pin_counting.begin_pin_try, phone.identity_id)
    pin_try = await side.settings.vault().checked(begun, Secret(PIN.encode()))
    assert pin_try.right
    await set_pin(side, phone.identity_id, NEW_PIN)
    with refused(Reason.PIN_WRONG):
        await side.database.run(pin_counting.settle_pin_try, pin_try)
    with refused(Reason.PIN_WRONG):
        await side.database.run(payer_operations.sign_in, uri, pin_try, Secret(b"t"), 2**60)
    assert await outcome(phone, NEW_PIN) == "signed in"


async def test_a_phone_that_is_unbound_while_its_pin_is_checked_is_signed_in_by_nobody(side: Side) -> None:
    phone = await payer(side)
    uri = phone.certified.uri
    begun = await side.database.run(pin_counting.begin_pin_try, phone.identity_id)
    pin_try = await side.settings.vault().checked(begun, Secret(PIN.encode()))
    await side.database.run(payer_operations.unbind_phone, uri)
    await bind(side, await side.shopper(), phone.certified.uri.rpartition("/")[2])
    with refused(Reason.PHONE_NOT_BOUND):
        await side.database.run(payer_operations.sign_in, uri, pin_try, Secret(b"t"), 2**60)


async def test_a_pin_that_arrives_again_late_is_not_set_again(side: Side) -> None:
    phone = await payer(side)
    request_id = new_request_id()
    await set_pin(side, phone.identity_id, NEW_PIN, request_id)
    await set_pin(side, phone.identity_id, PIN)
    await set_pin(side, phone.identity_id, NEW_PIN, request_id)
    assert await outcome(phone, PIN) == "signed in"
    with refused(Reason.IDENTITY_NOT_FOUND):
        await set_pin(side, "nobody")


# The till's PIN pad


async def waiting(side: Side, minor: int = 1000) -> tuple[Phone, order_pb2.Order, payment_pb2.Payment]:
    """A payer whose payment a till has asked for by knowing their id."""
    phone = await payer(side)
    order = await side.order(phone.identity_id, minor)
    payment = await pay_at_till(side, order)
    assert state_and_reason(payment) == ("AWAITING_PAYER", "")
    return phone, order, payment


def keyed_in(payment: payment_pb2.Payment, pin: str, request_id: str = "") -> payments_api.ConfirmPaymentRequest:
    return payments_api.ConfirmPaymentRequest(
        request_id=request_id or new_request_id(),
        payment_id=payment.payment_id,
        store_id=payment.store_id,
        amount=payment.amount,
        pin=pin,
    )


async def at_the_pad(
    side: Side, request: payments_api.ConfirmPaymentRequest, till: Caller = TILL
) -> payment_pb2.Payment:
    with acting(till):
        return await side.payments.ConfirmPayment(request)


async def test_the_pin_at_the_till_is_the_payer_s_yes(side: Side) -> None:
    phone, order, payment = await waiting(side)
    paid = await at_the_pad(side, request := keyed_in(payment, PIN))
    assert state_and_reason(paid) == ("CAPTURED", "")
    assert await side.wallet(phone.identity_id) == (4000, 0)
    request.pin = ""  # a till that keeps no PIN asks again all the same
    assert await at_the_pad(side, request) == paid
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_PAID


async def test_after_a_wrong_pin_the_payment_waits_on_and_the_next_one_pays(side: Side) -> None:
    phone, _, payment = await waiting(side)
    request = keyed_in(payment, WRONG_PIN)
    for _ in range(2):  # the same message twice is one try
        with refused(Reason.PIN_WRONG) as _:
            await at_the_pad(side, request)
    request.pin = PIN
    with refused(Reason.PIN_WRONG):  # another try is another request
        await at_the_pad(side, request)
    assert await side.state(payment.payment_id) == ("AWAITING_PAYER", "")
    assert await outcome(phone, WRONG_PIN) == "PIN_WRONG 3"
    assert state_and_reason(await at_the_pad(side, keyed_in(payment, PIN))) == ("CAPTURED", "")


async def test_five_wrong_pins_at_the_till_lock_and_the_payment_ends_with_its_window(side: Side) -> None:
    phone, order, payment = await waiting(side)
    for _ in range(4):
        with refused(Reason.PIN_WRONG):
            await at_the_pad(side, keyed_in(payment, WRONG_PIN))
    for pin in (WRONG_PIN, PIN):
        with refused(Reason.PIN_LOCKED):
            await at_the_pad(side, keyed_in(payment, pin))
    side.clock.advance(payment.confirm_remaining.ToMilliseconds())
    with refused(Reason.PAYMENT_NOT_WAITING):
        await at_the_pad(side, keyed_in(payment, PIN))
    assert await side.finish(payment.payment_id) == ("VOIDED", "PAYER_TIMEOUT")
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_OPEN
    assert await side.wallet(phone.identity_id) == (5000, 0)


@pytest.mark.parametrize(
    ("store_id", "amount"),
    [("store-2", gbp(1000)), (STORE, gbp(999)), (STORE, Money(currency_code="USD", minor_units=1000))],
)
async def test_a_pin_is_for_exactly_the_shop_and_the_amount_that_were_shown(
    side: Side, store_id: str, amount: Money
) -> None:
    phone, _, payment = await waiting(side)
    request = keyed_in(payment, PIN)
    request.store_id = store_id
    request.amount.CopyFrom(amount)
    with refused(Reason.CONSENT_MISMATCH):
        await at_the_pad(side, request)
    assert await side.wallet(phone.identity_id) == (5000, 0)
    assert await outcome(phone, WRONG_PIN) == "PIN_WRONG 4"  # nobody tried a PIN by that


async def test_a_store_without_the_pin_has_no_yes(side: Side) -> None:
    _, _, payment = await waiting(side)
    with refused(CommonReason.INVALID_FIELD):
        await at_the_pad(side, keyed_in(payment, ""))
    with refused(CommonReason.STORE_DENIED):
        await at_the_pad(side, keyed_in(payment, PIN), OTHER_TILL)
    assert await side.state(payment.payment_id) == ("AWAITING_PAYER", "")


async def test_without_a_secret_file_nothing_that_needs_it_is_done(
    database_url: str, tmp_path: Path, order_service: Server, clock: ManualClock
) -> None:
    async with payment_side(database_url, tmp_path, order_service.address, clock) as side:
        phone, _, payment = await waiting(side)
    async with payment_side(database_url, tmp_path, order_service.address, clock, secret=False) as side:
        await nothing_secret_is_done(side, replace(phone, side=side), payment)
        assert await side.state(payment.payment_id) == ("AWAITING_PAYER", "")


async def test_a_code_that_a_server_without_its_secret_was_sent_pays_once_it_has_it(
    database_url: str, tmp_path: Path, order_service: Server, clock: ManualClock
) -> None:
    payment_id = new_request_id()
    async with payment_side(database_url, tmp_path, order_service.address, clock) as side:
        phone, order = await payer(side), await order_under_reference(side)
    async with payment_side(database_url, tmp_path, order_service.address, clock, secret=False) as side:
        with refused(Reason.SECRET_MISSING):
            await scan(side, order, phone.code(), payment_id=payment_id)
    async with payment_side(database_url, tmp_path, order_service.address, clock) as side:
        payment = await scan(side, order, phone.code(), payment_id=payment_id)
        assert state_and_reason(payment) == ("CAPTURED", "")


async def nothing_secret_is_done(side: Side, phone: Phone, payment: payment_pb2.Payment) -> None:
    bind_ = phones_api.BindPhoneRequest(request_id=new_request_id(), identity_id=phone.identity_id, phone_id="d")
    code = payments_api.CreatePaymentRequest(
        payment_id=new_request_id(),
        order_id="o",
        order_version=1,
        payer=named("r"),
        amount=gbp(1),
        pay_code=phone.code(),
    )
    for attempt in (
        phone.sign_in(),
        set_pin(side, phone.identity_id),
        side.phones.BindPhone(bind_),
        side.payments.CreatePayment(code),
        at_the_pad(side, keyed_in(payment, PIN)),
    ):
        with refused(Reason.SECRET_MISSING):
            await attempt
    bound = await side.phones.ListPhones(phones_api.ListPhonesRequest(identity_id=phone.identity_id))
    assert "d" not in {each.phone_id for each in bound.phones}


async def test_pins_that_come_all_at_once_leave_a_core_to_everything_else(side: Side) -> None:
    vault = side.settings.vault()
    hashes = await asyncio.gather(*(vault.hash_pin("ada", Secret(PIN.encode())) for _ in range(8)))
    assert len(set(hashes)) == 8
    hashing = [thread for thread in threading.enumerate() if thread.name.startswith("pin_")]
    assert 1 <= len(hashing) <= max(1, (os.cpu_count() or 1) - 1)
