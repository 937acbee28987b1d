"""Servers with certificates, and callers with good and bad ones."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

import order_service.access
import order_service.server
import store_terminal.access
import store_terminal.server
import thirdparty_server.access
import thirdparty_server.server
from tests.processes import DEADLINE_S, Server, patient, refusal_of, running
from tests.terminal.till import Behind, Till, gbp
from tests.trust.secrets import keep_bytes
from tillmesh.api.payment.v1.store_pb2 import Store
from tillmesh.api.payment.v1.store_service_pb2 import CreateStoreRequest
from tillmesh.api.payment.v1.store_service_pb2_grpc import StoreServiceStub
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.local.authority import Authority
from tillmesh.rpc.handlers import Access
from tillmesh.runtime.errors import Refusal

HERE, THERE = "store-a", "store-b"
"""Two stores: the one that misbehaves, and the other."""
TILL, DEVICE, ALL = "till-1", "scanner-1", "all"

ACCESS: dict[Role, dict[str, Access]] = {
    Role.ORDERS: order_service.access.ACCESS,
    Role.PAYMENTS: thirdparty_server.access.ACCESS,
    Role.TERMINAL: store_terminal.access.ACCESS,
}
"""Of each server, by the role that it has, who may call what."""


def names_of(role: Role, store: str = HERE) -> tuple[str, ...]:
    """What a certificate of that role is issued for."""
    return {Role.TERMINAL: (store, TILL), Role.DEVICE: (store, DEVICE)}.get(role, (ALL,))


def flags(authority: Authority, role: Role, *names: str) -> tuple[str, ...]:
    """A server's own certificate and whom it refuses; the payment server's secret."""
    own = "--tls-dir", str(authority.folder_of(role, *names)), "--denied", str(authority.denied)
    return (*own, "--secret-file", str(authority.secret)) if role is Role.PAYMENTS else own


@dataclass
class Shops:
    """An order service and a payment server, and in front of them a terminal in each of two stores."""

    authority: Authority
    orders: Server
    payments: Server
    terminals: dict[str, Server]
    closing: ExitStack
    channels: dict[tuple[str, Path], grpc.Channel] = field(default_factory=dict)

    @property
    def servers(self) -> dict[Role, Server]:
        """One server of each kind, by the role that its certificate has."""
        return {Role.ORDERS: self.orders, Role.PAYMENTS: self.payments, Role.TERMINAL: self.terminals[HERE]}

    def channel(self, role: Role, folder: Path, server: Server | None = None) -> grpc.Channel:
        """The connection of a certificate to a server of that role; to one each, however often it is asked for."""
        address = (server or self.servers[role]).address
        key = address, folder
        if key not in self.channels:
            opened = TlsFiles(folder, self.authority.mesh).open_blocking_channel(address, role)
            self.channels[key] = patient(self.closing.enter_context(opened))
        return self.channels[key]

    def till(self, store: str) -> Till:
        """Hardware of a store, at the store's own terminal."""
        folder = self.authority.folder_of(Role.DEVICE, store, DEVICE)
        return Till(self.channel(Role.TERMINAL, folder, self.terminals[store]))

    def behind(self, folder: Path) -> Behind:
        """The order service and the payment server for whoever has that certificate."""
        return Behind(self.channel(Role.ORDERS, folder), self.channel(Role.PAYMENTS, folder))

    @property
    def platform(self) -> Behind:
        """The same for the platform."""
        return self.behind(self.authority.folder_of(Role.PLATFORM, ALL))

    def register(self, store: str) -> None:
        """The platform registers a store, which may give something back without a sale."""
        stores = StoreServiceStub(self.channel(Role.PAYMENTS, self.authority.folder_of(Role.PLATFORM, ALL)))
        record = Store(
            store_id=store,
            name=f"The shop {store}",
            time_zone="Europe/London",
            currency_code="GBP",
            unreferenced_refund_limit=gbp(100_000),
        )
        stores.CreateStore(CreateStoreRequest(store=record))


@contextmanager
def running_shops(folder: Path, *more: str) -> Iterator[Shops]:
    """The servers of two stores, with more flags for all of them, for the length of a block."""
    authority = Authority(folder / "tls")
    authority.create()
    keep_bytes(authority.secret.read_bytes())
    for role in Role:
        for store in (HERE, THERE):
            authority.issue(role, *names_of(role, store))
    with ExitStack() as stack:
        orders = stack.enter_context(running("order_service", folder, *flags(authority, Role.ORDERS, ALL), *more))
        wires = ["--orders", orders.address]
        patient = "--payer-window-s", "500"  # no payer's time is over before the tests are
        payments = stack.enter_context(
            running("thirdparty_server", folder, *flags(authority, Role.PAYMENTS, ALL), *wires, *patient, *more)
        )
        wires += ["--payments", payments.address]
        terminals = {}
        for store in (HERE, THERE):
            (folder / store).mkdir()
            own = (*flags(authority, Role.TERMINAL, store, TILL), "--store-id", store)
            terminals[store] = stack.enter_context(running("store_terminal", folder / store, *own, *wires, *more))
        shops = Shops(authority, orders, payments, terminals, stack)
        for store in (HERE, THERE):
            shops.register(store)
        yield shops


def forge(
    authority: Authority,
    folder: Path,
    *uris: str,
    common_name: str = "",
    signed_by: Authority | None = None,
    expired: bool = False,
) -> Path:
    """A folder with a certificate that `tillmesh cert` would not make; it trusts the authority's servers."""
    signer = (signed_by or authority).folder
    issuer = x509.load_pem_x509_certificate((signer / "ca.pem").read_bytes())
    issuer_key = serialization.load_pem_private_key((signer / "ca.key").read_bytes(), password=None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else []
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + timedelta(days=-1 if expired else 1))
    )
    if uris:
        others = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    folder.mkdir(parents=True)
    (folder / "ca.pem").write_bytes((authority.folder / "ca.pem").read_bytes())
    certificate = builder.sign(issuer_key, hashes.SHA256())
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    return folder


def methods_of(role: Role) -> list[MethodDescriptor]:
    """Every method that a server of that role serves."""
    pool = descriptor_pool.Default()
    return [method for service in ACCESS[role] for method in pool.FindServiceByName(service).methods]


def call(channel: grpc.Channel, method: MethodDescriptor, request: Message | None = None) -> Message | grpc.RpcError:
    """The first answer to a request, by default an empty one of the right type, or the error."""
    request_class = message_factory.GetMessageClass(method.input_type)
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    stub = make(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=request_class.SerializeToString,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    try:
        answered: Any = stub(request or request_class(), timeout=DEADLINE_S)
        answer: Message = next(answered) if method.server_streaming else answered
    except grpc.RpcError as error:
        return error
    if method.server_streaming:
        answered.cancel()
    return answer


def refusal(method: Any, request: Message, timeout: float = DEADLINE_S) -> Refusal:
    """The refusal of a call, which must be refused."""
    try:
        answer = method(request, timeout=timeout)
    except grpc.RpcError as error:
        return refusal_of(error)
    raise AssertionError(f"this was not refused: {type(request).__name__} {request} was answered with {answer}")
