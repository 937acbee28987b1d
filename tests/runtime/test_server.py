"""Start, health, reflection and stop of a real server process."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.postgres import running_cluster
from tests.processes import DEADLINE_S, patient, refusal_of, running, start_server, wait_until
from tillmesh.api.order.v1 import order_service_pb2 as orders_api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.api.payment.v1 import refund_service_pb2 as api
from tillmesh.api.payment.v1.refund_service_pb2_grpc import RefundServiceStub
from tillmesh.auth.callers import Role
from tillmesh.local.authority import Authority
from tillmesh.rpc.health import LIVENESS

pytestmark = pytest.mark.process

SLOW = "tests.runtime.slow_server"
TRACE = "0123456789abcdef0123456789abcdef"


def logged(log: Path, text: str) -> Callable[[], bool]:
    return lambda: text in log.read_text()


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def test_a_server_that_says_it_serves_is_healthy_and_lists_its_services(tmp_path: Path) -> None:
    with running("order_service", tmp_path) as server, server.channel() as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tillmesh.api.order.v1.OrderService"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_server_serves_as_long_as_its_database_answers_and_lives_in_any_case(tmp_path: Path) -> None:
    states = health_pb2.HealthCheckResponse
    with (
        running_cluster() as cluster,
        cluster.database() as url,
        running("order_service", tmp_path, "--database-url", url) as server,
        server.channel() as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)

        def says(state: Any, service: str = "") -> bool:
            return bool(stub.Check(health_pb2.HealthCheckRequest(service=service)).status == state)

        cluster.crash()
        wait_until(lambda: says(states.NOT_SERVING))
        assert says(states.NOT_SERVING, "tillmesh.api.order.v1.OrderService")
        assert says(states.SERVING, LIVENESS)
        cluster.start()
        wait_until(lambda: says(states.SERVING))


def test_a_probe_without_a_certificate_asks_a_port_of_its_own_for_health_and_gets_nothing_else(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "tls")
    authority.create()
    flags = "--tls-dir", str(authority.issue(Role.ORDERS, "all")), "--health-listen", "127.0.0.1:0"
    with running("order_service", tmp_path, *flags) as server:
        wait_until(logged(server.log, '"serving_health"'))
        (said,) = (line["address"] for line in lines_of(server.log) if line["event"] == "serving_health")
        with grpc.insecure_channel(said) as channel:
            stub = health_pb2_grpc.HealthStub(patient(channel))
            for service in ("", "tillmesh.api.order.v1.OrderService", LIVENESS):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=service))
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            orders = OrderServiceStub(patient(channel))
            with pytest.raises(grpc.RpcError) as raised:
                orders.GetOrder(orders_api.GetOrderRequest(order_id="7K3M-9Q2X-VB4T"))
            assert isinstance(raised.value, grpc.Call)
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert server.stop() == 0


def test_a_stop_lets_the_call_under_way_finish_and_closes_the_database_after_it(tmp_path: Path) -> None:
    with running(SLOW, tmp_path, "--grace-s", "60") as server, server.channel() as channel:
        answer = RefundServiceStub(channel).GetRefund.future(api.GetRefundRequest(refund_id="r-1"))
        wait_until(logged(server.log, "under way"))
        server.process.send_signal(signal.SIGTERM)
        wait_until(logged(server.log, '"stopping"'))
        server.process.send_signal(signal.SIGUSR1)
        assert answer.result(timeout=DEADLINE_S).refund_id == "r-1"
        assert server.process.wait(DEADLINE_S) == 0
        assert [line["event"] for line in lines_of(server.log)][-2:] == ["rpc", "closed"]


def test_a_call_that_never_ends_does_not_keep_a_server_from_stopping(tmp_path: Path) -> None:
    with running(SLOW, tmp_path, "--grace-s", "0.1") as server, server.channel() as channel:
        answer = RefundServiceStub(channel).GetRefund.future(api.GetRefundRequest(refund_id="r-1"))
        wait_until(logged(server.log, "under way"))
        assert server.stop() == 0
        assert isinstance(answer.exception(timeout=DEADLINE_S), grpc.RpcError)


def test_a_bug_in_a_call_is_told_by_its_trace_and_the_server_goes_on(tmp_path: Path) -> None:
    with running(SLOW, tmp_path) as server, server.channel() as channel:
        stub = RefundServiceStub(channel)
        with pytest.raises(grpc.RpcError) as raised:
            stub.RefundPayment(
                api.RefundPaymentRequest(note="secret"), metadata=(("traceparent", f"00-{TRACE}-0123456789abcdef-01"),)
            )
        refusal = refusal_of(raised.value)
        assert (refusal.code, refusal.reason, refusal.domain) == (grpc.StatusCode.INTERNAL, "INTERNAL", "slow.tillmesh")
        assert refusal.metadata == {"trace_id": TRACE}
        assert "secret" not in refusal.text
        wait_until(logged(server.log, '"rpc_failed"'))
        (failed,) = (line for line in lines_of(server.log) if line["event"] == "rpc_failed")
        assert failed["trace_id"] == TRACE
        assert "ZeroDivisionError: secret" in failed["exception"]
        assert stub.ListRefunds(api.ListRefundsRequest()) == api.ListRefundsResponse()


def test_a_server_whose_background_loop_died_does_not_go_on_as_if_nothing_were(tmp_path: Path) -> None:
    """Without its sweeper an order service would answer, and leave orders locked for ever."""
    with running(SLOW, tmp_path) as server:
        server.process.send_signal(signal.SIGUSR2)
        assert server.process.wait(DEADLINE_S) == 1
        assert "a background loop ended: ZeroDivisionError('in a loop')" in server.log.read_text()


def test_a_server_comes_back_on_the_port_it_had(tmp_path: Path) -> None:
    first = start_server("order_service", tmp_path)
    first.kill()
    second = start_server("order_service", tmp_path, listen=first.address)
    assert second.address == first.address
    assert second.stop() == 0


def complaint(*flags: str) -> str:
    """What a server that cannot start says on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "order_service", "--insecure", *flags],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    # gRPC writes a line of its own where it cannot bind.
    (line,) = [line for line in done.stderr.splitlines() if "add_port.cc" not in line]
    assert line.startswith("order_service: ")
    return line


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with running("order_service", tmp_path) as server:
        said = complaint("--listen", server.address, "--database-url", f"sqlite:///{tmp_path}/other.db")
    assert server.address in said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://localhost/orders", "postgresql://localhost/orders"),
        ("orders.db", "orders.db"),
        ("sqlite:////no/such/folder/orders.db", "/no/such/folder/orders.db"),
    ],
)
def test_a_database_that_can_not_be_opened_is_named_in_one_line(url: str, said: str) -> None:
    assert said in complaint("--listen", "127.0.0.1:0", "--database-url", url)


