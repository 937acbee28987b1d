"""The calls of a phone to the payment server, and the platform's call that enrols it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tillmesh.api.payment.v1 import identity_service_pb2 as identity_api
from tillmesh.api.payment.v1 import payer_service_pb2 as payer_api
from tillmesh.api.payment.v1 import phone_pb2
from tillmesh.api.payment.v1 import phone_service_pb2 as phone_api
from tillmesh.api.payment.v1.account_service_pb2_grpc import AccountServiceStub
from tillmesh.api.payment.v1.claim_service_pb2_grpc import ClaimServiceStub
from tillmesh.api.payment.v1.payer_service_pb2_grpc import PayerServiceStub
from tillmesh.api.payment.v1.payment_service_pb2_grpc import PaymentServiceStub
from tillmesh.api.payment.v1.phone_service_pb2_grpc import PhoneServiceStub
from tillmesh.api.payment.v1.wallet_service_pb2_grpc import WalletServiceStub
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.cli.phone.device import Phone
from tillmesh.client.connections import Addresses, Client, Connections, Server
from tillmesh.client.failures import Failure, NotLetIn
from tillmesh.local.authority import Authority
from tillmesh.runtime.foreign_text import named
from tillmesh.runtime.ids import new_request_id
from tillmesh.runtime.secret import Secret

if TYPE_CHECKING:  # the generated module has it in its types alone
    from tillmesh.api.payment.v1.phone_service_pb2_grpc import PhoneServiceAsyncStub

CERTIFIED_FOR = timedelta(days=30)


class SignedOut(Failure):
    """Nobody is signed in on the phone, or the session is over."""


class PhoneClient(Connections):
    """A phone's connection to the payment server, the only one it has."""

    def __init__(self, addresses: Addresses, phone: Phone) -> None:
        token = phone.token
        metadata = [("authorization", f"Bearer {token.value.decode()}")] if token else []
        tls = _certificate(addresses, phone.phone_id)
        server = Server("payment server", addresses.payments, Role.PAYMENTS, tls, metadata)
        super().__init__({"tillmesh.api.payment.v1": server})
        self.phone = phone
        self.payers = PayerServiceStub(server.channel)
        self.claims = ClaimServiceStub(server.channel)
        self.wallets = WalletServiceStub(server.channel)
        self.phones = PhoneServiceStub(server.channel)
        self.accounts = AccountServiceStub(server.channel)
        self.payments = PaymentServiceStub(server.channel)

    @contextmanager
    def _failing_plainly(self, server: Server) -> Iterator[None]:
        """As for everybody; says how to sign in where that is what is missing."""
        try:
            with super()._failing_plainly(server):
                yield
        except NotLetIn as error:
            raise SignedOut(f"{error} Do: tillmesh phone sign-in") from error

    async def sign_in(self, pin: Secret) -> Phone:
        """The phone with a session; the line itself goes on without."""
        session = await self.call(self.payers.SignIn, payer_api.SignInRequest(pin=pin.value.decode()))
        return replace(self.phone, token=Secret(session.access_token.encode()))

    async def new_key(self) -> Phone:
        """The phone with another key: codes of the one before no longer count."""
        request = payer_api.RenewPayCodeKeyRequest(request_id=new_request_id())
        made = await self.call(self.payers.RenewPayCodeKey, request)
        return replace(self.phone, handle=made.handle, key=Secret(made.key))


async def enroll(client: Client, addresses: Addresses, identity_id: str, phone_id: str) -> Phone:
    """As the platform: binds a phone to an identity, and makes its certificate."""
    folder = _ca_folder(addresses)
    request = phone_api.BindPhoneRequest(request_id=new_request_id(), identity_id=identity_id, phone_id=phone_id)
    bound = await client.call(client.phones.BindPhone, request)
    platform = addresses.files(Role.PLATFORM)
    assert platform is not None, "the folder is there"
    Authority(folder, platform.mesh).issue(Role.PHONE, phone_id, lifetime=CERTIFIED_FOR)
    return Phone(phone_id, identity_id, bound.pay_code_key.handle, Secret(bound.pay_code_key.key))


async def list_phones(
    connections: Connections, phones: "PhoneServiceAsyncStub", identity_id: str
) -> list[phone_pb2.Phone]:
    """All phones of an identity, by id."""
    request = phone_api.ListPhonesRequest(identity_id=identity_id)
    return [each async for each in connections.listed(phones.ListPhones, request, lambda page: page.phones)]


async def set_pin(client: Client, identity_id: str, pin: Secret) -> None:
    """As the platform: sets somebody's PIN."""
    request = identity_api.SetPinRequest(request_id=new_request_id(), identity_id=identity_id, pin=pin.value.decode())
    await client.call(client.identities.SetPin, request)


def _certificate(addresses: Addresses, phone_id: str) -> TlsFiles:
    authority = Authority(_ca_folder(addresses))
    folder = authority.folder_of(Role.PHONE, phone_id)
    if not folder.is_dir():
        raise Failure(f"Phone {named(phone_id)} has no certificate in {named(authority.folder)}; enroll it again.")
    return TlsFiles.of(folder)


def _ca_folder(addresses: Addresses) -> Path:
    if addresses.tls_dir is None:
        raise Failure("A phone is known by its certificate, so it needs TLS.")
    return addresses.tls_dir
