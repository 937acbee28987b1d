"""Sessions and devices: a token counts from its own phone, for its own payer, for its time, and for nothing else."""

from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.message import Message

from tests.payments.phones import PLATFORM, Phone, acting, bind, pay_at_till, payer, set_pin
from tests.payments.side import Side, asked, gbp, refused, state_and_reason
from tests.trust.secrets import NEW_PIN
from thirdparty_server.access import ACCESS
from thirdparty_server.errors import Reason
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.runtime.callers import Role
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import new_request_id


async def signed_in(side: Side) -> Phone:
    phone = await payer(side)
    await phone.sign_in()
    assert (await phone.admitted()).payer_id == phone.identity_id
    return phone


async def is_out(phone: Phone, token: str | None = None) -> bool:
    with refused(CommonReason.SIGN_IN_REQUIRED):
        await phone.admitted(token=token)
    return True


async def test_a_session_says_who_signed_in_and_for_how_long(side: Side) -> None:
    phone = await payer(side)
    session = await phone.sign_in()
    assert session.identity.identity_id == phone.identity_id
    assert session.expire_time.ToMilliseconds() == side.clock.now_ms() + 900_000
    assert session.access_token not in f"{await phone.admitted()}"


async def test_a_session_ends_by_itself(side: Side) -> None:
    phone = await signed_in(side)
    side.clock.advance(900_000 - 1)
    assert (await phone.admitted()).payer_id == phone.identity_id
    side.clock.advance(1)
    assert await is_out(phone)


async def test_a_token_counts_from_the_phone_that_signed_in_alone(side: Side) -> None:
    phone = await signed_in(side)
    second, stranger = await bind(side, phone.identity_id), await payer(side)
    for other in (second, stranger):
        assert await is_out(other, phone.token)
    for token in ("", "x", phone.token[:-1], f"{phone.token} "):
        assert await is_out(phone, token)


async def test_signing_out_and_signing_in_anew_end_a_session(side: Side) -> None:
    phone = await signed_in(side)
    first = phone.token
    await phone.sign_in()
    assert await is_out(phone, first)
    with acting(await phone.admitted("SignOut")):
        await side.payers.SignOut(payers_api.SignOutRequest())
    assert await is_out(phone)


async def test_a_new_pin_ends_all_sessions_of_its_payer_and_no_others(side: Side) -> None:
    phone, other = await signed_in(side), await signed_in(side)
    second = await bind(side, phone.identity_id)
    await second.sign_in()
    await set_pin(side, phone.identity_id, NEW_PIN)
    assert await is_out(phone)
    assert await is_out(second)
    assert (await other.admitted()).payer_id == other.identity_id


async def test_binding_anew_and_unbinding_end_a_session(side: Side) -> None:
    phone = await signed_in(side)
    device_id = phone.device.uri.rpartition("/")[2]
    again = await bind(side, phone.identity_id, device_id)
    assert again.handle != phone.handle
    assert await is_out(phone)
    await again.sign_in()
    request = identities_api.UnbindDeviceRequest(request_id=new_request_id(), device_id=device_id)
    gone = await side.identities.UnbindDevice(request)
    assert (gone.identity_id, gone.pay_code_key.handle, gone.pay_code_key.key) == (phone.identity_id, "", b"")
    assert await is_out(again)
    assert await side.identities.UnbindDevice(request) == gone
    request.request_id = new_request_id()
    with refused(Reason.DEVICE_NOT_FOUND):
        await side.identities.UnbindDevice(request)


async def test_a_bound_phone_is_not_bound_to_somebody_else(side: Side) -> None:
    phone, other = await signed_in(side), await payer(side)
    request = identities_api.BindDeviceRequest(
        request_id=new_request_id(), identity_id=other.identity_id, device_id=phone.device.uri.rpartition("/")[2]
    )
    with refused(Reason.DEVICE_BOUND):
        await side.identities.BindDevice(request)
    assert (await phone.admitted()).payer_id == phone.identity_id
    request.identity_id, request.request_id = "nobody", new_request_id()
    with refused(Reason.IDENTITY_NOT_FOUND):
        await side.identities.BindDevice(request)


async def test_a_repeated_request_for_a_key_gets_the_first_one_although_it_is_kept_nowhere(side: Side) -> None:
    identity_id = await side.shopper()
    request = identities_api.BindDeviceRequest(
        request_id=new_request_id(), identity_id=identity_id, device_id=new_request_id()
    )
    bound = await side.identities.BindDevice(request)
    await set_pin(side, identity_id)
    assert (len(bound.pay_code_key.handle), len(bound.pay_code_key.key)) == (8, 32)
    phone = await bind(side, identity_id, request.device_id)
    assert await side.identities.BindDevice(request) == bound
    assert await phone.sign_in()  # and the late copy signed nobody out
    renew = payers_api.RenewPayCodeKeyRequest(request_id=new_request_id())
    with acting(await phone.admitted()):
        first = await side.payers.RenewPayCodeKey(renew)
        assert await side.payers.RenewPayCodeKey(renew) == first
    assert len({bound.pay_code_key.key, phone.key.value, first.key}) == 3


async def test_without_certificates_no_payer_signs_in(side: Side) -> None:
    with refused(CommonReason.UNAUTHENTICATED):
        await side.payers.SignIn(payers_api.SignInRequest(pin=NEW_PIN))


# What is another payer's


Attempt = Callable[[Side, str, payments_api.Payment], Awaitable[Message]]