def test_more_connections_than_the_system_lets_it_have_are_said_in_one_line(tmp_path: Path) -> None:
    said = complaint("--connections-max", "1000000000", "--database-url", f"sqlite:///{tmp_path}/orders.db")
    assert "--connections-max 1000000000 needs 1000000100 open files, the system allows " in said


def test_an_address_that_is_none_is_named_in_one_line(tmp_path: Path) -> None:
    assert "no-port" in complaint("--listen", "localhost:no-port", "--database-url", f"sqlite:///{tmp_path}/orders.db")


def test_a_second_server_on_one_sqlite_file_does_not_start_and_names_the_file(tmp_path: Path) -> None:
    database = tmp_path / "order_service.db"
    (tmp_path / "link.db").symlink_to(database)
    with running("order_service", tmp_path) as server:
        for name in (database, tmp_path / "link.db"):
            said = complaint("--listen", "127.0.0.1:0", "--database-url", f"sqlite:///{name}")
            assert said.startswith(f"order_service: a server uses the database {database} already; stop it, or name")
        with closing(sqlite3.connect(database)) as reader, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
            reader.backup(copy)
            assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert server.process.poll() is None
        server.kill()
    with running("order_service", tmp_path) as again:
        assert again.stop() == 0


def test_a_server_that_is_told_to_ends_with_its_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "order_service", "--insecure", "--listen", "127.0.0.1:0", "--end-with-stdin"]
    command += ["--database-url", f"sqlite:///{tmp_path}/orders.db"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdin
    try:
        assert " is serving on " in process.stdout.readline()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.stdout.close()
