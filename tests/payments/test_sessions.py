"""Sessions and phones: a token counts from its own phone, for its own payer, for its time, and for nothing else."""

from collections.abc import Awaitable, Callable

import pytest
from google.protobuf import field_mask_pb2
from google.protobuf.message import Message

from tests.payments.phones import PLATFORM, Phone, acting, bind, pay_at_till, payer, set_pin
from tests.payments.side import Side, asked, gbp, named, refused, state_and_reason
from tests.trust.secrets import NEW_PIN
from thirdparty_server.access import ACCESS
from thirdparty_server.errors import Reason
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import identity_pb2, payment_pb2, wallet_pb2
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.api.payment.v1 import wallet_service_pb2 as wallets_api
from tillmesh.auth.callers import Role
from tillmesh.runtime.errors import CommonReason
from tillmesh.runtime.ids import new_request_id


async def signed_in(side: Side) -> Phone:
    phone = await payer(side)
    await phone.sign_in()
    assert (await phone.admitted()).identity_id == phone.identity_id
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
    assert (await phone.admitted()).identity_id == phone.identity_id
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
    assert (await other.admitted()).identity_id == other.identity_id


async def test_binding_anew_and_unbinding_end_a_session(side: Side) -> None:
    phone = await signed_in(side)
    phone_id = phone.certified.uri.rpartition("/")[2]
    again = await bind(side, phone.identity_id, phone_id)
    assert again.handle != phone.handle
    assert await is_out(phone)
    await again.sign_in()
    request = phones_api.UnbindPhoneRequest(request_id=new_request_id(), phone_id=phone_id)
    assert await side.phones.UnbindPhone(request) == phones_api.UnbindPhoneResponse()
    assert await is_out(again)
    assert await side.phones.UnbindPhone(request) == phones_api.UnbindPhoneResponse()
    request.request_id = new_request_id()
    with refused(Reason.PHONE_NOT_FOUND):
        await side.phones.UnbindPhone(request)


async def test_a_late_copy_of_an_unbinding_does_not_unbind_a_phone_that_was_bound_again(side: Side) -> None:
    phone = await signed_in(side)
    phone_id = phone.certified.uri.rpartition("/")[2]
    request = phones_api.UnbindPhoneRequest(request_id=new_request_id(), phone_id=phone_id)
    await side.phones.UnbindPhone(request)
    again = await bind(side, phone.identity_id, phone_id)
    await side.phones.UnbindPhone(request)
    assert await again.sign_in()


async def test_a_bound_phone_is_not_bound_to_somebody_else(side: Side) -> None:
    phone, other = await signed_in(side), await payer(side)
    request = phones_api.BindPhoneRequest(
        request_id=new_request_id(), identity_id=other.identity_id, phone_id=phone.certified.uri.rpartition("/")[2]
    )
    with refused(Reason.PHONE_BOUND):
        await side.phones.BindPhone(request)
    assert (await phone.admitted()).identity_id == phone.identity_id
    request.identity_id, request.request_id = "nobody", new_request_id()
    with refused(Reason.IDENTITY_NOT_FOUND):
        await side.phones.BindPhone(request)


@pytest.mark.parametrize("wrong", ["", "no spaces"])
async def test_what_a_phone_and_a_request_are_called_makes_sense(side: Side, wrong: str) -> None:
    bind_it = phones_api.BindPhoneRequest(request_id=wrong, identity_id=await side.shopper(), phone_id=wrong)
    unbind_it = phones_api.UnbindPhoneRequest(request_id=wrong, phone_id=wrong)
    for call in (lambda: side.phones.BindPhone(bind_it), lambda: side.phones.UnbindPhone(unbind_it)):
        with refused(CommonReason.INVALID_FIELD) as refusals:
            await call()
        assert [violation.field for violation in refusals[0].violations] == ["request_id", "phone_id"]


async def test_a_repeated_binding_makes_no_other_key_and_gets_the_phone_as_it_is_now(side: Side) -> None:
    identity_id = await side.shopper()
    request = phones_api.BindPhoneRequest(
        request_id=new_request_id(), identity_id=identity_id, phone_id=new_request_id()
    )
    bound = await side.phones.BindPhone(request)
    await set_pin(side, identity_id)
    assert (len(bound.pay_code_key.handle), len(bound.pay_code_key.key)) == (8, 32)
    assert await side.phones.BindPhone(request) == bound
    phone = await bind(side, identity_id, request.phone_id)
    now = await side.phones.BindPhone(request)
    assert (now.pay_code_key.handle, now.pay_code_key.key) == (phone.handle, phone.key.value)
    assert await phone.sign_in()  # and the late copy signed nobody out
    renew = payers_api.RenewPayCodeKeyRequest(request_id=new_request_id())
    with acting(await phone.admitted()):
        first = await side.payers.RenewPayCodeKey(renew)
        assert await side.payers.RenewPayCodeKey(renew) == first
    assert len({bound.pay_code_key.key, phone.key.value, first.key}) == 3


async def test_a_repeated_binding_of_a_phone_that_is_no_longer_bound_finds_none(side: Side) -> None:
    identity_id, other_id = await side.shopper(), await side.shopper()
    request = phones_api.BindPhoneRequest(request_id=new_request_id(), identity_id=identity_id, phone_id="lost")
    await side.phones.BindPhone(request)
    await side.phones.UnbindPhone(phones_api.UnbindPhoneRequest(request_id=new_request_id(), phone_id="lost"))
    with refused(Reason.PHONE_NOT_FOUND):
        await side.phones.BindPhone(request)
    theirs = await bind(side, other_id, "lost")
    with refused(Reason.PHONE_NOT_FOUND):  # nobody is given the key of another identity
        await side.phones.BindPhone(request)
    await set_pin(side, other_id)
    assert await theirs.sign_in()


