"""Who gets in, and who may call what: every method, every role, every kind of certificate."""

from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from tests.processes import refusal_of, wait_until
from tests.test_layout import proto_services
from tests.trust.certified import ACCESS, HERE, Shops, call, forge, methods_of, names_of
from tillmesh.auth.callers import Role
from tillmesh.local.authority import Authority

FAILURES = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""What nobody may be told who is let in: they show that the call did not come to the servicer, or broke it."""


def test_the_tables_name_exactly_the_methods_of_the_contracts() -> None:
    tables = {service: set(table) for tables in ACCESS.values() for service, table in tables.items()}
    pool = descriptor_pool.Default()
    assert tables == {
        name: {method.name for method in pool.FindServiceByName(name).methods}
        for name in proto_services()
        if name != "tillmesh.api.sandbox.v1.SandboxService"  # on one machine, and open to all there
    }


@pytest.mark.parametrize(
    ("service", "method", "roles"),
    [
        ("order.v1.OrderService", "LockOrder", {Role.PAYMENTS}),
        ("order.v1.OrderService", "CompleteOrderPayment", {Role.PAYMENTS}),
        ("order.v1.OrderService", "CompleteFreeOrder", {Role.TERMINAL, Role.PLATFORM}),
        ("payment.v1.PaymentService", "ConfirmPayment", {Role.TERMINAL, Role.PHONE, Role.PLATFORM}),
        ("payment.v1.PaymentService", "VoidPayment", {Role.PLATFORM}),
        ("payment.v1.AccountService", "CreateDeposit", {Role.PLATFORM}),
        ("payment.v1.StoreService", "CreateStore", {Role.PLATFORM}),
        ("payment.v1.StoreService", "UpdateStore", {Role.PLATFORM}),
        ("payment.v1.StoreService", "GetStore", {Role.TERMINAL, Role.PLATFORM}),
        ("payment.v1.WalletService", "OpenWallet", {Role.PLATFORM}),
        ("payment.v1.WalletService", "UpdateWallet", {Role.PHONE, Role.PLATFORM}),
        ("payment.v1.IdentityService", "CreateIdentity", {Role.PLATFORM}),
        ("payment.v1.IdentityService", "UpdateIdentity", {Role.PHONE, Role.PLATFORM}),
        ("payment.v1.IdentityService", "SetPin", {Role.PLATFORM}),
        ("payment.v1.PhoneService", "BindPhone", {Role.PLATFORM}),
        ("payment.v1.PhoneService", "UnbindPhone", {Role.PLATFORM}),
        ("payment.v1.RefundService", "RefundPayment", {Role.TERMINAL, Role.PLATFORM}),
        ("payment.v1.RefundService", "CreateUnreferencedRefund", {Role.TERMINAL, Role.PLATFORM}),
        ("payment.v1.ClaimService", "PresentOrder", {Role.TERMINAL}),
        ("payment.v1.ClaimService", "ClaimOrder", {Role.PHONE}),
        ("payment.v1.ClaimService", "GetOrderClaim", {Role.PHONE}),
        ("payment.v1.ClaimService", "ReleaseOrderClaim", {Role.PHONE}),
        ("terminal.v1.CheckoutService", "PayCheckout", {Role.DEVICE}),
        ("terminal.v1.CheckoutService", "EnterPin", {Role.DEVICE}),
    ],
)
def test_what_moves_money_is_for_nobody_else(service: str, method: str, roles: set[Role]) -> None:
    allowed = [tables[f"tillmesh.api.{service}"] for tables in ACCESS.values() if f"tillmesh.api.{service}" in tables]
    assert [set(table[method]) for table in allowed] == [roles]


def outcome(answer: Message | grpc.RpcError) -> str:
    """How far a call came: "no connection", a reason to stay out or to sign in, or "served"."""
    if isinstance(answer, Message):
        return "served"
    assert isinstance(answer, grpc.Call)
    if answer.code() is grpc.StatusCode.UNAVAILABLE:
        return "no connection"
    refused = refusal_of(answer)
    if refused.reason in ("UNAUTHENTICATED", "ROLE_DENIED", "SIGN_IN_REQUIRED"):
        return refused.reason
    return "served" if answer.code() not in FAILURES else f"{refused}"


def walk(channel: grpc.Channel, server: Role) -> dict[str, str]:
    """What becomes of an empty request to every method of a server."""
    return {method.full_name: outcome(call(channel, method)) for method in methods_of(server)}


@pytest.mark.parametrize("server", ACCESS)
@pytest.mark.parametrize("role", Role)
def test_a_role_may_call_what_the_table_says_and_nothing_else(shops: Shops, server: Role, role: Role) -> None:
    folder = shops.authority.folder_of(role, *names_of(role))
    allowed = {
        method.full_name: role in ACCESS[server][method.containing_service.full_name][method.name]
        for method in methods_of(server)
    }
    expected = {name: "served" if may else "ROLE_DENIED" for name, may in allowed.items()}
    if role is Role.PHONE:  # on whose phone nobody is signed in
        expected |= {name: "SIGN_IN_REQUIRED" for name, may in allowed.items() if may and not name.endswith(".SignIn")}
    assert walk(shops.channel(server, folder), server) == expected


def test_the_log_names_whoever_is_refused(shops: Shops) -> None:
    server = shops.servers[Role.ORDERS]
    folder = shops.authority.folder_of(Role.DEVICE, *names_of(Role.DEVICE))
    (lock,) = (method for method in methods_of(Role.ORDERS) if method.name == "LockOrder")
    assert outcome(call(shops.channel(Role.ORDERS, folder), lock)) == "ROLE_DENIED"
    named = f'"actor": "spiffe://tillmesh/device/{"/".join(names_of(Role.DEVICE))}"'
    wait_until(lambda: any(named in line and "ROLE_DENIED" in line for line in server.log.read_text().splitlines()))


@pytest.fixture(scope="session")
def strangers(shops: Shops, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Certificates that must let nobody in, a folder each."""
    folder, authority = tmp_path_factory.mktemp("strangers"), shops.authority
    foreign = Authority(folder / "foreign CA")
    foreign.create()
    made: dict[str, Path] = {}
    for role in Role:
        own = f"spiffe://tillmesh/{role}/{'/'.join(names_of(role))}"
        other_mesh = own.replace("//tillmesh/", "//elsewhere/")
        where = folder / role
        made |= {
            f"{role}, expired": forge(authority, where / "expired", own, expired=True),
            f"{role}, foreign CA": forge(authority, where / "foreign", own, signed_by=foreign),
            f"{role}, in the common name": forge(authority, where / "name", common_name=own),
            f"{role}, and a second URI": forge(authority, where / "two", own, "spiffe://tillmesh/device/x/y"),
            f"{role}, of another mesh": forge(authority, where / "mesh", other_mesh),
        }
    for number, uri in enumerate(
        (
            "spiffe://tillmesh/root/all",
            "spiffe://tillmesh/Platform/all",
            "spiffe://tillmesh/platform/",
            "spiffe://tillmesh/platform/all/",
            "spiffe://tillmesh/platform/all?x",
            "spiffe://tillmesh/platform/a%6cl",
            "spiffe://tillmesh/platform/all\n",
            f"spiffe://tillmesh/platform/{HERE}/all",
            f"spiffe://tillmesh/terminal/{HERE}",
            f"spiffe://tillmesh/device/{HERE}/x/y",
            "spiffe://tillmesh.example/platform/all",
            "https://tillmesh/platform/all",
        )
    ):
        made[uri] = forge(authority, folder / f"uri-{number}", uri)
    return made


@pytest.mark.parametrize("server", ACCESS)
def test_a_bad_certificate_lets_nobody_in(shops: Shops, strangers: dict[str, Path], server: Role) -> None:
    methods = {method.full_name for method in methods_of(server)}
    for name, folder in strangers.items():
        kept_out = "no connection" if name.endswith(("expired", "foreign CA")) else "UNAUTHENTICATED"
        assert (name, walk(shops.channel(server, folder), server)) == (name, dict.fromkeys(methods, kept_out))


@pytest.mark.parametrize("server", ACCESS)
def test_without_a_certificate_there_is_no_connection(shops: Shops, server: Role) -> None:
    ca = (shops.authority.folder / "ca.pem").read_bytes()
    address = shops.servers[server].address
    name = ("grpc.ssl_target_name_override", f"{server}.{shops.authority.mesh}")
    nameless = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca), options=[name])
    with grpc.insecure_channel(address) as plain, nameless:
        for channel in (plain, nameless):
            assert set(walk(channel, server).values()) == {"no connection"}
