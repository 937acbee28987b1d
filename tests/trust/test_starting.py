"""What is wrong with certificates or settings is said in one line; `tillmesh cert` makes what servers use."""

import os
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest
from cryptography import x509

from order_service.server import OrderSettings
from store_terminal.server import TerminalSettings
from tests.processes import DEADLINE_S, running
from tests.trust.certified import ALL, flags, forge, refusal
from thirdparty_server.server import PaymentSettings
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.auth.callers import Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.cli import main
from tillmesh.local.authority import Authority
from tillmesh.rpc.settings import ServerSettings, load_settings


def complaint(module: str, *arguments: object, status: int = 1) -> str:
    """The one line that a server says that does not start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TILLMESH_")}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stdout) == (status, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{module}: ")
    return line


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    authority = Authority(tmp_path_factory.mktemp("issued"))
    authority.create()
    authority.issue(Role.ORDERS, ALL)
    return authority


@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "damage"),
    [
        ("order_service", "mismatch"),
        ("order_service", "no folder"),
        ("order_service", "no key"),
        ("order_service", "not PEM"),
        ("thirdparty_server", "mismatch"),
    ],
)
def test_certificates_of_no_use_end_a_start_in_one_line(
    issued: Authority, tmp_path: Path, module: str, damage: str
) -> None:
    folder = tmp_path / "certificates"
    if damage != "no folder":
        good = issued.folder_of(Role.ORDERS, ALL)
        forge(issued, folder, "spiffe://tillmesh/orders/all")
        if damage == "mismatch":
            (folder / "key.pem").write_bytes((good / "key.pem").read_bytes())
        elif damage == "no key":
            (folder / "key.pem").unlink()
        else:
            (folder / "ca.pem").write_text("hello")
    database = f"sqlite:///{tmp_path}/{module}.db"
    more = ("--secret-file", issued.secret) if module == "thirdparty_server" else ()
    line = complaint(module, "--tls-dir", folder, "--database-url", database, "--listen", "127.0.0.1:0", *more)
    assert str(folder) in line


@pytest.mark.parametrize(
    ("settings", "arguments", "said"),
    [
        (OrderSettings, ["--insecure", "--listen", "0.0.0.0:0"], "not 0.0.0.0:0"),
        (OrderSettings, ["--insecure", "--listen", "[::]:0"], "not [::]:0"),
        (PaymentSettings, ["--insecure", "--orders", "10.1.2.3:7001"], "not 10.1.2.3:7001"),
        (
            TerminalSettings,
            ["--insecure", "--store-id", "store-1", "--payments", "pay.example.com:7002"],
            "not pay.example.com:7002",
        ),
        (OrderSettings, [], "or --insecure"),
        (TerminalSettings, ["--store-id", "store-1"], "or --insecure"),
        (
            OrderSettings,
            ["--insecure", "--tls-dir", "."],
            "or --insecure to go without certificates on this machine, not both",
        ),
    ],
)
def test_only_this_machine_is_served_without_tls_and_only_if_asked_for(
    capsys: pytest.CaptureFixture[str], settings: type[ServerSettings], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        load_settings(settings, arguments)
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert "--tls-dir" in line


@pytest.mark.process
@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [(b"x" * 31, 0o600, "32 random bytes"), (b"x" * 32, 0o644, "chmod 600"), (None, 0o600, "No such file")],
)
def test_a_secret_that_is_none_ends_a_start_in_one_line(
    tmp_path: Path, content: bytes | None, mode: int, said: str
) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
        secret.chmod(mode)
    database = f"sqlite:///{tmp_path}/x.db"
    line = complaint("thirdparty_server", "--insecure", "--secret-file", secret, "--database-url", database)
    assert str(secret) in line
    assert said in line


@pytest.mark.process
def test_the_database_of_another_server_is_told_as_such(tmp_path: Path) -> None:
    with running("order_service", tmp_path):
        pass
    url = f"sqlite:///{tmp_path / 'order_service'}.db"
    line = complaint(
        "thirdparty_server", "--insecure", "--listen", "127.0.0.1:0", "--database-url", url, "--orders", "127.0.0.1:1"
    )
    assert "is another server's: it has no table" in line
    assert line.endswith("check --database-url")


@pytest.mark.process
@pytest.mark.parametrize("flag", ["--listen", "--health-listen", "--metrics-listen"])
def test_an_address_that_is_taken_is_one_line_with_the_flag_that_names_another(tmp_path: Path, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        others = () if flag == "--listen" else ("--listen", "127.0.0.1:0")
        url = f"sqlite:///{tmp_path}/orders.db"
        line = complaint(
            "order_service", "--insecure", *others, flag, address, "--database-url", url, "--log-level", "ERROR"
        )
    assert line == (
        f"order_service: cannot listen on {address} (Address already in use): "
        f"free it, or name another address with {flag}"
    )


@pytest.mark.process
def test_with_tls_the_payment_server_needs_its_secret(issued: Authority, tmp_path: Path) -> None:
    folder = issued.folder_of(Role.ORDERS, ALL)
    database = f"sqlite:///{tmp_path}/x.db"
    line = complaint("thirdparty_server", "--tls-dir", folder, "--database-url", database, status=2)
    assert "--secret-file" in line


# tillmesh cert


class Cert(Protocol):
    """Runs `tillmesh cert`."""

    def __call__(self, folder: Path, command: str, *arguments: str) -> tuple[int, str]:
        """Its exit status and what it says on standard error."""


@pytest.fixture
def cert(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cert:
    def run(folder: Path, command: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["tillmesh", "cert", command, "--dir", str(folder), *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, capsys.readouterr().err

    return run


@pytest.mark.process
def test_the_command_line_makes_certificates_that_servers_and_clients_use(cert: Cert, tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    assert cert(folder, "init") == (0, "")
    kept = folder / "ca.pem", folder / "payments.secret"
    before = [path.read_bytes() for path in kept]
    assert len(before[1]) >= 32
    assert cert(folder, "init") == (0, "")
    assert [path.read_bytes() for path in kept] == before
    for words in (["orders", "central"], ["terminal", "store-7", "till-1", "--days", "7"]):
        assert cert(folder, "issue", *words) == (0, "")
    authority = Authority(folder)
    till, server = authority.folder_of(Role.TERMINAL, "store-7", "till-1"), authority.folder_of(Role.ORDERS, "central")
    ends = x509.load_pem_x509_certificate((till / "cert.pem").read_bytes()).not_valid_after_utc
    assert timedelta(days=6) < ends - datetime.now(UTC) < timedelta(days=8)
    uri = "spiffe://tillmesh/terminal/store-7/till-1"
    request = orders_api.ListOrdersRequest(store_id="store-7")
    with (
        running("order_service", tmp_path, *flags(authority, Role.ORDERS, "central")) as orders,
        TlsFiles(till, "tillmesh").open_blocking_channel(orders.address, Role.ORDERS) as channel,
    ):
        OrderServiceStub(channel).ListOrders(request, timeout=DEADLINE_S)
        authority.denied.write_text("spiffe://tillmesh/terminal/store-7/till-2")  # by hand, without a line end
        assert cert(folder, "deny", uri) == (0, "")
        assert "revoked" in refusal(OrderServiceStub(channel).ListOrders, request).text
    assert authority.denied.read_text().splitlines() == ["spiffe://tillmesh/terminal/store-7/till-2", uri]
    secrets = {path for path in folder.rglob("*") if path.name.endswith((".key", "key.pem", ".secret"))}
    assert secrets == {folder / "ca.key", authority.secret, till / "key.pem", server / "key.pem"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["issue", "terminal", "store-7"], "terminal/STORE/NAME"),
        (["issue", "orders", "store-7", "central"], "orders/NAME"),
        (["issue", "terminal", "store 7", "till-1"], "store 7"),
        (["issue", "device", "store-7", "x/y"], "x/y"),
        (["issue", "king", "all"], "king"),
        (["deny", "till/store-7/till-1"], "till/store-7/till-1"),
        (["deny", "spiffe://elsewhere/terminal/store-7/till-1"], "spiffe://tillmesh/"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_plainly(
    cert: Cert, issued: Authority, arguments: list[str], said: str
) -> None:
    before = sorted(issued.folder.rglob("*"))
    status, told = cert(issued.folder, *arguments)
    assert status in (1, 2)
    assert said in told
    assert sorted(issued.folder.rglob("*")) == before


def test_without_a_ca_one_is_told_how_to_make_it(cert: Cert, tmp_path: Path) -> None:
    status, told = cert(tmp_path / "nothing", "issue", "orders", "central")
    assert (status, "tillmesh cert init" in told) == (1, True)
    status, told = cert(tmp_path / "nothing", "deny", "spiffe://tillmesh/orders/central")
    assert (status, "--dir" in told) == (1, True)
