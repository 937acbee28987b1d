"""Payers with certificates at real servers: a session is its phone's, and no secret is left anywhere."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.processes import DEADLINE_S, wait_until
from tests.terminal.till import Behind, goods
from tests.trust.certified import ALL, HERE, TILL, Shops, refusal, running_shops
from tests.trust.secrets import NEW_PIN, PIN, WRONG_PIN, files_with_secrets, keep, keep_bytes
from tests.trust.test_stores import payment_of
from tillmesh import paycode
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.api.payment.v1.identity_service_pb2_grpc import IdentityServiceStub
from tillmesh.api.payment.v1.payer_service_pb2_grpc import PayerServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.phone_service_pb2_grpc import PhoneServiceStub
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Role
from tillmesh.runtime.clock import SystemClock
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

STATE = payment_pb2.Payment.State
Metadata = tuple[tuple[str, str], ...]


@dataclass
class Phone:
    """A payer's phone with a certificate of its own."""

    channel: grpc.Channel
    identity_id: str
    handle: str
    key: Secret
    token: str = ""

    @property
    def payers(self) -> Any:
        return PayerServiceStub(self.channel)

    @property
    def payments(self) -> Any:
        return PaymentServiceStub(self.channel)

    @property
    def bearer(self) -> Metadata:
        return (("authorization", f"Bearer {self.token}"),)

    def sign_in(self, pin: str = PIN) -> payers_api.Session:
        session: payers_api.Session = self.payers.SignIn(payers_api.SignInRequest(pin=pin), timeout=DEADLINE_S)
        self.token = keep(session.access_token)
        return session

    def code(self) -> str:
        step = paycode.step_at(SystemClock().now_ms())
        return keep(paycode.make(self.handle, self.key, step).value.decode())

    def reads(self, payment_id: str, metadata: Metadata) -> payment_pb2.Payment:
        """A payment, with that metadata."""
        request = payments_api.GetPaymentRequest(payment_id=payment_id)
        answer: payment_pb2.Payment = self.payments.GetPayment(request, metadata=metadata, timeout=DEADLINE_S)
        return answer


def new_phone(shops: Shops, identity_id: str, name: str = "") -> Phone:
    """A phone that the platform has bound to an identity, which gets a PIN."""
    phone_id = name or new_request_id()
    platform = shops.channel(Role.PAYMENTS, shops.authority.folder_of(Role.PLATFORM, ALL))
    pin = identities_api.SetPinRequest(request_id=new_request_id(), identity_id=identity_id, pin=PIN)
    IdentityServiceStub(platform).SetPin(pin)
    request = phones_api.BindPhoneRequest(request_id=new_request_id(), identity_id=identity_id, phone_id=phone_id)
    key = PhoneServiceStub(platform).BindPhone(request, timeout=DEADLINE_S).pay_code_key
    channel = shops.channel(Role.PAYMENTS, shops.authority.issue(Role.PHONE, phone_id))
    return Phone(channel, identity_id, key.handle, keep_bytes(key.key))


def sold(shops: Shops, payer: Payer) -> order_pb2.Order:
    request = orders_api.CreateOrderRequest(
        request_id=new_request_id(), store_id=HERE, payer=payer, currency_code="GBP", lines=[goods(700)]
    )
    return shops.platform.orders.CreateOrder(request)


def whoever() -> Payer:
    """Under whom a till raises an order whose shopper will show a pay code."""
    return Payer(reference=new_request_id())


def scanned(shops: Shops, code: str) -> payment_pb2.Payment:
    """A till takes a payment with the code that a phone shows."""
    return scanned_for(shops, sold(shops, whoever()), code)


def scanned_for(shops: Shops, order: order_pb2.Order, code: str) -> payment_pb2.Payment:
    request = payment_of(order)
    request.pay_code = code
    till = shops.behind(shops.authority.folder_of(Role.TERMINAL, HERE, TILL))
    return till.payments.CreatePayment(request, timeout=DEADLINE_S)


