"""Certificates come, go and change while servers run; what is wrong with them is said in one line."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from tests.processes import DEADLINE_S, Server, refusal_of, running, start_server, wait_until
from tests.terminal.till import Behind, goods, refund_state
from tests.trust.certified import ACCESS, ALL, DEVICE, HERE, THERE, TILL, Shops, flags, forge, refusal
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import payment_pb2
from tillmesh.api.payment.v1 import payment_service_pb2 as payments_api
from tillmesh.api.terminal.v1 import checkout_service_pb2 as terminal_api
from tillmesh.api.terminal.v1 import till_refund_service_pb2 as till_refunds_api
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.local.authority import Authority
from tillmesh.runtime.ids import new_request_id

NAMES = ("ca.pem", "cert.pem", "key.pem")
STATE = payment_pb2.Payment.State


@contextmanager
def revoked(authority: Authority, uri: str) -> Iterator[None]:
    """The URI is in the deny list for the length of a block."""
    before = authority.denied.read_bytes() if authority.denied.exists() else b""
    authority.deny(uri)
    yield
    authority.denied.write_bytes(before)


# Revocation


def test_a_revoked_till_is_refused_at_its_next_call_and_let_in_again_once_it_is_not(shops: Shops) -> None:
    stolen = shops.behind(shops.authority.issue(Role.TERMINAL, HERE, "stolen"))
    neighbour = shops.behind(shops.authority.folder_of(Role.TERMINAL, HERE, TILL))
    orders = orders_api.ListOrdersRequest(store_id=HERE)
    payments = payments_api.ListPaymentsRequest(store_id=HERE)
    stolen.orders.ListOrders(orders)
    stolen.payments.ListPayments(payments)
    with revoked(shops.authority, f"spiffe://tillmesh/terminal/{HERE}/stolen"):
        for refused in (refusal(stolen.orders.ListOrders, orders), refusal(stolen.payments.ListPayments, payments)):
            assert (refused.code, refused.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
            assert f"spiffe://tillmesh/terminal/{HERE}/stolen is revoked" in refused.text
        neighbour.orders.ListOrders(orders)
    stolen.orders.ListOrders(orders)
    stolen.payments.ListPayments(payments)


def test_a_revoked_device_is_refused_by_its_terminal(shops: Shops) -> None:
    till = shops.till(HERE)
    request = terminal_api.ListCheckoutsRequest()
    till.service.ListCheckouts(request)
    with revoked(shops.authority, f"spiffe://tillmesh/device/{HERE}/{DEVICE}"):
        assert refusal(till.service.ListCheckouts, request).reason == "UNAUTHENTICATED"
    till.service.ListCheckouts(request)


def test_what_a_revoked_terminal_asked_for_is_open_and_not_refused(shops: Shops) -> None:
    till, shopper = shops.till(THERE), shops.platform.shopper(funds=0)
    request = till_refunds_api.ReturnGoodsRequest(refund_id=new_request_id(), identity_id=shopper, lines=[goods(30)])
    with revoked(shops.authority, f"spiffe://tillmesh/terminal/{THERE}/{TILL}"):
        assert refund_state(till.refunds.ReturnGoods(request, timeout=1)) == "PENDING"
        assert shops.platform.wallet(shopper) == (0, 0)
    wait_until(lambda: refund_state(till.get_refund(request.refund_id)) == "DONE")
    assert shops.platform.wallet(shopper) == (30, 0)


# Renewal


@dataclass
class Pair:
    """An order service and a payment server that a test may do anything to."""

    folder: Path
    authority: Authority
    stack: ExitStack
    servers: dict[Role, Server] = field(default_factory=dict)

    def start(self, role: Role, listen: str = "127.0.0.1:0") -> Server:
        """Starts, or starts again, one of the two."""
        wires = ("--orders", self.servers[Role.ORDERS].address) if role is Role.PAYMENTS else ()
        module = {Role.ORDERS: "order_service", Role.PAYMENTS: "thirdparty_server"}[role]
        server = start_server(module, self.folder, *flags(self.authority, role, ALL), *wires, listen=listen)
        self.stack.callback(server.kill)
        self.servers[role] = server
        return server

    def issue_all(self) -> None:
        """A new certificate for everybody."""
        for role in (Role.ORDERS, Role.PAYMENTS, Role.PLATFORM):
            self.authority.issue(role, ALL)

    def replace_authority(self) -> None:
        """A new CA, and from it a new certificate for everybody."""
        (self.authority.folder / "ca.key").unlink()
        self.authority.create()
        self.issue_all()

    def files(self, role: Role) -> TlsFiles:
        return TlsFiles(self.authority.folder_of(role, ALL), self.authority.mesh)

    @contextmanager
    def platform(self, folder: Path | None = None) -> Iterator[Behind]:
        """New connections of the platform."""
        files = TlsFiles(folder, self.authority.mesh) if folder else self.files(Role.PLATFORM)
        orders, payments = (
            files.open_blocking_channel(self.servers[role].address, role) for role in (Role.ORDERS, Role.PAYMENTS)
        )
        with orders, payments:
            yield Behind(orders, payments)


@contextmanager
def running_pair(folder: Path) -> Iterator[Pair]:
    """The order service runs, the payment server is the test's to start."""
    with ExitStack() as stack:
        pair = Pair(folder, Authority(folder / "tls"), stack)
        pair.authority.create()
        pair.issue_all()
        pair.start(Role.ORDERS)
        yield pair


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with running_pair(tmp_path) as pair:
        yield pair


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers; each test leaves whole certificates behind."""
    with running_pair(tmp_path_factory.mktemp("pair")) as pair:
        pair.start(Role.PAYMENTS)
        yield pair


def paid(behind: Behind) -> str:
    """What becomes of a new payment, which the payment server has to ask the order service for."""
    order = behind.raise_order(behind.shopper())
    request = payments_api.CreatePaymentRequest(
        payment_id=new_request_id(),
        order_id=order.order_id,
        order_version=order.version,
        payer=order.payer,
        amount=order.amount,
    )
    return STATE.Name(behind.payments.CreatePayment(request, timeout=DEADLINE_S).state).removeprefix("STATE_")


def is_closed(behind: Behind) -> bool:
    """True if no connection comes about."""
    with pytest.raises(grpc.RpcError) as raised:
        behind.payments.ListPayments(payments_api.ListPaymentsRequest(), timeout=DEADLINE_S)
    assert isinstance(raised.value, grpc.Call)
    return raised.value.code() is grpc.StatusCode.UNAVAILABLE


def serving(server: Server, role: Role, client: TlsFiles) -> int:
    """The serial number of the certificate that a new connection gets to see."""
    context = ssl.create_default_context(cafile=client.folder / "ca.pem")
    context.load_cert_chain(client.folder / "cert.pem", client.folder / "key.pem")
    context.set_alpn_protocols(["h2"])
    host, _, port = server.address.rpartition(":")
    name = f"{role}.{client.mesh}"
    with socket.create_connection((host, int(port))) as raw, context.wrap_socket(raw, server_hostname=name) as tls:
        shown = tls.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown).serial_number


def serial(folder: Path) -> int:
    return x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).serial_number


def test_an_expired_server_comes_back_with_a_new_certificate_and_no_restart(pair: Pair) -> None:
    own = pair.authority.issue(Role.PAYMENTS, ALL, lifetime=timedelta(seconds=-10))
    pair.start(Role.PAYMENTS)
    with pair.platform() as behind:
        assert is_closed(behind)
    pair.authority.issue(Role.PAYMENTS, ALL)
    with pair.platform() as behind:
        assert paid(behind) == "CAPTURED"
    assert serving(pair.servers[Role.PAYMENTS], Role.PAYMENTS, pair.files(Role.PLATFORM)) == serial(own)


def test_a_new_ca_is_taken_up_by_servers_and_by_the_connections_between_them(pair: Pair) -> None:
    pair.start(Role.PAYMENTS)
    with pair.platform() as behind:
        assert paid(behind) == "CAPTURED"
    old = forge(pair.authority, pair.folder / "old", f"spiffe://tillmesh/platform/{ALL}")
    pair.replace_authority()
    (old / "ca.pem").write_bytes((pair.authority.folder / "ca.pem").read_bytes())
    # A server that is started anew trusts nobody of the old CA: the payment server must come with its new certificate.
    orders = pair.servers[Role.ORDERS]
    orders.kill()
    pair.start(Role.ORDERS, listen=orders.address)
    with pair.platform() as behind:
        assert paid(behind) == "CAPTURED"
    with pair.platform(old) as behind:
        assert is_closed(behind)


DAMAGES = [
    (name, damage)
    for name in NAMES
    for damage in ("empty", "half", "gone", "of another")
    if (name, damage) != ("ca.pem", "of another")  # that is a whole one
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_half_written_files_keep_the_old_ones_going(undamaged: Pair, name: str, damage: str) -> None:
    pair, server = undamaged, undamaged.servers[Role.PAYMENTS]
    folder = pair.authority.folder_of(Role.PAYMENTS, ALL)
    path, before = folder / name, serial(folder)
    whole = path.read_bytes()
    try:
        if damage == "gone":
            path.unlink()
        elif damage == "of another":
            path.write_bytes((pair.authority.folder_of(Role.ORDERS, ALL) / name).read_bytes())
        else:
            path.write_bytes(whole[: len(whole) // 2] if damage == "half" else b"")
        assert serving(server, Role.PAYMENTS, pair.files(Role.PLATFORM)) == before
        with pair.platform() as behind:
            assert paid(behind) == "CAPTURED"
    finally:
        path.write_bytes(whole)
    pair.authority.issue(Role.PAYMENTS, ALL)
    assert serving(server, Role.PAYMENTS, pair.files(Role.PLATFORM)) == serial(folder) != before
    with pair.platform() as behind:
        assert paid(behind) == "CAPTURED"


# Servers that are others


@pytest.mark.parametrize(("server", "wanted"), [(one, other) for one in ACCESS for other in ACCESS if one != other])
def test_a_server_with_a_certificate_for_another_role_is_not_trusted(shops: Shops, server: Role, wanted: Role) -> None:
    files = TlsFiles(shops.authority.folder_of(Role.PLATFORM, ALL), shops.authority.mesh)
    with files.open_blocking_channel(shops.servers[server].address, wanted) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            OrderServiceStub(channel).GetOrder(orders_api.GetOrderRequest(order_id="x"), timeout=DEADLINE_S)
        assert isinstance(raised.value, grpc.Call)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(AssertionError):
            refusal_of(raised.value)  # no server said it


def test_nobody_pays_through_a_till_that_poses_as_the_order_service(shops: Shops, tmp_path: Path) -> None:
    """The order port answers, with a certificate of the mesh, but with that of a store."""
    impostor_flags = flags(shops.authority, Role.TERMINAL, HERE, TILL)
    own = flags(shops.authority, Role.PAYMENTS, ALL)
    with (
        running("order_service", tmp_path, *impostor_flags) as impostor,
        running("thirdparty_server", tmp_path, *own, "--orders", impostor.address) as payments,
    ):
        folder = shops.authority.folder_of(Role.PLATFORM, ALL)
        behind = Behind(shops.channel(Role.ORDERS, folder), shops.channel(Role.PAYMENTS, folder, payments))
        order = behind.raise_order(behind.shopper())
        request = payments_api.CreatePaymentRequest(
            payment_id=new_request_id(),
            order_id=order.order_id,
            order_version=order.version,
            payer=order.payer,
            amount=order.amount,
        )
        payment = behind.payments.CreatePayment(request, timeout=1.5)
        assert STATE.Name(payment.state) == "STATE_PENDING"
        assert "LockOrder" not in impostor.log.read_text()
