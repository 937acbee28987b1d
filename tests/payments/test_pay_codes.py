"""Pay codes: who shows one has said yes, once, for half a minute, at one till; nobody guesses one or uses it twice."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from sqlalchemy import Dialect
from sqlalchemy.sql import ClauseElement
from stdnum import luhn

from tests.payments.phones import (
    OTHER_TILL,
    PLATFORM,
    TILL,
    Phone,
    acting,
    bind,
    order_under_reference,
    payer,
    scan,
)
from tests.payments.side import STORE, Side, asked, named, refused, state_and_reason
from thirdparty_server.payers import pay_codes
from thirdparty_server.payments import payer_search
from thirdparty_server.payments.model import Payment
from tillmesh import paycode
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.origin import NOWHERE
from tillmesh.payer import reference
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.money import Money
from tillmesh.runtime.secret import Secret
from tillmesh.storage import statements

STEP_MS = 30_000
LOCK_MS = 900_000
INVALID = ("VOIDED", "PAY_CODE_INVALID")
USED = ("VOIDED", "PAY_CODE_USED")
LOCKED = ("VOIDED", "PAY_CODE_LOCKED")
PAID = ("CAPTURED", "")


def test_the_documented_code_is_what_the_format_says() -> None:
    """The vector of docs/security.md, for those who write a phone in another language."""
    key, step = Secret(bytes(range(32))), 60_000_000
    assert paycode.mac_of("12345678", key, step) == "946565008"
    assert paycode.make("12345678", key, step).value == b"27123456789465650089"
    parsed = paycode.parse(Secret(b"27123456789465650089"))
    assert parsed is not None
    assert (parsed.handle, parsed.mac) == ("12345678", "946565008")
    assert (paycode.step_at(1_800_000_000_000), paycode.step_at(1_800_000_029_999)) == (step, step)
    assert paycode.step_at(1_800_000_030_000) == step + 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "27",
        "27123456789465650088",
        "27123456789465650098",
        "28123456789465650087",
        "2712345678946565008",
        "271234567894656500899",
        "27 1234 5678 9465 6500 89",
        "27123456789465650089\n",
        "２７１２３４５６７８９４６５６５００８９",
        "\xff" * 20,
    ],
)
def test_what_is_no_code_is_not_taken_for_one(text: str) -> None:
    assert paycode.parse(Secret(text.encode())) is None


def test_a_code_and_a_key_do_not_show_themselves() -> None:
    code = paycode.make("12345678", Secret(bytes(range(32))), 1)
    parsed = paycode.parse(code)
    for hidden in (code, parsed):
        assert "12345678" not in f"{hidden!r} {hidden}"


async def test_who_shows_a_code_pays_and_the_store_learns_a_name_and_no_more(side: Side) -> None:
    phone = await payer(side)
    order = await order_under_reference(side)
    payment = await scan(side, order, phone.code())
    assert state_and_reason(payment) == PAID
    assert (payment.payer, payment.identity_id, payment.payer_display_name) == (order.payer, "", "Ada")
    assert await side.wallet(phone.identity_id) == (4000, 0)
    assert (await side.order_now(order)).state == order_pb2.Order.STATE_PAID
    with acting(PLATFORM):
        seen = await side.payment(payment.payment_id)
    assert (seen.payer, seen.identity_id) == (order.payer, phone.identity_id)


async def test_a_payment_like_the_one_before_compiles_no_statement(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    phone = await payer(side)
    assert state_and_reason(await scan(side, await order_under_reference(side), phone.code())) == PAID
    compiled: list[object] = []
    compile_anew = statements._compile

    def count(statement: ClauseElement, names: Sequence[str], dialect: Dialect) -> statements._Compiled:
        compiled.append(statement)
        return compile_anew(statement, names, dialect)

    monkeypatch.setattr(statements, "_compile", count)
    assert state_and_reason(await scan(side, await order_under_reference(side), phone.code(1))) == PAID
    assert compiled == []


async def test_a_store_cannot_find_out_whose_payments_belong_together(side: Side) -> None:
    phone = await payer(side)
    order = await order_under_reference(side)
    payment = await scan(side, order, phone.code())
    with acting(TILL):
        refund = await side.refund(payment.payment_id, 400)
        by_identity = payments_api.ListPaymentsRequest(store_id=STORE, identity_id=phone.identity_id)
        with refused(CommonReason.INVALID_FIELD):
            await side.payments.ListPayments(by_identity)
        by_name = payments_api.ListPaymentsRequest(store_id=STORE, payer=named(phone.identity_id))
        assert not (await side.payments.ListPayments(by_name)).payments
        by_reference = payments_api.ListPaymentsRequest(store_id=STORE, payer=order.payer)
        [listed] = (await side.payments.ListPayments(by_reference)).payments
        read = await side.payment(payment.payment_id)
        events = await side.payments.ListPaymentEvents(
            payments_api.ListPaymentEventsRequest(payment_id=payment.payment_id)
        )
    for shown in (payment, refund, listed, read, events):
        assert phone.identity_id not in f"{shown}"
    assert refund.payer == order.payer
    assert await side.wallet(phone.identity_id) == (4400, 0)


@pytest.mark.parametrize(
    ("steps", "outcome"), [(-2, INVALID), (-1, PAID), (0, PAID), (1, PAID), (2, INVALID), (1000, INVALID)]
)
async def test_a_code_is_good_for_its_half_minute_and_those_beside_it(
    side: Side, steps: int, outcome: tuple[str, str]
) -> None:
    phone = await payer(side)
    payment = await scan(side, await order_under_reference(side), phone.code(steps))
    assert state_and_reason(payment) == outcome


async def test_a_code_is_good_once_and_so_is_every_one_before_it(side: Side) -> None:
    phone = await payer(side)
    before, now, after = (phone.code(steps) for steps in (-1, 0, 1))
    assert state_and_reason(await scan(side, await order_under_reference(side), now)) == PAID
    for code in (now, before):
        assert state_and_reason(await scan(side, await order_under_reference(side), code)) == USED
        assert state_and_reason(await scan(side, await order_under_reference(side), code, OTHER_TILL)) == USED
    assert state_and_reason(await scan(side, await order_under_reference(side), after)) == PAID
    assert await side.wallet(phone.identity_id) == (3000, 0)


async def test_one_code_at_twenty_tills_at_once_pays_once(side: Side) -> None:
    phone = await payer(side, funds=50_000)
    tills = [replace(TILL, uri=f"{TILL.uri}{number}") for number in range(20)]
    orders = [await order_under_reference(side) for _ in tills]
    code = phone.code()
    payments = await asyncio.gather(*(scan(side, order, code, till) for order, till in zip(orders, tills, strict=True)))
    assert Counter(map(state_and_reason, payments)) == {USED: 19, PAID: 1}
    assert await side.wallet(phone.identity_id) == (49_000, 0)


def guesses(rng: random.Random, phone: Phone, other: Phone, used: list[str]) -> list[str]:
    """One of each kind of code that must not count."""
    step = paycode.step_at(phone.side.clock.now_ms())
    body = f"{paycode.PREFIX}{phone.handle}{rng.randrange(10**9):09}"
    unknown = f"{paycode.PREFIX}{rng.randrange(10**8):08}{rng.randrange(10**9):09}"
    theirs = paycode.make(phone.handle, other.key, step).value.decode()
    late = paycode.make(phone.handle, phone.key, step + rng.choice((-1, 1)) * rng.randrange(2, 10**6))
    return [
        body + luhn.calc_check_digit(body),
        unknown + luhn.calc_check_digit(unknown),
        str(rng.randrange(10**20)),
        theirs,
        late.value.decode(),
        rng.choice(used),
    ]


async def test_of_thousands_of_guessed_and_replayed_codes_none_counts(side: Side, rng: random.Random) -> None:
    phone, other = await payer(side), await payer(side)
    used: list[str] = []
    refusals: Counter[str] = Counter()
    vault = side.settings.vault()

    async def guess(code: str) -> None:
        shown = pay_codes.ShownCode(Secret(code.encode()), vault, LOCK_MS)
        now_ms = side.clock.now_ms()
        asked = Payment(
            payment_id="p",
            order_id="o",
            order_version=1,
            payer=reference(new_request_id()),
            amount=Money("GBP", 1),
            origin=NOWHERE,
            created_at_ms=now_ms,
            updated_at_ms=now_ms,
        )
        found = await side.database.run(payer_search.find_payer, asked, shown)
        assert found.identity is None
        refusals[found.reason] += 1

    # Fewer on PostgreSQL: most are refused before the database is asked.
    many = 10_000 if side.settings.database_url.startswith("sqlite") else 1_000
    while refusals.total() < many:
        side.clock.advance(LOCK_MS)  # what is locked gets free, so that it is not the lock alone that holds
        used.append(phone.code())
        assert state_and_reason(await scan(side, await order_under_reference(side, 1), used[-1])) == PAID
        await asyncio.gather(*(guess(code) for _ in range(20) for code in guesses(rng, phone, other, used)))
    assert set(refusals) == {"PAY_CODE_INVALID", "PAY_CODE_USED", "PAY_CODE_LOCKED"}
    assert await side.wallet(phone.identity_id) == (5_000 - len(used), 0)
    assert await side.wallet(other.identity_id) == (5_000, 0)


async def miss(side: Side, phone: Phone, times: int) -> None:
    """Shows codes that are wrong but for their handle."""
    other = await payer(side)
    wrong = replace(phone, key=other.key)
    for _ in range(times):
        assert state_and_reason(await scan(side, await order_under_reference(side), wrong.code())) == INVALID


async def test_five_wrong_codes_lock_a_phone_s_codes_for_a_while(side: Side) -> None:
    phone = await payer(side)
    await miss(side, phone, 4)
    assert state_and_reason(await scan(side, await order_under_reference(side), phone.code())) == PAID
    side.clock.advance(STEP_MS)
    await miss(side, phone, 5)
    assert state_and_reason(await scan(side, await order_under_reference(side), phone.code())) == LOCKED
    side.clock.advance(LOCK_MS - 1)
    assert state_and_reason(await scan(side, await order_under_reference(side), phone.code())) == LOCKED
    side.clock.advance(1)
    assert state_and_reason(await scan(side, await order_under_reference(side), phone.code())) == PAID


async def test_a_locked_phone_gets_a_new_key_and_pays(side: Side) -> None:
    phone = await payer(side)
    await miss(side, phone, 5)
    old = phone.code()
    await phone.sign_in()
    await phone.renew_key()
    assert state_and_reason(await scan(side, await order_under_reference(side), old)) == INVALID
    assert state_and_reason(await scan(side, await order_under_reference(side), phone.code())) == PAID


async def test_a_till_that_forgot_the_code_asks_again_without_it(side: Side) -> None:
    phone = await payer(side)
    order, payment_id = await order_under_reference(side), new_request_id()
    first = await scan(side, order, phone.code(), payment_id=payment_id)
    assert await scan(side, order, "", payment_id=payment_id) == first
    assert await scan(side, order, "27123456789465650089", payment_id=payment_id) == first
    assert await side.wallet(phone.identity_id) == (4000, 0)


async def test_both_phones_of_a_payer_have_codes_of_their_own(side: Side) -> None:
    first = await payer(side)
    second = await bind(side, first.identity_id)
    for phone in (first, second):
        assert state_and_reason(await scan(side, await order_under_reference(side), phone.code())) == PAID
    assert await side.wallet(first.identity_id) == (3000, 0)


async def test_codes_are_for_tills_alone(side: Side) -> None:
    phone = await payer(side)
    await phone.sign_in()
    request = asked(await side.order(phone.identity_id))
    request.pay_code = phone.code()
    for who in (PLATFORM, await phone.admitted()):
        with acting(who), refused(CommonReason.INVALID_FIELD):
            await side.payments.CreatePayment(request)
    assert state_and_reason(await scan(side, await order_under_reference(side), request.pay_code)) == PAID


async def test_a_code_does_not_convert_money(side: Side) -> None:
    identity_id = await side.shopper(funds=5000, currency="JPY")
    phone = await bind(side, identity_id)
    payment = await scan(side, await order_under_reference(side), phone.code())
    assert state_and_reason(payment) == ("VOIDED", "WALLET_NOT_FOUND")


async def test_codes_of_an_unbound_phone_no_longer_count(side: Side) -> None:
    phone = await payer(side)
    phone_id = phone.certified.uri.rpartition("/")[2]
    unbind = phones_api.UnbindPhoneRequest(request_id=new_request_id(), phone_id=phone_id)
    with acting(PLATFORM):
        await side.phones.UnbindPhone(unbind)
    assert state_and_reason(await scan(side, await order_under_reference(side), phone.code())) == INVALID