def test_a_payer_signs_in_shows_a_code_and_reads_the_payment(shops: Shops) -> None:
    phone = new_phone(shops, shops.platform.shopper(funds=10_000))
    phone.sign_in()
    payment = scanned(shops, phone.code())
    assert (STATE.Name(payment.state), payment.payer_display_name, payment.identity_id) == ("STATE_CAPTURED", "Ada", "")
    assert phone.reads(payment.payment_id, phone.bearer).identity_id == phone.identity_id
    request = payment_of(sold(shops, Payer(identity_id=phone.identity_id)))
    paid = phone.payments.CreatePayment(request, metadata=phone.bearer, timeout=DEADLINE_S)
    assert STATE.Name(paid.state) == "STATE_CAPTURED"


def test_a_stolen_token_is_worth_nothing_with_another_certificate(shops: Shops) -> None:
    phone, thief = (new_phone(shops, shops.platform.shopper()) for _ in range(2))
    phone.sign_in()
    payment = scanned(shops, phone.code())
    thief.token = phone.token
    for headers in (phone.bearer, (), (("authorization", phone.token),), (("authorization", "Bearer "),)):
        with pytest.raises(grpc.RpcError) as raised:
            thief.reads(payment.payment_id, headers)
        assert isinstance(raised.value, grpc.Call)
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    thief.sign_in()
    with pytest.raises(grpc.RpcError) as raised:
        thief.reads(payment.payment_id, thief.bearer)
    assert isinstance(raised.value, grpc.Call)
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert phone.reads(payment.payment_id, phone.bearer).payment_id == payment.payment_id


def test_a_lost_phone_is_revoked_with_its_session(shops: Shops) -> None:
    phone = new_phone(shops, shops.platform.shopper(), "lost")
    phone.sign_in()
    before = shops.authority.denied.read_bytes() if shops.authority.denied.exists() else b""
    shops.authority.deny("spiffe://tillmesh/phone/lost")
    try:
        refused = refusal(phone.payers.SignIn, payers_api.SignInRequest(pin=PIN))
        assert "spiffe://tillmesh/phone/lost is revoked" in refused.text
    finally:
        shops.authority.denied.write_bytes(before)
    phone.sign_in()


# Who did it


def test_a_store_sees_payer_in_place_of_the_phone_and_the_platform_sees_who_it_was(shops: Shops) -> None:
    phone = new_phone(shops, shops.platform.shopper(), "phone-of-ada")
    phone.sign_in()
    request = payment_of(sold(shops, Payer(identity_id=phone.identity_id)))
    paid = phone.payments.CreatePayment(request, metadata=phone.bearer, timeout=DEADLINE_S)
    events = payments_api.ListPaymentEventsRequest(payment_id=paid.payment_id)
    till = shops.behind(shops.authority.folder_of(Role.TERMINAL, HERE, TILL))
    seen = {
        "store": till.payments.ListPaymentEvents(events, timeout=DEADLINE_S).events,
        "platform": shops.platform.payments.ListPaymentEvents(events, timeout=DEADLINE_S).events,
        "payer": phone.payments.ListPaymentEvents(events, metadata=phone.bearer, timeout=DEADLINE_S).events,
    }
    server, own = f"spiffe://tillmesh/payments/{ALL}", "spiffe://tillmesh/phone/phone-of-ada"
    assert {event.actor for event in seen["store"]} == {"payer", server}
    assert {event.actor for event in seen["platform"]} == {event.actor for event in seen["payer"]} == {own, server}
    created = payment_pb2.PaymentEvent.TYPE_CREATED
    assert [event.actor for event in seen["platform"] if event.type == created] == [own]


def test_an_order_s_history_names_who_asked_and_then_the_payment_server(shops: Shops) -> None:
    folder = shops.authority.folder_of(Role.TERMINAL, HERE, TILL)
    till = shops.behind(folder)
    request = orders_api.CreateOrderRequest(
        request_id=new_request_id(), store_id=HERE, payer=whoever(), currency_code="GBP", lines=[goods(700)]
    )
    order = till.orders.CreateOrder(request, timeout=DEADLINE_S)
    assert scanned_for(shops, order, new_phone(shops, shops.platform.shopper()).code()).state == STATE.STATE_CAPTURED
    events = orders_api.ListOrderEventsRequest(order_id=order.order_id)
    terminal, server = f"spiffe://tillmesh/terminal/{HERE}/{TILL}", f"spiffe://tillmesh/payments/{ALL}"
    for reader in (till, shops.platform):
        assert [event.actor for event in reader.orders.ListOrderEvents(events, timeout=DEADLINE_S).events] == [
            terminal,
            server,
            server,
        ]


