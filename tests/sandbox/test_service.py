"""The service of a sandbox, and what keeps a sandbox apart from every other mesh."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from order_service.server import OrderSettings
from tests.processes import DEADLINE_S, refusal_of, wait_until
from tests.trust.certified import forge
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.sandbox.v1 import sandbox_service_pb2 as api
from tillmesh.api.sandbox.v1.sandbox_service_pb2_grpc import SandboxServiceStub
from tillmesh.api.terminal.v1 import checkout_pb2
from tillmesh.api.terminal.v1 import checkout_service_pb2 as checkout_api
from tillmesh.api.terminal.v1.checkout_service_pb2_grpc import CheckoutServiceStub
from tillmesh.auth.callers import MESH, SANDBOX, Role
from tillmesh.auth.tls import TlsFiles
from tillmesh.client.failures import Failure, Unreachable
from tillmesh.local.authority import Authority
from tillmesh.local.mesh import Mesh
from tillmesh.local.processes import ServerName
from tillmesh.rpc.settings import load_settings
from tillmesh.runtime.errors import Refusal
from tillmesh.runtime.secret import Secret
from tillmesh.sandbox.clock import SandboxClock
from tillmesh.sandbox.payers import PAYERS, SimulatedPayer
from tillmesh.sandbox.sandbox import Sandbox
from tillmesh.sandbox.service import SandboxServicer

LIST = orders_api.ListOrdersRequest()


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with Sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def control(sandbox: Sandbox) -> Iterator[SandboxServiceStub]:
    with grpc.insecure_channel(sandbox.address) as channel:
        yield SandboxServiceStub(channel)


@pytest.fixture
def orders(sandbox: Sandbox) -> Iterator[OrderServiceStub]:
    files = sandbox.mesh.addresses.files(Role.PLATFORM)
    assert files is not None
    with files.open_blocking_channel(sandbox.mesh.addresses.orders, Role.ORDERS) as channel:
        yield OrderServiceStub(channel)


def create(order_id: str) -> orders_api.CreateOrderRequest:
    request = orders_api.CreateOrderRequest(
        request_id=f"create-{order_id}", order_id=order_id, store_id="store-1", currency_code="GBP"
    )
    request.payer.identity_id = "sandbox-paid"
    request.lines.add(sku="TEA", quantity=1, unit_price_minor=250)
    return request


@pytest.mark.process
def test_the_clock_moves_for_all_servers_and_a_reset_sets_it_right(
    control: SandboxServiceStub, orders: OrderServiceStub
) -> None:
    before = orders.CreateOrder(create("o-1"), timeout=DEADLINE_S).create_time.seconds
    move = api.MoveClockRequest()
    move.by.seconds = 86_400
    control.MoveClock(move, timeout=DEADLINE_S)
    after = orders.CreateOrder(create("o-2"), timeout=DEADLINE_S).create_time.seconds
    assert 86_400 <= after - before < 2 * 86_400
    control.Reset(api.ResetRequest(), timeout=DEADLINE_S)
    assert not orders.ListOrders(LIST, timeout=DEADLINE_S, wait_for_ready=True).orders
    again = orders.CreateOrder(create("o-1"), timeout=DEADLINE_S).create_time.seconds
    assert again - before < 86_400


@pytest.mark.process
def test_a_server_that_is_restarted_is_away_and_comes_back_with_its_data(
    control: SandboxServiceStub, orders: OrderServiceStub
) -> None:
    orders.CreateOrder(create("kept"), timeout=DEADLINE_S)
    restart = api.RestartServerRequest(server=api.RestartServerRequest.SERVER_ORDERS)
    restart.away.seconds = 1
    control.RestartServer(restart, timeout=DEADLINE_S)
    with pytest.raises(grpc.RpcError) as raised:
        control.RestartServer(restart, timeout=DEADLINE_S)
    assert refusal_of(raised.value).reason == "SERVER_AWAY"
    found = orders.GetOrder(orders_api.GetOrderRequest(order_id="kept"), timeout=DEADLINE_S, wait_for_ready=True)
    assert found.order_id == "kept"


@pytest.mark.process
def test_a_server_that_dies_is_started_again(sandbox: Sandbox, orders: OrderServiceStub) -> None:
    process = sandbox.mesh.processes[ServerName.ORDERS]
    before = process.pid
    orders.ListOrders(LIST, timeout=DEADLINE_S, wait_for_ready=True)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: process.pid not in (0, before))
    orders.ListOrders(LIST, timeout=DEADLINE_S, wait_for_ready=True)


@pytest.mark.process
@pytest.mark.parametrize("seconds", [0, -1, 401 * 86_400])
def test_a_step_of_the_clock_is_bounded(control: SandboxServiceStub, seconds: int) -> None:
    request = api.MoveClockRequest()
    request.by.seconds = seconds
    with pytest.raises(grpc.RpcError) as raised:
        control.MoveClock(request, timeout=DEADLINE_S)
    assert [violation.field for violation in refusal_of(raised.value).violations] == ["by"]


@pytest.mark.process
@pytest.mark.parametrize("identity_id", ["ada", "sandbox-nobody"])
def test_who_has_no_phone_shows_no_code(control: SandboxServiceStub, identity_id: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        control.ShowPayCode(api.ShowPayCodeRequest(identity_id=identity_id), timeout=DEADLINE_S)
    assert refusal_of(raised.value).reason == "SIMULATED_PAYER_NOT_FOUND"


async def test_no_code_while_the_payment_server_is_away_is_told_as_such(tmp_path: Path) -> None:
    class Away:
        clock = SandboxClock(tmp_path)

        async def show_code(self, _payer: SimulatedPayer) -> Secret:
            raise Unreachable("The payment server did not answer in time.")

        async def restart(self, _server: ServerName, _away_s: float) -> bool:
            return False

        async def reset(self) -> None:
            """Nothing to delete."""

    with pytest.raises(Refusal, match="did not answer in time") as raised:
        await SandboxServicer(Away()).ShowPayCode(api.ShowPayCodeRequest(identity_id="sandbox-paid"))
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE


@pytest.mark.process
def test_codes_of_one_payer_count_side_by_side(sandbox: Sandbox, control: SandboxServiceStub) -> None:
    request = api.ShowPayCodeRequest(identity_id="sandbox-paid")
    codes = [control.ShowPayCode(request, timeout=DEADLINE_S).pay_code for _ in range(3)]
    files = sandbox.mesh.addresses.files(Role.DEVICE)
    assert files is not None
    with files.open_blocking_channel(sandbox.mesh.addresses.terminal, Role.TERMINAL) as channel:
        stub = CheckoutServiceStub(channel)
        for code in codes:
            sale = checkout_api.SellRequest(checkout_id=code, payment_id=f"by-{code}", pay_code=code)
            sale.lines.add(sku="TEA", quantity=1, unit_price_minor=250)
            sale.amount.currency_code, sale.amount.minor_units = "GBP", 250
            sold = stub.Sell(sale, timeout=DEADLINE_S, wait_for_ready=True)
            assert sold.verdict == checkout_pb2.VERDICT_HAND_OVER_GOODS, sold.verdict_reason


@pytest.mark.process
def test_a_sandbox_that_is_left_amid_a_reset_ends_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Sandbox(tmp_path) as sandbox, grpc.insecure_channel(sandbox.address) as channel:
        orders = sandbox.mesh.processes[ServerName.ORDERS]
        before = orders.pid
        resetting = SandboxServiceStub(channel).Reset.future(api.ResetRequest(), timeout=DEADLINE_S)
        wait_until(lambda: orders.pid != before)
    with suppress(grpc.RpcError):
        resetting.result()
    assert caplog.records == []  # no task was left behind
    assert [process.pid for process in sandbox.mesh.processes.values()] == [0, 0, 0]
    with Sandbox(tmp_path):
        pass


@pytest.mark.parametrize("flags", [["--sandbox", "folder"], ["--mesh", SANDBOX]])
def test_no_server_of_another_mesh_is_a_sandbox(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_settings(OrderSettings, ["--insecure", *flags])
    assert "belong together" in capsys.readouterr().err


@pytest.mark.process
def test_a_certificate_of_another_mesh_opens_no_sandbox_even_with_its_ca(sandbox: Sandbox, tmp_path: Path) -> None:
    authority = sandbox.mesh.authority
    with pytest.raises(Failure, match="--mesh sandbox"):
        Authority(authority.folder, MESH).issue(Role.PLATFORM, "stranger")
    files = TlsFiles(forge(authority, tmp_path / "stranger", f"spiffe://{MESH}/platform/stranger"), SANDBOX)
    with (
        files.open_blocking_channel(sandbox.mesh.addresses.orders, Role.ORDERS) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        OrderServiceStub(channel).ListOrders(LIST, timeout=DEADLINE_S, wait_for_ready=True)
    assert refusal_of(raised.value).reason == "UNAUTHENTICATED"


@pytest.mark.process
def test_the_data_of_a_sandbox_starts_no_other_mesh(tmp_path: Path) -> None:
    with Sandbox(tmp_path):
        pass
    with pytest.raises(Failure, match="has the CA of mesh sandbox, and not of mesh tillmesh"), Mesh(tmp_path):
        pass


@pytest.mark.process
def test_a_sandbox_whose_port_is_taken_says_so_and_leaves_no_server_behind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sandbox = Sandbox(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(Failure, match=r"cannot listen on .*Address already in use.*--sandbox-port"), sandbox:
            pass
    assert [process.pid for process in sandbox.mesh.processes.values()] == [0, 0, 0]


def test_a_clock_is_moved_for_whoever_has_the_same_folder(tmp_path: Path) -> None:
    mover, follower = SandboxClock(tmp_path), SandboxClock(tmp_path)
    before = follower.now_ms()
    mover.move(60_000)
    assert follower.now_ms() - before >= 60_000
    mover.set_right()
    assert follower.now_ms() - before < 60_000


@pytest.mark.process
def test_the_payers_are_listed_page_by_page(control: SandboxServiceStub) -> None:
    request = api.ListPayersRequest(page_size=10)
    listed: list[str] = []
    while not listed or request.page_token:
        answer = control.ListPayers(request, timeout=DEADLINE_S)
        listed += [payer.identity_id for payer in answer.payers]
        request.page_token = answer.next_page_token
    assert listed == [payer.identity_id for payer in PAYERS]
