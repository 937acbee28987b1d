"""kill -9 of the payment server between claim and payment: the claim is there afterwards, and pays once."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.payments.claims import new_code, presenting
from tests.payments.side import STORE, asked, gbp, line, state_and_reason
from tests.processes import Server, patient, running, start_server
from tests.trust.certified import ALL, TILL, flags
from tests.trust.secrets import PIN, files_with_secrets, keep, keep_bytes
from tillmesh.api.order.v1 import order_pb2
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import account_service_pb2 as accounts_api
from tillmesh.api.payment.v1 import claim_service_pb2 as claims_api
from tillmesh.api.payment.v1 import identity_service_pb2 as identities_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payers_api
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.payment.v1 import phone_service_pb2 as phones_api
from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceStub
from tillmesh.api.payment.v1.claim_service_pb2_grpc import ClaimServiceStub
from tillmesh.api.payment.v1.identity_service_pb2_grpc import IdentityServiceStub
from tillmesh.api.payment.v1.payer_service_pb2_grpc import PayerServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.phone_service_pb2_grpc import PhoneServiceStub
from tillmesh.api.type.v1.payer_pb2 import Payer
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.local.authority import Authority
from tillmesh.runtime.ids import new_request_id

FUNDS, PRICE = 10_000, 1_000
ADA, BOB = "ada", "bob"


class Mesh:
    """A payment server that is killed and started again, with certificates: only phones that signed in claim."""

    def __init__(self, folder: Path, authority: Authority, orders: Server, closing: ExitStack) -> None:
        self.folder, self._authority, self._orders, self._closing = folder, authority, orders, closing
        self._bearers: dict[str, Any] = {}
        self.start()

    def start(self) -> None:
        own = flags(self._authority, Role.PAYMENTS, ALL)
        self.server = start_server("thirdparty_server", self.folder, *own, "--orders", self._orders.address)

    def restart(self) -> None:
        self.server.kill()
        self.start()

    def channel(self, role: Role, *names: str, server: Role = Role.PAYMENTS) -> grpc.Channel:
        """A new connection of whoever has that certificate."""
        address = (self.server if server is Role.PAYMENTS else self._orders).address
        files = TlsFiles(self._authority.folder_of(role, *names), self._authority.mesh)
        return patient(self._closing.enter_context(files.open_blocking_channel(address, server)))

    def shopper(self, name: str) -> None:
        """An identity with money, a PIN, and a phone that it has signed in on."""
        platform = self.channel(Role.PLATFORM, ALL)
        identity = identities_api.CreateIdentityRequest(identity_id=name, currency_code="GBP")
        IdentityServiceStub(platform).CreateIdentity(identity)
        deposit = accounts_api.CreateDepositRequest(deposit_id=new_request_id(), identity_id=name, amount=gbp(FUNDS))
        AccountServiceStub(platform).CreateDeposit(deposit)
        pin = identities_api.SetPinRequest(request_id=new_request_id(), identity_id=name, pin=PIN)
        IdentityServiceStub(platform).SetPin(pin)
        phone = phones_api.BindPhoneRequest(request_id=new_request_id(), identity_id=name, phone_id=name)
        keep_bytes(PhoneServiceStub(platform).BindPhone(phone).pay_code_key.key)
        session = PayerServiceStub(self.channel(Role.PHONE, name)).SignIn(payers_api.SignInRequest(pin=PIN))
        self._bearers[name] = (("authorization", f"Bearer {keep(session.access_token)}"),)

    def order(self) -> order_pb2.Order:
        request = orders_api.CreateOrderRequest(
            request_id=new_request_id(),
            store_id=STORE,
            payer=Payer(reference=new_request_id()),
            currency_code="GBP",
            lines=[line(PRICE)],
        )
        return OrderServiceStub(self.channel(Role.PLATFORM, ALL, server=Role.ORDERS)).CreateOrder(request)

    def present(self, request: claims_api.PresentOrderRequest) -> Any:
        return ClaimServiceStub(self.channel(Role.TERMINAL, STORE, TILL)).PresentOrder(request)

    def claim(self, name: str, request: claims_api.ClaimOrderRequest) -> Any:
        return ClaimServiceStub(self.channel(Role.PHONE, name)).ClaimOrder(request, metadata=self._bearers[name])

    def claimed(self, name: str, order: order_pb2.Order) -> order_pb2.Order:
        request = claims_api.GetOrderClaimRequest(order_id=order.order_id)
        phone = ClaimServiceStub(self.channel(Role.PHONE, name))
        seen: order_pb2.Order = phone.GetOrderClaim(request, metadata=self._bearers[name]).order
        return seen

    def paying(self, name: str, request: payments_api.CreatePaymentRequest) -> Any:
        """A call that is under way."""
        phone = PaymentServiceStub(self.channel(Role.PHONE, name))
        return phone.CreatePayment.future(request, metadata=self._bearers[name])

    def wallet(self, name: str) -> int:
        request = accounts_api.GetAccountRequest(account_id=f"wallet/{name}/GBP")
        account = AccountServiceStub(self.channel(Role.PLATFORM, ALL)).GetAccount(request)
        assert account.held.minor_units == 0
        return account.posted.minor_units


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("claims")
    authority = Authority(folder / "tls")
    authority.create()
    keep_bytes(authority.secret.read_bytes())
    names = (Role.ORDERS, ALL), (Role.PAYMENTS, ALL), (Role.PLATFORM, ALL), (Role.PHONE, ADA), (Role.PHONE, BOB)
    for role, name in names:
        authority.issue(role, name)
    authority.issue(Role.TERMINAL, STORE, TILL)
    with ExitStack() as stack:
        orders = stack.enter_context(running("order_service", folder, *flags(authority, Role.ORDERS, ALL)))
        mesh = Mesh(folder, authority, orders, stack)
        stack.callback(lambda: mesh.server.kill())
        for name in (ADA, BOB):
            mesh.shopper(name)
        yield mesh
    assert files_with_secrets(folder) == []


def claiming(code: str) -> claims_api.ClaimOrderRequest:
    return claims_api.ClaimOrderRequest(request_id=new_request_id(), code=code)


def paying(order: order_pb2.Order, name: str) -> payments_api.CreatePaymentRequest:
    request = asked(order)
    request.payer.identity_id = name
    return request


def test_killed_between_claim_and_payment(mesh: Mesh) -> None:
    order, before = mesh.order(), mesh.wallet(ADA)
    mesh.present(presented := presenting(order, code := new_code()))
    request = claiming(code)
    seen = mesh.claim(ADA, request).order
    mesh.restart()
    assert mesh.present(presented).claimed  # what the till repeats undoes nothing
    assert mesh.claimed(ADA, order) == mesh.claim(ADA, request).order == seen
    with pytest.raises(grpc.RpcError, match="Somebody else has claimed the order"):
        mesh.claim(BOB, claiming(code))
    payment = mesh.paying(ADA, pay := paying(seen, ADA)).result()
    assert state_and_reason(payment) == ("CAPTURED", "")
    mesh.restart()
    assert mesh.paying(ADA, pay).result() == payment
    with pytest.raises(grpc.RpcError, match="or it has ended"):
        mesh.claimed(ADA, order)
    assert mesh.wallet(ADA) == before - PRICE


def test_killed_while_what_was_claimed_is_paid(mesh: Mesh) -> None:
    """Wherever the payment was then, a repeat finds it or makes it, and it is charged once."""
    for _ in range(3):
        order, before = mesh.order(), mesh.wallet(BOB)
        mesh.present(presenting(order, code := new_code()))
        request = paying(mesh.claim(BOB, claiming(code)).order, BOB)
        call = mesh.paying(BOB, request)
        mesh.restart()
        call.exception()
        assert state_and_reason(mesh.paying(BOB, request).result()) == ("CAPTURED", "")
        assert mesh.wallet(BOB) == before - PRICE


def test_killed_while_a_phone_claims(mesh: Mesh) -> None:
    order = mesh.order()
    mesh.present(presenting(order, code := new_code()))
    request = claiming(code)
    phone = ClaimServiceStub(mesh.channel(Role.PHONE, ADA))
    call = phone.ClaimOrder.future(request, metadata=mesh._bearers[ADA])
    mesh.restart()
    call.exception()
    assert mesh.claim(ADA, request).order.order_id == mesh.claimed(ADA, order).order_id == order.order_id