# No secret is left


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[Shops]:
    """Servers that log all that they can."""
    with running_shops(tmp_path, "--log-level", "DEBUG") as shops:
        yield shops


def use_every_secret(shops: Shops) -> None:
    """All that a PIN, a code, a token and a key are good for, right and wrong."""
    shopper = shops.platform.shopper()
    phone = new_phone(shops, shopper)
    phone.sign_in()
    code = phone.code()
    assert scanned(shops, code).state == STATE.STATE_CAPTURED
    assert scanned(shops, code).reason == "PAY_CODE_USED"
    assert refusal(phone.payers.SignIn, payers_api.SignInRequest(pin=WRONG_PIN)).reason == "PIN_WRONG"
    assert refusal(phone.payers.SignIn, payers_api.SignInRequest(pin=f"{PIN}-{PIN}")).reason == "INVALID_FIELD"
    renew = payers_api.RenewPayCodeKeyRequest(request_id=new_request_id())
    keep_bytes(phone.payers.RenewPayCodeKey(renew, metadata=phone.bearer, timeout=DEADLINE_S).key)
    assert scanned(shops, phone.code()).reason == "PAY_CODE_INVALID"
    pay_at_the_pin_pad(shops, shopper)
    phone.payers.SignOut(payers_api.SignOutRequest(), metadata=phone.bearer, timeout=DEADLINE_S)
    stub = IdentityServiceStub(shops.channel(Role.PAYMENTS, shops.authority.folder_of(Role.PLATFORM, ALL)))
    for identity_id, pin in ((shopper, NEW_PIN), ("nobody", NEW_PIN)):
        request = identities_api.SetPinRequest(request_id=new_request_id(), identity_id=identity_id, pin=pin)
        if identity_id == shopper:
            stub.SetPin(request, timeout=DEADLINE_S)
            request.identity_id = "another"  # the same id with other content
        assert refusal(stub.SetPin, request).code in (grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.NOT_FOUND)


def pay_at_the_pin_pad(shops: Shops, shopper: str) -> None:
    till: Behind = shops.behind(shops.authority.folder_of(Role.TERMINAL, HERE, TILL))
    waiting = till.payments.CreatePayment(payment_of(sold(shops, Payer(identity_id=shopper))), timeout=DEADLINE_S)
    for pin, outcome in ((WRONG_PIN, "PIN_WRONG"), (PIN, "")):
        request = payments_api.ConfirmPaymentRequest(
            request_id=new_request_id(), payment_id=waiting.payment_id, store_id=HERE, amount=waiting.amount, pin=pin
        )
        if outcome:
            assert refusal(till.payments.ConfirmPayment, request).reason == outcome
        else:
            assert till.payments.ConfirmPayment(request, timeout=DEADLINE_S).state == STATE.STATE_CAPTURED


@pytest.mark.process
def test_no_secret_is_in_a_log_or_a_database(talkative: Shops, tmp_path: Path) -> None:
    use_every_secret(talkative)
    logged = [f'"method": "{name}"' for name in ("SignIn", "CreatePayment", "ConfirmPayment", "SetPin")]
    wait_until(lambda: all(said in talkative.payments.log.read_text() for said in logged))
    for server in talkative.servers.values():
        server.kill()  # what it had not checkpointed stays in the write-ahead log
    assert files_with_secrets(tmp_path) == []


@pytest.mark.process
@pytest.mark.parametrize("written", [PIN.encode(), PIN.encode().hex().encode(), base64.b64encode(f"o{PIN}.".encode())])
def test_a_secret_would_be_found(tmp_path: Path, written: bytes) -> None:
    """As it is, in hexadecimal digits, and in base64 within something else."""
    (tmp_path / "innocent.log").write_bytes(b"nothing to see")
    (tmp_path / "payments.db-wal").write_bytes(b"\0\xff" + written + b"\n\0")
    assert files_with_secrets(tmp_path) == [str(tmp_path / "payments.db-wal")]
    (tmp_path / "payments.db-wal").unlink()  # or the search after all tests finds it
