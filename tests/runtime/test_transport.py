"""A server with another grpcio than the one that it guards."""

import subprocess
import sys
import tomllib
from pathlib import Path

import grpc
import pytest

from tests.processes import DEADLINE_S, running, wait_until
from tests.runtime.other_grpcio import NAME, VERSION
from tests.sources import ROOT
from tillmesh.api.order.v1 import order_service_pb2 as api
from tillmesh.api.order.v1.order_service_pb2_grpc import OrderServiceStub
from tillmesh.rpc.transport import GRPCIO


@pytest.mark.process
def test_a_server_does_not_start_with_another_grpcio_and_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-m", NAME, "--insecure", "--listen", "127.0.0.1:0"]
    command += ["--database-url", f"sqlite:///{tmp_path}/orders.db"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{NAME}: grpcio {VERSION} is installed")
    assert f"install grpcio=={GRPCIO}" in line
    assert "--unguarded-transport" in line


@pytest.mark.process
def test_without_the_guard_it_starts_with_a_warning_and_serves(tmp_path: Path) -> None:
    with running(NAME, tmp_path, "--unguarded-transport") as server, server.channel() as channel:
        with pytest.raises(grpc.RpcError) as raised:
            OrderServiceStub(channel).GetOrder(api.GetOrderRequest(order_id="7K3M-9Q2X-VB4T"))
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        wait_until(lambda: '"unguarded_transport"' in server.log.read_text())


def test_an_installation_gets_the_grpcio_that_servers_start_with() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"grpcio=={GRPCIO}" in project["dependencies"]