ATTEMPTS: dict[str, Attempt] = {
    "CreatePayment": lambda side, them, payment: side.payments.CreatePayment(
        payments_api.CreatePaymentRequest(
            request_id=new_request_id(), order_id="o", order_version=1, payer_id=them, amount=gbp(1)
        )
    ),
    "GetPayment": lambda side, them, payment: side.payments.GetPayment(
        payments_api.GetPaymentRequest(payment_id=payment.payment_id)
    ),
    "ListPayments": lambda side, them, payment: side.payments.ListPayments(
        payments_api.ListPaymentsRequest(identity_id=them)
    ),
    "ListPaymentEvents": lambda side, them, payment: side.payments.ListPaymentEvents(
        payments_api.ListPaymentEventsRequest(payment_id=payment.payment_id)
    ),
    "ConfirmPayment": lambda side, them, payment: side.payments.ConfirmPayment(
        payments_api.ConfirmPaymentRequest(
            request_id=new_request_id(),
            payment_id=payment.payment_id,
            store_id=payment.store_id or "s",
            amount=payment.amount if payment.payment_id else gbp(1),
        )
    ),
    "CancelPayment": lambda side, them, payment: side.payments.CancelPayment(
        payments_api.CancelPaymentRequest(request_id=new_request_id(), payment_id=payment.payment_id)
    ),
    "GetAccount": lambda side, them, payment: side.accounts.GetAccount(
        accounts_api.GetAccountRequest(account_id=f"wallet/{them}")
    ),
    "ListAccountEntries": lambda side, them, payment: side.accounts.ListAccountEntries(
        accounts_api.ListAccountEntriesRequest(account_id=f"wallet/{them}")
    ),
    "GetIdentity": lambda side, them, payment: side.identities.GetIdentity(
        identities_api.GetIdentityRequest(identity_id=them)
    ),
    "UpdateIdentity": lambda side, them, payment: side.identities.UpdateIdentity(
        identities_api.UpdateIdentityRequest(request_id=new_request_id(), identity_id=them)
    ),
}
"""By the method that a payer may call for itself."""
OF_THE_DEVICE = {"SignIn", "SignOut", "RenewPayCodeKey", "ListPendingTransactions"}
"""What names nobody: it is about whoever calls."""


def test_every_method_that_a_payer_may_call_is_tried() -> None:
    open_to_payers = {name for table in ACCESS.values() for name, roles in table.items() if Role.PAYER in roles}
    assert open_to_payers == set(ATTEMPTS) | OF_THE_DEVICE


@pytest.mark.parametrize("method", ATTEMPTS)
async def test_a_payer_is_refused_what_is_another_s_as_if_it_did_not_exist(side: Side, method: str) -> None:
    they, we = await signed_in(side), await signed_in(side)
    payment = await pay_at_till(side, order := await side.order(they.identity_id))
    heard = []
    with acting(await we.admitted()):
        for them, about in ((they.identity_id, payment), ("nobody", payments_api.Payment())):
            with refused(CommonReason.PAYER_DENIED) as refusals:
                await ATTEMPTS[method](side, them, about)
            heard += [refusal.to_status("") for refusal in refusals]
    assert heard[0] == heard[1]
    assert await side.state(payment.payment_id) == ("AWAITING_PAYER", "")
    assert (await side.order_now(order)).payment_id == payment.payment_id


async def test_a_payer_reads_no_account_but_the_own_wallet_and_no_list_of_everybody_s(side: Side) -> None:
    phone = await signed_in(side)
    account = await side.captured(phone.identity_id)
    with acting(await phone.admitted()):
        for account_id in (f"sales/{account.store_id}/GBP", "external/GBP", phone.identity_id, "wallet/"):
            with refused(CommonReason.PAYER_DENIED):
                await side.accounts.GetAccount(accounts_api.GetAccountRequest(account_id=account_id))
        with refused(CommonReason.PAYER_DENIED):
            await side.payments.ListPayments(payments_api.ListPaymentsRequest(payer_id=phone.identity_id))


async def test_payers_get_their_own_statement_and_payments(side: Side) -> None:
    phone = await signed_in(side)
    order = await side.order(phone.identity_id)
    with acting(await phone.admitted()):
        payment = await side.payments.CreatePayment(asked(order))
        assert state_and_reason(payment) == ("CAPTURED", "")
        wallet = f"wallet/{phone.identity_id}"
        assert (await side.wallet(phone.identity_id)) == (4000, 0)
        entries = (
            await side.accounts.ListAccountEntries(accounts_api.ListAccountEntriesRequest(account_id=wallet))
        ).entries
        assert [entry.amount.minor_units for entry in entries] == [5000, -1000, -1000]
        assert await side.events(payment.payment_id) == ["CREATED", "FUNDS_HELD", "ORDER_PAID"]


async def test_a_request_id_is_its_payer_s_on_whatever_phone_and_nobody_else_s(side: Side) -> None:
    phone, stranger = await signed_in(side), await signed_in(side)
    second = await bind(side, phone.identity_id)
    await second.sign_in()
    request = asked(await side.order(phone.identity_id))
    with acting(await phone.admitted()):
        payment = await side.payments.CreatePayment(request)
    with acting(await second.admitted()):
        assert await side.payments.CreatePayment(request) == payment
    for who in (await stranger.admitted(), PLATFORM):
        with acting(who), refused(CommonReason.REQUEST_ID_REUSED):
            await side.payments.CreatePayment(request)