async def test_a_payer_s_phones_are_listed_by_id_without_their_keys(side: Side) -> None:
    identity_id = await side.shopper()
    for phone_id in ("c", "a", "b"):
        await bind(side, identity_id, phone_id)
    await bind(side, await side.shopper(), "d")
    request = phones_api.ListPhonesRequest(identity_id=identity_id, page_size=2)
    first = await side.phones.ListPhones(request)
    request.page_token = first.next_page_token
    second = await side.phones.ListPhones(request)
    assert [phone.phone_id for phone in (*first.phones, *second.phones)] == ["a", "b", "c"]
    assert not second.next_page_token
    assert not any(phone.HasField("pay_code_key") for phone in first.phones)


async def test_without_certificates_no_payer_signs_in(side: Side) -> None:
    with refused(CommonReason.UNAUTHENTICATED):
        await side.payers.SignIn(payers_api.SignInRequest(pin=NEW_PIN))


# What is another payer's


Attempt = Callable[[Side, str, payment_pb2.Payment], Awaitable[Message]]

ATTEMPTS: dict[str, Attempt] = {
    "CreatePayment": lambda side, them, payment: side.payments.CreatePayment(
        payments_api.CreatePaymentRequest(
            payment_id=new_request_id(), order_id="o", order_version=1, payer=named(them), amount=gbp(1)
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
        accounts_api.GetAccountRequest(account_id=f"wallet/{them}/GBP")
    ),
    "ListAccountEntries": lambda side, them, payment: side.accounts.ListAccountEntries(
        accounts_api.ListAccountEntriesRequest(account_id=f"wallet/{them}/GBP")
    ),
    "GetIdentity": lambda side, them, payment: side.identities.GetIdentity(
        identities_api.GetIdentityRequest(identity_id=them)
    ),
    "UpdateIdentity": lambda side, them, payment: side.identities.UpdateIdentity(
        identities_api.UpdateIdentityRequest(
            request_id=new_request_id(),
            identity=identity_pb2.Identity(identity_id=them),
            update_mask=field_mask_pb2.FieldMask(paths=["display_name"]),
        )
    ),
    "GetWallet": lambda side, them, payment: side.wallets.GetWallet(
        wallets_api.GetWalletRequest(identity_id=them, currency_code="GBP")
    ),
    "ListWallets": lambda side, them, payment: side.wallets.ListWallets(
        wallets_api.ListWalletsRequest(identity_id=them)
    ),
    "UpdateWallet": lambda side, them, payment: side.wallets.UpdateWallet(
        wallets_api.UpdateWalletRequest(
            request_id=new_request_id(),
            wallet=wallet_pb2.Wallet(identity_id=them, currency_code="GBP"),
            update_mask=field_mask_pb2.FieldMask(paths=["confirmation_threshold"]),
        )
    ),
    "WatchPayments": lambda side, them, payment: anext(
        side.payments.WatchPayments(payments_api.WatchPaymentsRequest(identity_id=them))
    ),
    "ListPhones": lambda side, them, payment: side.phones.ListPhones(phones_api.ListPhonesRequest(identity_id=them)),
}
"""By the method that a payer may call for itself."""
OF_THE_PHONE = {"SignIn", "SignOut", "RenewPayCodeKey", "ListPendingOrders"}
"""What names nobody: it is about whoever calls."""
OF_A_CLAIM = {"ClaimOrder", "GetOrderClaim", "ReleaseOrderClaim"}
"""What is about orders that are nobody's yet: test_claims.py tries it."""


def test_every_method_that_a_payer_may_call_is_tried() -> None:
    open_to_payers = {name for table in ACCESS.values() for name, roles in table.items() if Role.PHONE in roles}
    assert open_to_payers == set(ATTEMPTS) | OF_THE_PHONE | OF_A_CLAIM


@pytest.mark.parametrize("method", ATTEMPTS)
async def test_a_payer_is_refused_what_is_another_s_as_if_it_did_not_exist(side: Side, method: str) -> None:
    they, we = await signed_in(side), await signed_in(side)
    payment = await pay_at_till(side, order := await side.order(they.identity_id))
    heard = []
    with acting(await we.admitted()):
        for them, about in ((they.identity_id, payment), ("nobody", payment_pb2.Payment())):
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
        for account_id in (
            f"sales/{account.store_id}/GBP",
            "external/GBP",
            phone.identity_id,
            "wallet/",
            "wallet//GBP",
        ):
            with refused(CommonReason.PAYER_DENIED):
                await side.accounts.GetAccount(accounts_api.GetAccountRequest(account_id=account_id))
        with refused(CommonReason.PAYER_DENIED):
            await side.payments.ListPayments(payments_api.ListPaymentsRequest(payer=named(phone.identity_id)))


async def test_payers_get_their_own_statement_and_payments(side: Side) -> None:
    phone = await signed_in(side)
    order = await side.order(phone.identity_id)
    with acting(await phone.admitted()):
        payment = await side.payments.CreatePayment(asked(order))
        assert state_and_reason(payment) == ("CAPTURED", "")
        wallet = f"wallet/{phone.identity_id}/GBP"
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
